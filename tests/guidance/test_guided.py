"""Guidance as an objective, for every chain: what it raises, what it is told, what it keeps and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_discrete import MaskedSpec
from braid_guidance import GuidanceSpec
from braid_guidance.guided import Guided
from torch import Tensor
from torch.distributions import Normal

from braid_core.errors import BraidError, DataError, SpecError, UnsupportedError
from braid_core.interfaces import Backbone, LabelledDesigns, Problem, Tokens, Vectors
from braid_core.registry.spec import component
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import FormulaOracle, problem

from .conftest import SMALL, linear, opinionated

N = 400


def penalty(x: Tensor) -> Tensor:
    """What makes the mean misleading."""
    return 4 * x.flatten(1)[:, -1].square()


def posed(model: Backbone, rmse: float | None = 0.5, unit: float = 1.0) -> Problem:
    return replace(problem(model, FormulaOracle(linear, penalty), unit), oracle_rmse=rmse)


def fitted(model: Backbone, **options: Any) -> Guided:
    return GuidanceSpec(**options).build().fit(posed(model))


def plain(model: Backbone, n: int = N) -> Tensor:
    with torch.no_grad():
        return model.decode(rollout(model.process, model.predict, n, seeded()).x)


@pytest.mark.parametrize("potential", ["likelihood", "reward"])
def test_it_raises_what_the_oracle_expects(pretrained: Backbone, potential: str) -> None:
    options = {"target": 10.0, "noise": 2.0} if potential == "likelihood" else {}
    before, costs = float(linear(plain(pretrained)).mean()), []
    reached = [before]
    for level in (1.0, 3.0):
        path = fitted(pretrained, level=level, potential=potential, **options).sample(N, seeded())
        reached.append(float(linear(path.x).mean()))
        assert path.kl is not None
        assert path.kl.shape == (N, pretrained.process.steps)
        costs.append(float(path.kl.sum(1).mean()))
    assert reached[0] + 0.05 < reached[1] < reached[2]
    assert 0 < costs[0] < costs[1]


def test_level_0_draws_from_the_pretrained_model(pretrained: Backbone) -> None:
    path = fitted(pretrained, level=0).sample(50, seeded())
    assert torch.equal(path.x, plain(pretrained, 50))
    assert path.kl is not None
    torch.testing.assert_close(path.kl, torch.zeros_like(path.kl), rtol=0, atol=1e-6)


def test_the_conservative_reward_is_followed_where_asked(pretrained: Backbone) -> None:
    mean, safe = (fitted(pretrained, level=1.5, potential="reward", conservative=c) for c in (False, True))
    avoided, sought = (penalty(sampler.sample(N, seeded()).x).mean() for sampler in (safe, mean))
    assert float(avoided) < float(sought)
    posterior = FormulaOracle(linear, penalty).posterior(plain(pretrained, 5))
    for conservative in (False, True):
        expected = posterior.conservative() if conservative else posterior.mean
        assert torch.equal(GuidanceSpec(conservative=conservative).build().score(posterior), expected)


def test_a_finished_sampler_is_its_state(pretrained: Backbone) -> None:
    """Target and noise; the weights are those of the pretrained stage, and stay as they are."""
    before = {name: tensor.clone() for name, tensor in pretrained.state().tensors.items()}
    sampler = fitted(pretrained)
    state = sampler.state()
    assert state.tensors == {}
    assert state.meta == {"target": pytest.approx(0.5**0.5), "scale": 0.5}
    reopened = GuidanceSpec().build().sampler(pretrained, FormulaOracle(linear, penalty))
    with pytest.raises(BraidError, match="load_state"):
        reopened.sample(1, seeded())
    reopened.load_state(state)
    one, other = sampler.sample(20, seeded()), reopened.sample(20, seeded())
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.kl, other.kl)
    assert not one.x.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in pretrained.state().tensors.items())


def test_the_potential_is_the_log_likelihood() -> None:
    """Up to a constant, which has no gradient."""
    model = opinionated(MaskedSpec(**SMALL), Tokens("ACGT", 4))
    sampler, x = fitted(model, target=2.0, noise=0.3), plain(model, 30)
    expected = Normal(linear(x), 0.3).log_prob(torch.tensor(2.0))
    found = sampler.aim.potential(linear(x))
    torch.testing.assert_close(found - log(0.3) - 0.5 * log(2 * torch.pi), expected, rtol=1e-4, atol=1e-4)


def test_the_target_is_the_offline_maximum_and_the_noise_the_error_on_held_out_designs() -> None:
    model = opinionated(MaskedSpec(**SMALL), Tokens("ACGT", 4))
    asked = posed(model, rmse=0.25)
    data = LabelledDesigns(asked.data.x.repeat(2, 1, 1), torch.tensor([1.0, 7.0, -3.0, 2.0]))
    aim = GuidanceSpec().build().fit(replace(asked, data=data)).aim
    assert (aim.target, aim.scale) == (7, 0.25)
    aim = GuidanceSpec(target=-1.0, noise=2.0).build().fit(replace(asked, data=data)).aim
    assert (aim.target, aim.scale) == (-1, 2)


@pytest.mark.parametrize(("rmse", "why"), [(None, "was not given"), (0.0, "that error is 0")])
def test_without_a_noise_it_asks_for_one(rmse: float | None, why: str) -> None:
    model = opinionated(MaskedSpec(**SMALL), Tokens("ACGT", 4))
    with pytest.raises(DataError, match=rf"{why}(.|\n)*give `noise`"):
        GuidanceSpec().build().fit(posed(model, rmse))
    GuidanceSpec(noise=1.0).build().fit(posed(model, rmse))
    GuidanceSpec(potential="reward").build().fit(posed(model, rmse))


def test_equal_rewards_give_the_level_no_unit() -> None:
    model = opinionated(MaskedSpec(**SMALL), Tokens("ACGT", 4))
    with pytest.raises(DataError, match="rewards are equal"):
        GuidanceSpec(potential="reward").build().fit(posed(model, unit=0.0))


def test_a_chain_without_noise_cannot_be_guided() -> None:
    still = opinionated(GaussianSpec(steps=3, eta=0.0, **SMALL), Vectors(2))
    with pytest.raises(UnsupportedError, match="eta > 0"):
        fitted(still).sample(3, seeded())


def test_a_last_step_without_noise_leaves_the_kl_unsaid() -> None:
    model = opinionated(GaussianSpec(steps=3, last_noise=0.0, **SMALL), Vectors(2))
    path = fitted(model, potential="reward").sample(3, seeded())
    assert path.kl is None
    assert bool(path.x.isfinite().all())


def test_guidance_that_is_too_strong_says_so(pretrained: Backbone) -> None:
    with pytest.raises(BraidError, match=r"not finite(.|\n)*lower `level`"):
        fitted(pretrained, level=1e38, noise=1e-8).sample(20, seeded())


@pytest.mark.parametrize(
    "options",
    [
        {"level": -1},
        {"level": float("nan")},
        {"potential": "gradient"},
        {"noise": 0.0},
        {"potential": "reward", "target": 1.0},
        {"potential": "reward", "noise": 1.0},
        {"alpha": 0.1},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        component("objective", {"type": "guidance", **options})
