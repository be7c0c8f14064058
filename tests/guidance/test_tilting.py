"""A step guided at level 1 along a linear reward is the step times exp(reward), normalised: exactly."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_continuous.scaling import Scaling
from braid_discrete import MaskedSpec, UniformSpec
from braid_guidance import GuidanceSpec
from braid_guidance.guided import Guided
from braid_simplex import SimplexSpec
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from braid_core.interfaces import Backbone, Tokens, Vectors
from braid_core.tuning.rollout import Guidance, rollout
from tests.checks import agrees, seeded
from tests.doubles import FormulaOracle, problem

from .conftest import CPU, SMALL, linear, opinionated, slope

SPACE = Tokens("ACG", 2)
DESIGNS = one_hot(torch.tensor(list(product(range(3), repeat=2))), 3).float()
REWARD = GuidanceSpec(potential="reward", level=1.0)


def guided(model: Backbone) -> Guided:
    """With offline rewards of standard deviation 1, the unit of the potential."""
    return REWARD.build().fit(problem(model, FormulaOracle(linear), 1.0))


def number(x: Tensor) -> Tensor:
    return (x.argmax(-1) * torch.tensor([3, 1])).sum(1)


@pytest.mark.parametrize("kind", ["masked", "uniform"])
def test_letters_in_one_step(kind: str) -> None:
    """All designs are enumerated, for every start: p(design | start)·exp(r(design))."""
    masked = MaskedSpec(reveal="parallel", steps=1, **SMALL)
    model = opinionated(masked if kind == "masked" else UniformSpec(steps=1, **SMALL), SPACE, 0.2)
    starts = pad(torch.zeros_like(DESIGNS[:1]), (0, 1), value=1.0) if kind == "masked" else DESIGNS
    letters = model.predict(starts, torch.ones(len(starts))).log_softmax(-1).double()
    plain = torch.einsum("slv,nlv->sn", letters, DESIGNS.double())
    tilted = (plain + linear(DESIGNS).double()).log_softmax(1)

    drawn = guided(model).sample(20_000, seeded())
    assert agrees(number(drawn.x), tilted.exp().mean(0))
    assert not agrees(number(drawn.x), plain.exp().mean(0))
    assert drawn.kl is not None
    cost = (tilted.exp() * (tilted - plain)).sum(1)
    if kind == "masked":
        torch.testing.assert_close(drawn.kl[:, 0].double(), cost.expand(20_000), rtol=1e-5, atol=1e-6)
    assert float(drawn.kl.mean()) == pytest.approx(float(cost.mean()), rel=0.02)


class Shift(nn.Module):
    """A prediction of x0 that moves the state by a constant: ∂x̂0/∂x = 1."""

    def forward(self, x: Tensor, *others: object) -> Tensor:
        return x + torch.tensor([0.5, -1.0])


def test_vectors_in_one_step() -> None:
    """z | start ~ N(start + c, σ²), x = location + scale·z and r = w·x: tilted it is N(start + c + σ²·scale·w, σ²)."""
    model = GaussianSpec(steps=1, prediction="x0", last_noise=0.7, **SMALL).build(Vectors(2), CPU)
    model.net, model.scaling = Shift(), Scaling(torch.tensor([4.0, -5.0]), torch.tensor([3.0, 0.5]))
    sampler = guided(model)
    plain = rollout(model.process, model.predict, 1000, seeded())
    drawn = sampler.sample(1000, seeded())
    sigma = 0.7  # the share of the noise that is left, and at the start all is noise
    moved = sigma**2 * model.scaling.scale * slope(drawn.x)
    torch.testing.assert_close(drawn.x, model.decode(plain.x + moved), rtol=1e-4, atol=1e-4)
    assert drawn.kl is not None
    cost = float(moved.square().sum()) / (2 * sigma**2)
    torch.testing.assert_close(drawn.kl, torch.full((1000, 1), cost), rtol=1e-3, atol=1e-4)


def test_the_letters_of_the_simplex_are_drawn_in_one_step() -> None:
    """The sticks before are what they are; given them the last step is over letters, all enumerated."""
    model = opinionated(SimplexSpec(steps=3, **SMALL), SPACE, 0.2)
    process = model.process
    path = rollout(
        process, model.predict, 50, seeded(), reference=model.predict, record=True, guidance=Guidance(linear, 1.0)
    )
    assert path.states is not None
    before, last = path.states[-2], process.steps - 1
    letters = process.denoised(model.predict(before, torch.full((50,), process.time(last))), before, last).log()
    plain = torch.einsum("slv,nlv->sn", letters.double(), DESIGNS.double())
    tilted = (plain + linear(DESIGNS).double()).log_softmax(1)
    assert path.log_prob is not None
    assert path.kl is not None
    taken = tilted[torch.arange(50), number(path.x)]
    torch.testing.assert_close(path.log_prob[:, -1].double(), taken, rtol=1e-4, atol=1e-5)
    cost = (tilted.exp() * (tilted - plain)).sum(1)
    torch.testing.assert_close(path.kl[:, -1].double(), cost, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"level": 2.0}, {"level": 1.0, "potential": "reward"}])
def test_the_unit_of_the_reward_is_the_offline_standard_deviation(options: dict[str, Any]) -> None:
    """Twice the level in twice the unit is the same guidance."""
    model = opinionated(MaskedSpec(**SMALL), SPACE)
    options = {"potential": "reward", **options}
    unit = float(options["level"])
    sampler = GuidanceSpec(**options).build().fit(problem(model, FormulaOracle(linear), unit))
    assert torch.equal(sampler.sample(200, seeded()).x, guided(model).sample(200, seeded()).x)
