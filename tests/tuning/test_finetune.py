"""The fine-tuning loop on the Gaussian chain: its optimum in closed form, its units, and what it must not touch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_strl import StrlSpec
from torch import Tensor

from braid_core.errors import BraidError, UnsupportedError
from braid_core.interfaces import Oracle
from braid_core.tuning.estimators import MOST_KEPT, most_kept
from braid_core.tuning.finetune import FineTuned
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import FineTuningSpec
from tests.checks import seeded
from tests.doubles import Counted, FormulaOracle, FormulaPosterior, GaussianBackbone, GaussianChain, Heard, problem

QUICK: dict[str, Any] = {"steps": 8, "batch": 16, "alpha": 0.3, "learning_rate": 0.02, "clip": 1.0}


def chain(steps: int = 4) -> GaussianBackbone:
    return GaussianBackbone(GaussianChain(2, steps), 0.5, 1.0)


def bowl(x: Tensor) -> Tensor:
    return -(x - torch.tensor([2.0, -1.0], dtype=x.dtype)).square().sum(1)


def tuned(
    spec: FineTuningSpec | None = None, oracle: Oracle | None = None, unit: float = 1.0, seed: int = 0
) -> FineTuned:
    spec = spec or BraidSpec(**QUICK)
    return spec.build().fit(problem(chain(), oracle or FormulaOracle(bowl), unit, seed))


def weights(sampler: FineTuned) -> Tensor:
    state = sampler.tuned.state().tensors
    return torch.cat([state["shift"], state["gain"]])


class Linear:
    """The exact law of the chain's end as a function of its shifts: every step is affine in the state."""

    def __init__(self, backbone: GaussianBackbone) -> None:
        process, steps = backbone.process, backbone.process.steps
        dim = process.space.event_shape[0]
        self.gain, self.sigma, offsets = [], [], []
        for k in range(steps):
            ends = []
            for place in (0.0, 1.0):
                x = torch.full((1, dim), place, dtype=torch.float64)
                step = process.transition(backbone.predict(x, torch.tensor([process.time(k)])), x, k)
                ends.append(step.mean[0])
            self.gain.append(float((ends[1] - ends[0])[0]))
            self.sigma.append(float(step.std))
            offsets.append(ends[0])
        # how far a move of step k is carried to the end
        self.reach = [float(torch.tensor(self.gain[k + 1 :], dtype=torch.float64).prod()) for k in range(steps)]
        self.mean = sum(r * offset for r, offset in zip(self.reach, offsets, strict=True))
        carried = [r * s for r, s in zip(self.reach, self.sigma, strict=True)]
        start = float(torch.tensor(self.gain, dtype=torch.float64).prod())
        self.variance = start**2 + sum(c**2 for c in carried)
        self.leverage = sum(c**2 for c in carried)


def test_tuning_reaches_the_optimum_of_a_quadratic_reward() -> None:
    """r = −½q‖x − c‖², unit u, shifts δ_k at cost α‖δ_k‖²/(2σ_k²): the optimal mean is c + (m − c)/(1 + qS/(αu)) with
    S = Σ(reach_k·σ_k)², and the step variances are not touched."""
    alpha, unit, q, goal = 0.4, 2.0, 1.5, torch.tensor([2.0, -1.0], dtype=torch.float64)
    backbone = GaussianBackbone(GaussianChain(2, 5, torch.float64), 0.5, 1.0, tuned=("shift",))
    law = Linear(backbone)
    oracle = FormulaOracle(lambda x: -0.5 * q * (x - goal).square().sum(1))
    spec = BraidSpec(alpha=alpha, steps=150, batch=128, learning_rate=0.1, clip=100.0)
    sampler = spec.build().fit(problem(backbone, oracle, unit))

    mean = goal + (law.mean - goal) / (1 + q * law.leverage / (alpha * unit))
    cost = float((mean - law.mean).square().sum()) / (2 * law.leverage)
    reward = -0.5 * q * (float((mean - goal).square().sum()) + 2 * law.variance)

    path = sampler.sample(20_000, seeded())
    torch.testing.assert_close(path.x.mean(0), mean, rtol=0.05, atol=0.03)
    assert float(path.kl.sum(1).mean()) == pytest.approx(cost, rel=0.08)
    reached = oracle.posterior(path.x).mean.detach().mean() / unit - alpha * path.kl.sum(1).mean()
    before = float(-0.5 * q * ((law.mean - goal).square().sum() + 2 * law.variance)) / unit
    best = reward / unit - alpha * cost
    assert best - before > 0.5
    assert (float(reached) - before) / (best - before) == pytest.approx(1, abs=0.05)


