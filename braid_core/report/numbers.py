"""Numbers as people read them: as many decimals as the size of a quantity deserves, and a dash for what is unknown."""

from __future__ import annotations

import math
from collections.abc import Iterable

UNKNOWN = "–"


def decimals(values: Iterable[float | None]) -> int:
    """How many decimals show three or so digits of the largest of ``values``, between 0 and 5."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=1.0)
    return 3 if largest == 0 else min(5, max(0, 2 - math.floor(math.log10(largest))))


def number(value: float | None, places: int = 3) -> str:
    """``value`` with a true minus sign; a value that rounds to zero has none."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def significant(value: float | None) -> str:
    """``value`` to three digits, without zeros that say nothing: for scales that lie powers of two apart."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def percent(share: float | None) -> str:
    """A share between 0 and 1 as whole per cent; shares just below 1 never read 100 %."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    rounded = round(100 * share)
    return f"{min(rounded, 99) if share < 1 else rounded}\u00a0%"


def duration(seconds: float | None) -> str:
    """``seconds`` as ``45 s``, ``3:20 min`` or ``2:05 h``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
