"""Classifier-free guidance is a formula over one batched call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition
from braid_core.tuning.classifier_free import classifier_free
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import Counted, GaussianChain

N = 6


def network(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
    """Nothing is told as 100, which no value is."""
    assert condition is not None
    told = torch.where(condition.null[:, None], 100.0, condition.values)
    return x * t[:, None] + told


def asked(null: bool = False) -> tuple[Tensor, Tensor, Condition]:
    values = torch.arange(N, dtype=torch.float32)[:, None]
    return (
        torch.randn(N, 2, generator=seeded()),
        torch.rand(N, generator=seeded(1)),
        Condition(values, torch.full((N,), null)),
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, -1.0, 0.0])
def test_it_is_the_formula(gamma: float) -> None:
    x, t, condition = asked()
    nothing = Condition(condition.values, torch.ones(N, dtype=torch.bool))
    expected = (1 + gamma) * network(x, t, condition) - gamma * network(x, t, nothing)
    torch.testing.assert_close(classifier_free(network, gamma)(x, t, condition), expected)


@pytest.mark.parametrize(("gamma", "rows"), [(2.0, 2 * N), (0.0, N)])
def test_it_is_one_call(gamma: float, rows: int) -> None:
    """Mistake 13 of public code: a level of 0 needs no prediction without a condition."""
    seen: list[int] = []

    def counting(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        seen.append(len(x))
        return network(x, t, condition)

    classifier_free(counting, gamma)(*asked())
    assert seen == [rows]


def test_where_nothing_is_told_there_is_nothing_to_lean_towards() -> None:
    x, t, condition = asked(null=True)
    torch.testing.assert_close(classifier_free(network, 2.0)(x, t, condition), network(x, t, condition))


def test_without_a_condition_it_says_so() -> None:
    x, t, _ = asked()
    for gamma in (0.0, 1.0):
        with pytest.raises(UnsupportedError, match="needs a condition"):
            classifier_free(network, gamma)(x, t, None)


def test_a_chain_runs_on_it() -> None:
    """Towards 3 where 0 says nothing: guidance goes past the target by γ times the difference."""

    def mean_of(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        assert condition is not None
        target = torch.where(condition.null[:, None], 0.0, condition.values)
        signal = GaussianChain.signal(t)[:, None]
        return (x - signal.sqrt() * target) / (1 - signal).sqrt()

    chain, told = GaussianChain(1, 200), Condition(torch.full((500, 1), 3.0), torch.zeros(500, dtype=torch.bool))
    for gamma in (0.0, 1.0):
        predict = Counted(classifier_free(mean_of, gamma))
        x = rollout(chain, predict, 500, seeded(), condition=told).x
        assert float(x.mean()) == pytest.approx(3 * (1 + gamma), abs=0.1)
        assert predict.calls == 200