def test_a_larger_alpha_stays_closer() -> None:
    costs = [
        float(tuned(BraidSpec(**{**QUICK, "steps": 40, "alpha": alpha})).sample(500, seeded()).kl.sum(1).mean())
        for alpha in (0.05, 0.5, 5.0)
    ]
    assert costs[0] > 1.5 * costs[1] > 2 * costs[2] > 0


def test_without_penalty_strl_and_braid_are_one() -> None:
    """So that a difference between them is due to pessimism alone, to the last bit."""
    braid, strl = tuned(BraidSpec(**QUICK)), tuned(StrlSpec(**QUICK))
    assert torch.equal(weights(braid), weights(strl))
    assert torch.equal(braid.sample(10, seeded()).x, strl.sample(10, seeded()).x)


def test_braid_maximises_the_conservative_reward_and_strl_the_mean() -> None:
    oracle = FormulaOracle(bowl, lambda x: 3 * x[:, 0].square())
    braid, strl = tuned(BraidSpec(**QUICK), oracle), tuned(StrlSpec(**QUICK), oracle)
    assert torch.equal(weights(strl), weights(tuned()))
    assert torch.equal(
        weights(braid), weights(tuned(StrlSpec(**QUICK), FormulaOracle(lambda x: bowl(x) - 3 * x[:, 0].square())))
    )
    assert not torch.equal(weights(braid), weights(strl))
    posterior = oracle.posterior(torch.ones(2, 2))
    assert torch.equal(BraidSpec().build().score(posterior), bowl(torch.ones(2, 2)) - 3)
    assert torch.equal(StrlSpec().build().score(posterior), bowl(torch.ones(2, 2)))


def test_alpha_is_in_standard_deviations_of_the_offline_rewards() -> None:
    plain, scaled = tuned(), tuned(oracle=FormulaOracle(lambda x: 10 * bowl(x)), unit=10.0)
    torch.testing.assert_close(weights(scaled), weights(plain), rtol=1e-3, atol=1e-5)
    assert float((weights(tuned(unit=10.0)) - weights(plain)).abs().max()) > 1e-3


def test_the_reported_kl_is_that_of_the_rollout() -> None:
    sampler = tuned()
    opened = chain().tunable()
    opened.tuned.load_state(sampler.tuned.state())
    path = rollout(opened.tuned.process, opened.tuned.predict, 5, seeded(), reference=opened.reference)
    drawn = sampler.sample(5, seeded())
    assert torch.equal(drawn.x, path.x)
    assert torch.equal(drawn.kl, path.kl)
    heard = Heard()
    tuned_again = problem(chain(), FormulaOracle(bowl), log=heard)
    first = BraidSpec(**{**QUICK, "steps": 1}).build().fit(tuned_again)
    assert heard.steps == [(1, 1, heard.steps[0][2])]
    assert heard.steps[0][2]["kl"] == 0 < float(first.sample(5, seeded()).kl.max())


