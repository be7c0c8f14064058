"""The oracle behind ``gp``."""

from __future__ import annotations

from braid_core.interfaces import Oracle


class GPOracle(Oracle):
    """To come."""
