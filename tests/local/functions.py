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


class TwoPartsError(Exception):
    """Can be pickled and not be read again: it is rebuilt from one argument."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def refuse_in_two_parts(_: int) -> None:
    raise TwoPartsError("no", "because")


class Unreadable:
    def __reduce__(self) -> tuple[object, ...]:
        return int, (None,)


def unreadable(_: int) -> Unreadable:
    return Unreadable()


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