def test_the_optimiser_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistake 1 of public code: rebuilt inside the loop, Adam forgets its moments at every step."""
    built, original = [], torch.optim.Optimizer.__init__

    def counting(self: torch.optim.Optimizer, *args: Any, **options: Any) -> None:
        built.append(self)
        original(self, *args, **options)

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", counting)
    tuned()
    (optimiser,) = built
    assert {int(state["step"]) for state in optimiser.state.values()} == {QUICK["steps"]}


def test_only_the_tuned_weights_change() -> None:
    backbone, oracle = chain(), FormulaOracle(bowl)
    before = {name: t.clone() for name, t in backbone.state().tensors.items()}
    opened = backbone.tunable()
    backbone.tunable = lambda: opened
    sampler = BraidSpec(**QUICK).build().fit(problem(backbone, oracle))
    assert all(torch.equal(t, before[name]) for name, t in backbone.state().tensors.items())
    reference = opened.reference.__self__
    assert all(torch.equal(t, before[name]) for name, t in reference.state().tensors.items())
    assert oracle.parameter.grad is None
    assert float(oracle.parameter.detach()) == 1
    assert all(p.grad is None for p in [*reference.net.values(), *backbone.net.values(), *sampler.tuned.net.values()])
    assert bool((weights(sampler) != 0).all())


def test_runs_repeat_and_follow_their_seed() -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(weights(tuned()), weights(tuned()))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(weights(tuned()), weights(tuned(seed=1)))


def test_checkpointing_and_full_truncation_tune_the_same() -> None:
    plain = weights(tuned())
    torch.testing.assert_close(weights(tuned(BraidSpec(**QUICK, checkpoint=True))), plain)
    torch.testing.assert_close(weights(tuned(BraidSpec(**QUICK, truncate=4))), plain)
    assert not torch.allclose(weights(tuned(BraidSpec(**QUICK, truncate=1))), plain, rtol=1e-3)


def test_checkpointing_pays_with_a_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], GaussianBackbone.predict

    def counting(self: GaussianBackbone, *args: Any) -> Tensor:
        calls.append(self)
        return original(self, *args)

    monkeypatch.setattr(GaussianBackbone, "predict", counting)
    tuned(BraidSpec(**QUICK, checkpoint=False))
    plain = len(calls)
    assert plain == 2 * 4 * QUICK["steps"]  # tuned and reference, at each step of the chain
    tuned(BraidSpec(**QUICK, checkpoint=True))
    assert len(calls) == 3 * plain
    look = 4  # two steps, before anything else
    tuned()
    assert len(calls) == 4 * plain + look
    monkeypatch.setattr("braid_core.tuning.estimators.MOST_KEPT", 0)
    tuned()
    assert len(calls) == 6 * plain + 2 * look


def test_a_gpu_may_keep_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free is also what torch holds without using it."""
    for name, value in (("mem_get_info", (60, 100)), ("memory_reserved", 30), ("memory_allocated", 10)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert most_kept(torch.device("cuda:0")) == (60 + 30 - 10) // 2
    assert most_kept(torch.device("cpu")) == MOST_KEPT


def test_gradients_are_clipped() -> None:
    """Plain Adam ignores the scale of constant gradients, so the norm itself is looked at."""
    norms = []
    original = torch.optim.Adam.step

    def looking(self: torch.optim.Adam, *args: Any, **options: Any) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", looking)
        tuned(BraidSpec(**{**QUICK, "clip": 0.125}))
    assert norms == pytest.approx([0.125] * QUICK["steps"], rel=1e-3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_score_that_is_not_a_number_is_an_error_with_a_remedy(bad: float) -> None:
    with pytest.raises(BraidError, match=r"score of some designs is not a number(.|\n)*lower learning_rate"):
        tuned(oracle=FormulaOracle(lambda x: x.sum(1) * bad))


def test_a_gradient_that_is_lost_in_the_last_step_is_an_error() -> None:
    """The loss is finite, but the weights after it are not: √0 at a distance of 0."""
    with pytest.raises(BraidError, match=r"diverged(.|\n)*fix: lower learning_rate"):
        tuned(BraidSpec(**{**QUICK, "steps": 1}), FormulaOracle(lambda x: (x - x.detach()).square().sum(1).sqrt()))


def test_a_chain_without_noise_is_refused() -> None:
    backbone = GaussianBackbone(GaussianChain(2, 4, noiseless_end=True))
    with pytest.raises(UnsupportedError, match="no noise"):
        BraidSpec(**QUICK).build().fit(problem(backbone, FormulaOracle(bowl)))


def test_a_reopened_sampler_draws_the_same() -> None:
    sampler, backbone, oracle = tuned(), chain(), FormulaOracle(bowl)
    reopened = BraidSpec(**QUICK).build().sampler(backbone, oracle)
    before = reopened.sample(50, seeded())
    reopened.load_state(sampler.state())
    drawn, again = sampler.sample(50, seeded()), reopened.sample(50, seeded())
    assert torch.equal(drawn.x, again.x)
    assert torch.equal(drawn.kl, again.kl)
    assert float(before.kl.abs().max()) == 0 < float(drawn.kl.max())
    assert not drawn.x.requires_grad


def test_stored_state_does_not_follow_the_weights() -> None:
    sampler = tuned()
    state = sampler.state()
    kept = state.tensors["last.shift"].clone()
    with torch.no_grad():
        sampler.tuned.net["shift"].add_(1)
    assert torch.equal(state.tensors["last.shift"], kept)


def test_progress_is_reported_in_original_units() -> None:
    heard = Heard()
    oracle = FormulaOracle(lambda x: 7 + 0 * x.sum(1), lambda x: 2 + 0 * x.sum(1))
    BraidSpec(**QUICK).build().fit(problem(chain(), oracle, unit=5.0, log=heard))
    done, total, figures = heard.steps[-1]
    assert (done, total) == (QUICK["steps"], QUICK["steps"])
    assert figures["mean"] == 7
    assert figures["conservative"] == 5
    assert figures["kl"] == pytest.approx(0, abs=1e-3)


def test_milestones_are_what_tuning_was_at_that_step() -> None:
    spec = BraidSpec(**QUICK, milestones=3)
    assert spec.kept == (2, 4, 6)
    sampler = tuned(spec)
    assert sampler.milestones == spec.kept
    last = sampler.sample(50, seeded())
    costs = []
    for step in sampler.milestones:
        with sampler.at(step) as then:
            costs.append(float(then.sample(500, seeded()).kl.sum(1).mean()))
    assert 0 < costs[0] < costs[1] < costs[2]
    assert torch.equal(sampler.sample(50, seeded()).x, last.x)

    reopened = BraidSpec(**QUICK).build().sampler(chain(), FormulaOracle(bowl))
    reopened.load_state(sampler.state())
    for step in sampler.milestones:
        with sampler.at(step), reopened.at(step):
            assert torch.equal(weights(reopened), weights(sampler))
    assert tuned(BraidSpec(**QUICK, milestones=0)).milestones == ()


def test_milestones_do_not_touch_the_tuning() -> None:
    assert torch.equal(
        weights(tuned(BraidSpec(**QUICK, milestones=3))), weights(tuned(BraidSpec(**QUICK, milestones=0)))
    )


def test_averaged_weights_lag_behind_the_last_ones() -> None:
    plain, averaged = weights(tuned()), weights(tuned(BraidSpec(**QUICK, ema=0.9)))
    assert 0 < float(averaged.norm()) < float(plain.norm())


def test_designs_alone_are_those_of_sample_without_asking_the_reference() -> None:
    sampler, asked = tuned(), Counted(chain().predict)
    sampler.reference = asked
    assert torch.equal(sampler.designs(50, seeded()), sampler.sample(50, seeded()).x)
    assert asked.calls == sampler.tuned.process.steps  # of `sample`


class Detached(FormulaOracle):
    """Without gradients, as from a library that is no torch."""

    @torch.no_grad()
    def posterior(self, x: Tensor) -> FormulaPosterior:
        return super().posterior(x)


def test_a_score_without_a_gradient_is_refused() -> None:
    """Else the path KL alone would be minimised, and nobody would notice."""
    with pytest.raises(UnsupportedError, match=r"no gradient(.|\n)*policy = \{\}"):
        tuned(oracle=Detached(bowl))
    assert bool(weights(tuned(BraidSpec(**QUICK, policy={}), Detached(bowl))).any())
