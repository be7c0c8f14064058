"""The best of n draws, against enumeration."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from braid_discrete import MaskedSpec
from braid_discrete.exact import ExactChain
from braid_guidance import BestOfNSpec, best_of_n
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import Backbone, Condition, ConditionSpec, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_core.registry.spec import component
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, seeded
from tests.doubles import FormulaOracle, problem

from .conftest import SMALL, linear, opinionated

SPACE = Tokens("ACG", 2)


def tiny() -> NetworkBackbone:
    return opinionated(MaskedSpec(**SMALL), SPACE, 1.0)


def coarse(x: Tensor) -> Tensor:
    """Nine designs, three scores."""
    return x[:, 0] @ torch.tensor([0.0, 1.0, 2.0])


def penalty(x: Tensor) -> Tensor:
    return 3 * x[:, 1, 2]


def delivered(model: Backbone, oracle: FormulaOracle, n: int, count: int, **options: Any) -> Any:
    return BestOfNSpec(n=n).build().fit(problem(model, oracle)).sample(count, seeded(), **options)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("formula", [coarse, linear])
def test_the_law_of_the_best(n: int, formula: Any) -> None:
    """P(score) = F(s)^n − F(s−)^n, and designs of one score in their old proportions."""
    model = tiny()
    chain = ExactChain(model.process, model.predict)
    p, oracle = chain.probabilities(), FormulaOracle(formula, penalty)
    score = oracle.posterior(chain.designs).conservative().detach()
    at_most = torch.stack([p[score <= s].sum() for s in score])
    less = torch.stack([p[score < s].sum() for s in score])
    tied = torch.stack([p[score == s].sum() for s in score])
    law = (at_most**n - less**n) * p / tied
    torch.testing.assert_close(law.sum(), torch.ones((), dtype=law.dtype))

    found = delivered(model, oracle, n, 4000)
    place = (found.x.argmax(-1) * torch.tensor([3, 1])).sum(1)
    assert agrees(place, law)
    cost = float((law * (law / p).log()).sum())
    assert found.kl.shape == (4000, 1)
    assert float(found.kl.unique()) == pytest.approx(log(n) - (n - 1) / n)
    assert -1e-6 <= cost <= float(found.kl[0]) + 1e-6


def test_with_continuous_scores_the_kl_is_what_is_said() -> None:
    """A thousand equally likely scores: Σ_i q_i·log(1000·q_i) with q_i = (i/1000)^n − ((i − 1)/1000)^n."""
    n, m = 50, 1000
    edges = (torch.arange(m + 1, dtype=torch.float64) / m) ** n
    q = edges.diff()
    cost = float(torch.where(q > 0, q * (m * q).log(), 0.0).sum())
    said = float(delivered(tiny(), FormulaOracle(linear), n, 1).kl)
    assert cost == pytest.approx(said, rel=0.01)
    assert cost < said


@pytest.mark.parametrize(("n", "count", "rows"), [(7, 10, 16), (40, 3, 16), (3, 40, 16), (1, 5, 1024)])
def test_draws_come_in_blocks_and_none_is_wasted(n: int, count: int, rows: int, monkeypatch: Any) -> None:
    asked: list[int] = []

    def counting(process: Any, predict: Any, size: int, *others: Any, **options: Any) -> Any:
        asked.append(size)
        return rollout(process, predict, size, *others, **options)

    monkeypatch.setattr(best_of_n, "ROWS", rows)
    monkeypatch.setattr(best_of_n, "rollout", counting)
    found = delivered(tiny(), FormulaOracle(linear), n, count)
    assert len(found.x) == len(found.kl) == count
    assert sum(asked) == n * count
    assert max(asked) <= rows


def test_blocks_do_not_change_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four designs at a time, each in rounds of 4, 4 and 1 draws."""
    whole = linear(delivered(tiny(), FormulaOracle(linear), 9, 2000).x)
    monkeypatch.setattr(best_of_n, "ROWS", 16)
    monkeypatch.setattr(torch, "split", lambda rows, size: torch.Tensor.split(rows, 4))
    parts = linear(delivered(tiny(), FormulaOracle(linear), 9, 2000).x)
    assert float(parts.mean()) == pytest.approx(float(whole.mean()), abs=4 * float(whole.std()) * (2 / 2000) ** 0.5)


def test_it_works_for_every_chain(pretrained: Backbone) -> None:
    oracle = FormulaOracle(linear)
    one, best = (delivered(pretrained, oracle, n, 200).x for n in (1, 20))
    with torch.no_grad():
        plain = rollout(pretrained.process, pretrained.predict, 200, seeded()).x
    assert torch.equal(one, pretrained.decode(plain))
    gain = linear(best).mean() - linear(one).mean()
    assert float(gain) > float(linear(one).std())
    assert not best.requires_grad


def test_a_design_without_a_score_is_never_the_best() -> None:
    def odd(x: Tensor) -> Tensor:
        return torch.where(x[:, 0, 0] > 0, torch.nan, linear(x))

    assert float(delivered(tiny(), FormulaOracle(odd), 20, 200).x[:, 0, 0].sum()) == 0


def test_each_design_is_chosen_among_draws_of_its_own_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Condition] = []

    def listening(*arguments: Any, condition: Condition) -> Any:
        told.append(condition)
        return rollout(*arguments, condition=condition)

    monkeypatch.setattr(best_of_n, "rollout", listening)
    model = MaskedSpec(**SMALL).build(SPACE, torch.device("cpu")).fresh(ConditionSpec("scalar", 1))
    condition = Condition(torch.arange(3.0)[:, None], torch.tensor([False, True, False]))
    delivered(model, FormulaOracle(linear), 2, 3, condition=condition)
    (given,) = told
    assert given.values[:, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert given.null.tolist() == [False, True, False] * 2


def test_it_selects_by_the_conservative_reward() -> None:
    posterior = FormulaOracle(linear, lambda x: x[:, 0, 0]).posterior(torch.eye(3)[None, :2])
    assert torch.equal(BestOfNSpec().build().score(posterior), posterior.conservative())


def test_the_default_draws_what_tuning_draws() -> None:
    assert BestOfNSpec().n * 1024 == 400 * 128


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 1.5}, {"level": 1}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        component("objective", {"type": "best-of-n", **options})


def test_no_designs_may_be_asked_for() -> None:
    path = delivered(tiny(), FormulaOracle(linear), 5, 0)
    assert path.x.shape == (0, 2, 3)
    assert path.kl.shape == (0, 1)
