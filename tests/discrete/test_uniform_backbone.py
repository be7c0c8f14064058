"""The uniform backbone: what every backbone promises, and that it learns and tunes what can be enumerated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_discrete import UniformSpec
from braid_discrete.exact import ExactChain
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Tokens, Vectors
from braid_core.nets.backbone import NetworkBackbone
from braid_core.testing import BackboneContract
from tests.checks import seeded
from tests.discrete.uniform_tables import correlated, everything
from tests.doubles import FormulaOracle, problem

CPU = torch.device("cpu")
SPACE = Tokens("ABC", 3)
DESIGNS = everything(SPACE)


class TestContract(BackboneContract):
    spec = UniformSpec(steps=8, network={"width": 32}, train_steps=150, batch=64)


def trained(law: Tensor, **options: Any) -> NetworkBackbone:
    model = UniformSpec(**{"network": {"width": 64}, "steps": 8, **options}).build(SPACE, CPU)
    model.fit(DESIGNS[torch.multinomial(law, 4000, replacement=True, generator=seeded())], seeded())
    return model


@pytest.fixture(scope="module")
def law() -> Tensor:
    return correlated(SPACE)


@pytest.fixture(scope="module")
def model(law: Tensor) -> NetworkBackbone:
    return trained(law, train_steps=500)


def test_fit_learns_a_correlated_law(model: NetworkBackbone, law: Tensor) -> None:
    with torch.no_grad():
        learned = ExactChain(model.process, model.predict).probabilities()
    marginals = torch.einsum("x,xlv->lv", law, DESIGNS.double())
    independent = torch.einsum("xlv,lv->xl", DESIGNS.double(), marginals).prod(1)

    def excess(p: Tensor) -> float:
        return float(law @ (law / p).log())

    assert 0 < excess(learned) < excess(independent) / 3


def rough(x: Tensor) -> Tensor:
    """A reward with interactions between all pairs of letters."""
    flat, weight = x.flatten(1), torch.randn(9, 9, generator=seeded(3))
    return ((flat @ weight) * flat).sum(1)


def optimistic(x: Tensor) -> Tensor:
    """A penalty that makes the mean reward misleading."""
    return 2 * x[:, 0, 0] + 3 * x[:, 1, 2] * x[:, 2, 1]


def test_tuning_comes_near_the_best_of_any_chain(model: NetworkBackbone) -> None:
    oracle, alpha, unit = FormulaOracle(rough, optimistic), 0.4, 2.0
    with torch.no_grad():
        before = ExactChain(model.process, model.predict)
        reward = oracle.posterior(DESIGNS).conservative() / unit
        start, best = float(before.probabilities() @ reward.double()), before.best_value(reward, alpha)
    spec = BraidSpec(alpha=alpha, steps=100, batch=128, learning_rate=1e-2)
    sampler = spec.build().fit(problem(model, oracle, unit))
    with torch.no_grad():
        after = ExactChain(model.process, sampler.tuned.predict, model.predict)
        reached = float(after.objective(reward, alpha))
    assert best - start > 0.5
    assert 0.9 < (reached - start) / (best - start) <= 1
    drawn = sampler.sample(4000, seeded())
    assert float(drawn.kl.sum(1).mean()) == pytest.approx(float(after.path_kl()), rel=0.1)


def test_steps_follow_the_length_where_the_spec_leaves_them_open() -> None:
    def steps(length: int, **options: Any) -> int:
        return UniformSpec(**options).build(Tokens("ACGT", length), CPU).process.steps

    assert (steps(3), steps(40), steps(40, steps=5)) == (32, 80, 5)


def test_the_space_must_be_tokens() -> None:
    with pytest.raises(UnsupportedError, match="uniform backbone works on tokens, not on Vectors"):
        UniformSpec().build(Vectors(3), CPU)
