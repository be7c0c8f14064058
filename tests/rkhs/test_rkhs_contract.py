"""The oracle keeps what every oracle promises, with each kind of features."""

from __future__ import annotations

from braid_rkhs import RKHSSpec

from braid_core.nets.spec import NetworkSpec
from braid_core.testing import OracleContract


class TestLearned(OracleContract):
    spec = RKHSSpec(network=NetworkSpec(width=32, train_steps=100, batch=64, learning_rate=1e-2))
    distance_aware = True


class TestNystroem(OracleContract):
    spec = RKHSSpec(features="nystroem", components=30)
    distance_aware = True


class TestFourier(OracleContract):
    spec = RKHSSpec(features="fourier", components=100)
    distance_aware = True
