"""The chain with a trained network: what it learns, and that it can be tuned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_simplex import SimplexSpec
from braid_simplex.backbone import SimplexBackbone
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import Tokens, Vectors
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import FormulaOracle, problem
from tests.simplex.conftest import DESIGNS, PAIR, law, number

QUICK: dict[str, Any] = {"network": {"width": 32}, "train_steps": 300, "batch": 256, "learning_rate": 1e-2}


def built(space: Tokens = PAIR, **options: Any) -> SimplexBackbone:
    return SimplexSpec(**{**QUICK, **options}).build(space, torch.device("cpu"))


def samples(model: SimplexBackbone, n: int = 4000) -> Tensor:
    with torch.no_grad():
        return rollout(model.process, model.predict, n, seeded(1)).x


@pytest.fixture(scope="module")
def designs() -> Tensor:
    return DESIGNS[torch.multinomial(law(), 2000, replacement=True, generator=seeded())]


@pytest.mark.parametrize("objective", ["cross_entropy", "bound"])
def test_it_learns_letters_that_depend_on_each_other(designs: Tensor, objective: str) -> None:
    model = built(objective=objective)
    before = model.process.bound(model.predict, designs, seeded()).mean()
    model.fit(designs, seeded())
    found = torch.bincount(number(samples(model)), minlength=16) / 4000
    first, second = designs.mean(0)
    independent = 0.5 * float((law() - (first[:, None] * second).flatten()).abs().sum())
    assert 0.5 * float((found - law()).abs().sum()) < 0.15 < 0.5 * independent
    entropy = -float((law() * law().log()).sum())
    assert entropy - 0.1 < float(model.process.bound(model.predict, designs, seeded()).mean()) < entropy + 0.25
    assert float(before) > entropy + 0.5


def test_tuning_raises_a_linear_reward_and_pays_for_it() -> None:
    """A share of the way from J(p_pre) to J(p*) = Σ_l α·log E_pre[exp(r_l/α)], for independent uniform letters."""
    alpha, weight = 0.5, torch.tensor([[1.0, 0.0, -1.0, 0.5], [0.0, 1.0, 0.5, -1.0]])
    model = built(steps=10)
    model.fit(PAIR.random(2000, seeded()), seeded())
    oracle = FormulaOracle(lambda x: (x * weight).sum((1, 2)))
    sampler = BraidSpec(alpha=alpha, steps=50, batch=128, learning_rate=3e-3).build().fit(problem(model, oracle))
    drawn = sampler.sample(4000, seeded(2))
    assert drawn.kl is not None
    before, after = (weight * samples(model)).sum((1, 2)).mean(), (weight * drawn.x).sum((1, 2)).mean()
    assert float(after - before) > 0.8
    best = alpha * float((weight / alpha).logsumexp(1).sum() - 2 * torch.log(torch.tensor(4.0)))
    reached = float(after - alpha * drawn.kl.sum(1).mean())
    assert 0.7 < (reached - float(before)) / (best - float(before)) < 1.05


def test_other_numbers_of_steps_need_no_other_weights(designs: Tensor) -> None:
    model = built()
    model.fit(designs, seeded())
    for steps in (5, 60):
        model.process = model.process.with_steps(steps)
        found = torch.bincount(number(samples(model)), minlength=16) / 4000
        assert 0.5 * float((found - law()).abs().sum()) < (0.25 if steps == 5 else 0.15)


def test_sequences_can_be_read_by_convolutions() -> None:
    space = Tokens("ACGU", 30)
    model = built(space, network={"kind": "conv", "width": 8, "depth": 2}, train_steps=5, batch=8)
    model.fit(space.random(40, seeded()), seeded())
    assert type(model.net).__name__ == "ConvDenoiser"
    assert bool(space.contains(samples(model, 6)).all())


def test_faults_are_explained() -> None:
    with pytest.raises(UnsupportedError, match=r"tokens(.|\n)*another backbone|tokens(.|\n)*choose"):
        SimplexSpec().build(Vectors(3), torch.device("cpu"))
    with pytest.raises(DataError, match="'N'"):
        PAIR.encode(["AN"])
    with pytest.raises(DataError, match="too few"):
        built().fit(torch.zeros(0, 2, 4), seeded())
    relaxed = DESIGNS.clone()
    relaxed[3] = 0.25
    with pytest.raises(DataError, match="design 4"):
        built().fit(relaxed, seeded())
    with pytest.raises(ValueError, match="horizon"):
        SimplexSpec(end=5.0)
    with pytest.raises(ValueError, match="speed"):
        SimplexSpec(speed=-1.0)
    with pytest.raises(ValueError, match="warp"):
        SimplexSpec(warp=0.5)


def test_a_spec_round_trips() -> None:
    spec = SimplexSpec(steps=7, speed=0.5, end=0.2, network={"width": 8})
    assert SimplexSpec.model_validate_json(spec.model_dump_json()) == spec
