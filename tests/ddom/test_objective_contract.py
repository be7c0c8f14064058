"""DDOM keeps what every objective promises."""

from __future__ import annotations

from braid_ddom import DdomSpec

from braid_core.testing import ObjectiveContract


class TestDdom(ObjectiveContract):
    spec = DdomSpec()
