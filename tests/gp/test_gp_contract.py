"""What every oracle promises."""

from __future__ import annotations

from braid_gp import GPSpec

from braid_core.testing.oracle import OracleContract


class TestExact(OracleContract):
    spec = GPSpec()
    distance_aware = True


class TestMatern(OracleContract):
    spec = GPSpec(kernel="matern")
    distance_aware = True


class TestSparse(OracleContract):
    """With fewer inducing designs, doubt about those that they do not represent remains however often measured."""

    spec = GPSpec(exact=100, inducing=100)
    distance_aware = True


class TestLearned(OracleContract):
    """Of designs that its network takes for others, it is not aware."""

    spec = GPSpec(features="learned", network={"width": 32, "train_steps": 200})
