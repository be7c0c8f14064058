"""The oracle behind ``rkhs``."""

from __future__ import annotations

from braid_core.interfaces import Oracle


class RKHSOracle(Oracle):
    """To come."""
