"""Does fine-tuning reach its own optimum? On three letters every number is exact."""

from __future__ import annotations

import pytest
import torch
from braid_conservative import BraidSpec
from braid_discrete.exact import ExactChain, optimum
from torch import Tensor

from tests.checks import seeded
from tests.discrete.conftest import backbone, strong
from tests.doubles import FormulaOracle, problem

ALPHA, UNIT = 0.4, 2.0


def rough(x: Tensor) -> Tensor:
    """A reward with interactions between all pairs of letters."""
    flat, weight = x.flatten(1), torch.randn(12, 12, generator=seeded(3))
    return ((flat @ weight) * flat).sum(1)


def optimistic(x: Tensor) -> Tensor:
    """A penalty that makes the mean reward misleading."""
    return 2 * x[:, 0, 0] + 3 * x[:, 1, 2] * x[:, 2, 3]


def test_one_by_one_tuning_reaches_the_optimum() -> None:
    """J(p*) = α·log E_pre[exp((r̂ − ĝ)/α)], with rewards in units of the offline standard deviation."""
    pretrained = strong(backbone(reveal="one", network={"width": 32}))
    with torch.no_grad():
        for p in pretrained.net.parameters():
            p.mul_(0.4)  # opinions that are not too firm to be changed
    before = ExactChain(pretrained.process, pretrained.predict)
    oracle = FormulaOracle(rough, optimistic)
    with torch.no_grad():
        reward = oracle.posterior(before.designs).conservative() / UNIT
    p = before.probabilities()
    start, (_, best) = float(p @ reward.double()), optimum(p, reward, ALPHA)
    assert best - start > 1

    spec = BraidSpec(alpha=ALPHA, steps=200, batch=128, learning_rate=5e-3)
    sampler = spec.build().fit(problem(pretrained, oracle, UNIT))
    with torch.no_grad():
        after = ExactChain(pretrained.process, sampler.tuned.predict, pretrained.predict)
        reached = float(after.objective(reward, ALPHA))
    assert 0.95 < (reached - start) / (best - start) <= 1 + 1e-6
    drawn = sampler.sample(4000, seeded())
    assert float(drawn.kl.sum(1).mean()) == pytest.approx(float(after.path_kl()), rel=0.1)
