"""What worker processes compute in tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

PATIENCE = 60


def square(n: int) -> int:
    print("this is no result")
    return n * n


def process(_: int) -> int:
    return os.getpid()


def meet(place: tuple[Path, int]) -> int:
    """Returns when two processes have come to the same folder."""
    folder, me = place
    (folder / str(me)).touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return os.getpid()


def die(n: int) -> int:
    if n == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 2:
        os._exit(7)
    return n


def refuse(n: int) -> int:
    if n == 1:
        raise ValueError(f"{n} is refused")
    return n


def unpicklable(_: int) -> object:
    return lambda: None


def wait(folder: Path) -> None:
    """Says where it is, waits long, and cleans up when it is interrupted."""
    here = folder / "working"
    here.write_text(str(os.getpid()))
    try:
        time.sleep(PATIENCE)
    except KeyboardInterrupt:
        (folder / "cleaned").touch()
        raise
    finally:
        here.unlink()


if __name__ == "__main__":  # a process of its own that waits for a worker
    from braid_local.executor import LocalExecutor

    from tests.local import functions  # not this module, which workers know by another name

    for _ in LocalExecutor(1).map(functions.wait, [Path(sys.argv[1])]):
        pass
