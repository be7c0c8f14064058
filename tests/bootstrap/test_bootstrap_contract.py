"""The bootstrap ensemble keeps what every oracle promises."""

from __future__ import annotations

from braid_bootstrap import BootstrapSpec

from braid_core.nets.spec import NetworkSpec
from braid_core.testing import OracleContract

QUICK = NetworkSpec(width=32, train_steps=100, batch=64, learning_rate=1e-2)


class TestMinimum(OracleContract):
    spec = BootstrapSpec(members=3, network=QUICK)


class TestStandardDeviation(OracleContract):
    spec = BootstrapSpec(members=3, bound="std", network=QUICK)
