"""Locks between processes that end with their holder, in whatever way it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from braid_core.files import make_folder, writing


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until nobody else is in the block for ``path``, a file that stays empty and is removed at the end.

    It saves work and nothing depends on it: where there are no such locks (Windows, some network folders), or where a
    third process finds the file just removed, two may be in the block at once.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    make_folder(path.parent)
    with writing(path):
        file = path.open("a")
    with file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # said, because a process that was forked meanwhile may keep the file open
                fcntl.flock(file, fcntl.LOCK_UN)
