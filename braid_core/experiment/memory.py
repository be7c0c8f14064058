"""The most memory that a piece of work held at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MB = 2**20
RESET = Path("/proc/self/clear_refs")
"""Linux forgets a process's high-water mark when 5 is written here (proc(5))."""


def watch_memory() -> Callable[[], float | None]:
    """Start watching; the result, called at the end, says the peak since then in MB (2**20 bytes).

    It is the resident memory of the whole process, libraries included. None where it is unknown: on Windows, and where
    the mark cannot be reset and the process once held more.
    """
    if sys.platform == "win32":
        return lambda: None
    with suppress(OSError):
        RESET.write_text("5")
        return _high_water
    before = _high_water()
    return lambda: peak if (peak := _high_water()) > before else None


def _high_water() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, and kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB
