"""The budget of path KL: what holding it costs is known in closed form for a linear reward under a Gaussian chain."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_strl import StrlSpec
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.registry.spec import component
from braid_core.tuning.finetune import FineTuned, _rate
from braid_core.tuning.price import BudgetPrice
from braid_core.tuning.spec import BUDGET
from tests.checks import seeded
from tests.doubles import FormulaOracle, GaussianBackbone, GaussianChain, Heard, problem

WEIGHT = torch.tensor([3.0, -1.0])


def linear(x: Tensor) -> Tensor:
    return x @ WEIGHT.to(x)


def tuned(heard: Heard, **options: Any) -> FineTuned:
    spec = BraidSpec(batch=256, learning_rate=0.02, **options)
    backbone = GaussianBackbone(GaussianChain(2, 5), 0.5, 1.0, tuned=("shift",))
    return spec.build().fit(problem(backbone, FormulaOracle(linear), log=heard))


@pytest.mark.parametrize("budget", [0.3, 3.0])
def test_the_budget_is_held_from_a_third_of_the_steps_on(budget: float) -> None:
    heard = Heard()
    sampler = tuned(heard, kl_budget=budget, steps=300)
    late = torch.tensor([figures["kl"] for step, _, figures in heard.steps if step > 100])
    assert float((late.view(4, 5).mean(1) / budget - 1).abs().max()) < 0.1  # single batches are noisy
    assert max(figures["kl"] for _, _, figures in heard.steps) < 1.3 * budget
    assert float(sampler.sample(2000, seeded()).kl.sum(1).mean()) == pytest.approx(budget, rel=0.05)


def test_the_alpha_that_it_finds_is_the_one_that_costs_the_budget() -> None:
    """A linear reward w·x moves the end by S·w/α at a cost of S‖w‖²/(2α²), S the variance that the steps' noise carries
    to the end: for data of unit variance all of it but what the start still weighs (nothing to speak of)."""
    heard, budget = Heard(), 2.0
    tuned(heard, kl_budget=budget, steps=400)
    expected = float(WEIGHT.norm()) / (2 * budget) ** 0.5
    late = [figures["alpha"] for step, _, figures in heard.steps if step > 200]
    assert sum(late) / len(late) == pytest.approx(expected, rel=0.05)


def test_the_policy_gradient_holds_it_too() -> None:
    """Each batch serves four steps, and is felt once, as four."""
    heard, budget = Heard(), 2.0
    sampler = tuned(heard, kl_budget=budget, steps=400, policy={})
    late = torch.tensor([figures["kl"] for step, _, figures in heard.steps if step > 133])
    assert float((late.unfold(0, 5, 1).mean(1) / budget - 1).abs().max()) < 0.15
    assert float(sampler.sample(4000, seeded()).kl.sum(1).mean()) == pytest.approx(budget, rel=0.1)


def test_rising_budgets_are_visited_in_turn_and_kept() -> None:
    heard = Heard()
    sampler = tuned(heard, kl_budget=(0.5, 1.0, 2.0), steps=450)
    assert sampler.milestones == (150, 300)
    spent = []
    for step in sampler.milestones:
        with sampler.at(step) as then:
            spent.append(float(then.sample(2000, seeded()).kl.sum(1).mean()))
    spent.append(float(sampler.sample(2000, seeded()).kl.sum(1).mean()))
    assert spent == pytest.approx([0.5, 1.0, 2.0], rel=0.08)


def test_the_target_rises_within_each_share_of_the_steps() -> None:
    steering = BudgetPrice((1.0, 3.0), (50, 100))
    targets = []
    for _ in range(100):
        targets.append(steering.target())
        steering.next(torch.randn(8, generator=seeded()), torch.ones(8))
    assert targets[0] == pytest.approx(1 / 20)
    assert targets[5] == pytest.approx(0.5)
    assert targets[10:51] == pytest.approx([1.0] * 41)
    assert targets[55] == pytest.approx(2.0)
    assert targets[60:] == pytest.approx([3.0] * 40)
    assert targets == sorted(targets)


def test_too_much_kl_raises_alpha_and_too_little_lowers_it() -> None:
    def after(kl: float) -> float:
        steering = BudgetPrice((1.0,), (10,))
        score = torch.tensor([0.0, 1.0])
        alphas = [steering.next(score, torch.full((2,), kl)) for _ in range(60)]
        return float(alphas[-1])

    assert after(2.0) > after(1.0) > after(0.5)
    assert after(1.0) == pytest.approx(0.5**0.5 / 2**0.5, rel=0.25)  # sd/√(2·KL), but for what the rise has left


def test_designs_that_are_all_alike_at_first_do_not_make_the_kl_free() -> None:
    steering = BudgetPrice((2.0,), (100,))
    steering.next(torch.ones(8), torch.zeros(8))
    for _ in range(50):
        alpha = steering.next(torch.randn(8, generator=seeded()), torch.full((8,), 50.0))
    assert float(alpha) > 0.5


def test_a_flat_score_is_not_amplified() -> None:
    """An oracle that has learned nothing differs by rounding; if alpha followed that to 0, the model would collapse."""
    heard = Heard()
    backbone = GaussianBackbone(GaussianChain(2, 5), 0.5, 1.0, tuned=("shift",))
    oracle = FormulaOracle(lambda x: 1 + 1e-6 * linear(x))
    spec = BraidSpec(batch=64, learning_rate=0.02, kl_budget=2.0, steps=200)
    spec.build().fit(problem(backbone, oracle, log=heard))
    assert max(figures["kl"] for _, _, figures in heard.steps) < 2.6


def test_a_budget_out_of_reach_does_not_spoil_the_next_one() -> None:
    steering = BudgetPrice((1.0, 2.0), (2000, 4000))
    alphas = [steering.next(torch.tensor([0.0, 1.0]), torch.full((2,), 0.01)) for _ in range(1900)]
    alphas += [steering.next(torch.tensor([0.0, 1.0]), torch.full((2,), 10.0)) for _ in range(500)]
    assert float(alphas[1899]) > 1e-5  # not e^-38, where 1,900 steps would take it
    assert float(alphas[-1]) > 1


@pytest.mark.parametrize(("steps", "budgets"), [(100, 8), (12, 5), (400, 7), (7, 7)])
def test_milestones_targets_and_learning_rates_agree_where_steps_do_not_divide(steps: int, budgets: int) -> None:
    spec = BraidSpec(steps=steps, kl_budget=tuple(range(1, budgets + 1)))
    assert spec.shares[-1] == steps
    assert spec.kept == spec.shares[:-1]
    assert max(spec.shares) - min(spec.shares) == steps - spec.shares[0]
    steering = BudgetPrice(spec.budgets, spec.shares)
    for start, end in zip((0, *spec.shares), spec.shares, strict=False):
        assert _rate(start, spec.shares) == (1 if start else 1 / min(20, max(1, 0.2 * end)))
        assert _rate(end - 1, spec.shares) < 0.6 or end - start == 1
        steering.step = end - 1
        assert steering.target() <= spec.budgets[spec.shares.index(end)]
        steering.step = start
        assert steering.target() <= max(spec.budgets[spec.shares.index(end) - 1], 1) or start == 0


def test_the_learning_rate_warms_up_once() -> None:
    """(step + 1)/20 of the cosine for twenty steps, a fifth of the first share at most; later shares start in full."""
    ends, wave = (100, 200), [0.5 * (1 + math.cos(math.pi * k / 100)) for k in range(100)]
    assert [_rate(k, (10,)) for k in range(2)] == [0.5, pytest.approx(0.5 * (1 + math.cos(math.pi / 10)))]
    assert [_rate(k, ends) for k in range(20)] == pytest.approx([(k + 1) / 20 * wave[k] for k in range(20)])
    assert [_rate(k, ends) for k in range(20, 100)] == pytest.approx(wave[20:])
    assert [_rate(100 + k, ends) for k in range(100)] == pytest.approx(wave)


def test_alpha_and_budget_exclude_each_other() -> None:
    assert BraidSpec().kl_budget == BUDGET
    spec = BraidSpec(alpha=0.2)
    assert spec.kl_budget is None
    for given in (spec, StrlSpec(kl_budget=(1, 2.5)), BraidSpec(alpha=0.3)):
        assert component("objective", given.model_dump(mode="json")) == given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.1, "kl_budget": 1.0}, "either `alpha` or `kl_budget`"),
        ({"kl_budget": None}, "either `alpha` or `kl_budget`"),
        ({"kl_budget": -1.0}, "kl_budget"),
        ({"kl_budget": [2.0, 1.0]}, "do not rise"),
        ({"kl_budget": [1.0, 1.0]}, "do not rise"),
        ({"kl_budget": []}, "lists no budget"),
        ({"kl_budget": [1.0, 2.0, 3.0], "steps": 2}, "too few"),
        ({"policy": {}, "checkpoint": True}, "checkpoint"),
        ({"policy": {}, "letter_gradient": "exact"}, "letter_gradient"),
        ({"policy": {"updates": 0}}, "updates"),
        ({"batch": 1}, "batch"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        component("objective", {"type": "braid", **options})
