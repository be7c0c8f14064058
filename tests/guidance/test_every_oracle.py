"""Every oracle guides every chain, by its mean and by its conservative reward, and judges the best of n."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from braid_bootstrap import BootstrapSpec
from braid_gp import GPSpec
from braid_guidance import BestOfNSpec, GuidanceSpec
from braid_rkhs import RKHSSpec

from braid_core.interfaces import LabelledDesigns, Oracle, Problem, Space, Streams, Tokens, Vectors
from braid_core.registry.spec import OracleSpec
from tests.checks import seeded

from .conftest import CPU, SPECS, linear, opinionated

NETWORK = {"width": 16, "depth": 1, "train_steps": 100, "batch": 32}
ORACLES: dict[str, OracleSpec] = {
    "bootstrap": BootstrapSpec(members=3, network=NETWORK),
    "gp": GPSpec(),
    "rkhs": RKHSSpec(network=NETWORK),
}


@cache
def fitted(name: str, space: Space) -> tuple[Oracle, LabelledDesigns]:
    """One oracle for a kind of designs, and the table that it has learned."""
    x = space.random(80, seeded(4))
    data, oracle = LabelledDesigns(x, linear(x)), ORACLES[name].build(space, CPU)
    oracle.fit(data, seeded(5))
    return oracle, data


@pytest.mark.parametrize("oracle", sorted(ORACLES))
@pytest.mark.parametrize("chain", sorted(SPECS))
def test_the_oracles_opinion_rises(chain: str, oracle: str) -> None:
    space: Space = Vectors(3) if chain == "gaussian" else Tokens("ACGT", 4)
    model, (judge, data) = opinionated(SPECS[chain], space), fitted(oracle, space)
    problem = Problem(data, model, judge, Streams(0), oracle_rmse=data.std)
    best = BestOfNSpec(n=10).build().fit(problem).sample(200, seeded())
    with torch.no_grad():
        for conservative in (False, True):
            guidance = GuidanceSpec(level=3.0, conservative=conservative).build()
            still = GuidanceSpec(level=0.0, conservative=conservative).build()
            moved, plain = (
                guidance.score(judge.posterior(method.fit(problem).sample(200, seeded()).x)).mean()
                for method in (guidance, still)
            )
            assert float(moved) > float(plain)
        # `plain` is now the conservative score of the pretrained model's draws
        assert float(judge.posterior(best.x).conservative().mean()) > float(plain)
