"""DDOM: what its twin is told, what it draws, what that costs, and what is kept of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_continuous.scaling import Scaling
from braid_ddom import DdomSpec
from braid_ddom.objective import Conditional
from braid_ddom.weights import weights
from braid_discrete import MaskedSpec, UniformSpec
from braid_discrete.exact import ExactChain
from braid_simplex import SimplexSpec
from torch import Tensor

from braid_core.errors import BraidError, DataError, SpecError
from braid_core.interfaces import (
    Condition,
    ConditionSpec,
    LabelledDesigns,
    Problem,
    Silent,
    Space,
    Streams,
    Tokens,
    Vectors,
)
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import PretrainingSpec
from braid_core.registry.spec import component
from braid_core.tuning.classifier_free import classifier_free
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import FormulaOracle, Heard

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"network": {"width": 32, "depth": 1}, "train_steps": 300, "batch": 64}
SPECS: dict[str, PretrainingSpec] = {
    "one by one": MaskedSpec(**QUICK),
    "parallel": MaskedSpec(reveal="parallel", steps=8, **QUICK),
    "uniform": UniformSpec(steps=8, **QUICK),
    "simplex": SimplexSpec(steps=8, **QUICK),
    "gaussian": GaussianSpec(steps=10, **QUICK),
}
N = 400


def reward(x: Tensor) -> Tensor:
    """Of letters: how many are A; of vectors: their sum, far from a scale of 1."""
    return x[..., 0].sum(1) if x.ndim == 3 else 100 + 5 * x.sum(1)


def posed(spec: PretrainingSpec, space: Space, n: int = 400, **changes: Any) -> Problem:
    """A table of random designs, and an untrained model of them with opinions."""
    model = spec.build(space, CPU)
    source = seeded(1)
    for parameter in model.net.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    x = space.random(n, seeded(2))
    model._learn_encoding(x)
    oracle = FormulaOracle(reward, lambda x: 0.1 * reward(x).abs())
    return Problem(LabelledDesigns(x, reward(x)), model, oracle, Streams(0), changes.get("log", Silent()))


def letters(spec: PretrainingSpec | None = None, space: Tokens | None = None) -> Problem:
    return posed(spec or SPECS["one by one"], space or Tokens("ACGT", 4))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return letters()


@pytest.fixture(scope="module")
def sampler(problem: Problem) -> Conditional:
    return DdomSpec().build().fit(problem)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_it_draws_what_the_best_of_the_table_are_like(name: str) -> None:
    """Above four in five of the table, for every chain; the oracle is not asked."""
    asked = posed(SPECS[name], Vectors(3) if name == "gaussian" else Tokens("ACGT", 4))
    path = DdomSpec().build().fit(asked).sample(N, seeded())
    found = reward(path.x)
    assert float(found.mean()) > float(asked.data.y.quantile(0.8))
    assert bool(asked.pretrained.process.space.contains(path.x).all())
    assert not path.x.requires_grad
    assert path.kl is not None
    assert path.kl.shape == (N, asked.pretrained.process.steps)
    assert float(path.kl.sum(1).mean()) > 0.5


def test_the_twin_is_told_standardised_rewards_and_weighted_by_them(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def fit(self: NetworkBackbone, designs: Tensor, generator: torch.Generator, **options: Any) -> None:
        seen.update(options, designs=designs, condition=self.condition)

    monkeypatch.setattr(NetworkBackbone, "fit", fit)
    DdomSpec(bins=7, largest_weight=3.0).build().fit(problem)
    y = problem.data.y
    assert seen["condition"] == ConditionSpec("scalar", 1, dropout=0.15)
    assert torch.equal(seen["designs"], problem.data.x)
    told = seen["conditions"]
    assert not bool(told.null.any())
    torch.testing.assert_close(told.values, ((y - y.mean()) / y.std())[:, None])
    assert torch.equal(seen["weights"], weights(y, bins=7, largest=3.0))


def test_it_asks_for_the_offline_maximum_unless_told_otherwise(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetworkBackbone, "fit", lambda *args, **options: None)
    y = problem.data.y
    best, other = (DdomSpec(target=target).build().fit(problem).target for target in (None, 1.5))
    assert best == pytest.approx(float((y.max() - y.mean()) / y.std()))
    assert other == pytest.approx(float((1.5 - y.mean()) / y.std()))


def test_another_condition_takes_the_place_of_the_target(sampler: Conditional) -> None:
    low = Condition(torch.full((N, 1), -1.0), torch.zeros(N, dtype=torch.bool))
    best, worse = (reward(sampler.sample(N, seeded(), condition).x).mean() for condition in (None, low))
    assert float(worse) < float(best) - 0.5


def test_gamma_leans_further(problem: Problem, sampler: Conditional) -> None:
    plain = Conditional(sampler.twin, problem.pretrained, 0.0, sampler.target).sample(N, seeded())
    leaning = sampler.sample(N, seeded())
    assert torch.equal(sampler.designs(N, seeded()), leaning.x)
    assert float(reward(leaning.x).mean()) > float(reward(plain.x).mean())
    assert float(leaning.kl.sum(1).mean()) > float(plain.kl.sum(1).mean()) > 0


@pytest.mark.parametrize("spec", [MaskedSpec(**QUICK), UniformSpec(steps=4, **QUICK)], ids=["masked", "uniform"])
def test_the_kl_is_that_of_the_enumerated_chains(spec: PretrainingSpec) -> None:
    asked = letters(spec, Tokens("ACG", 2))
    fitted = DdomSpec().build().fit(asked)
    leaning = classifier_free(fitted.twin.predict, 2.0)

    def told(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        return leaning(x, t, Condition(x.new_full((len(x), 1), fitted.target), torch.zeros(len(x), dtype=torch.bool)))

    exact = float(ExactChain(asked.pretrained.process, told, asked.pretrained.predict).path_kl())
    found = fitted.sample(4000, seeded()).kl.sum(1)
    assert exact > 0.5
    assert float(found.mean()) == pytest.approx(exact, abs=5 * float(found.std()) / 4000**0.5)


def test_chains_of_different_scaling_are_not_compared() -> None:
    """A gaussian twin keeps the pretrained units, so the latents are the same, and the KL is given; else it is not."""
    asked = posed(SPECS["gaussian"], Vectors(2))
    fitted, model = DdomSpec().build().fit(asked), asked.pretrained
    assert fitted.twin.scaling is model.scaling
    found = fitted.sample(5, seeded())
    condition = Condition(torch.full((5, 1), fitted.target), torch.zeros(5, dtype=torch.bool))
    with torch.no_grad():
        path = rollout(
            model.process,
            classifier_free(fitted.twin.predict, 2.0),
            5,
            seeded(),
            reference=lambda x, t, condition: model.predict(x, t),
            condition=condition,
        )
    assert torch.equal(found.kl, path.kl)
    assert torch.equal(found.x, model.decode(path.x))
    fitted.twin.scaling = Scaling.of(asked.data.x[:10], model.process.space)
    assert fitted.sample(5, seeded()).kl is None


def test_a_last_step_without_noise_leaves_the_kl_unsaid() -> None:
    asked = posed(GaussianSpec(steps=3, last_noise=0.0, **QUICK), Vectors(2))
    fitted = DdomSpec().build().fit(asked)
    assert fitted.sample(5, seeded()).kl is None


def test_conditional_draws_spare_the_network_what_does_not_move() -> None:
    """Where no KL is wanted, classifier-free draws ask only about states that the step changes: the same designs."""
    model = SPECS["parallel"].build(Tokens("ACGT", 4), CPU).fresh(ConditionSpec("scalar", 1))
    condition = Condition(torch.arange(N)[:, None] / N, torch.zeros(N, dtype=torch.bool))
    asked: list[int] = []

    def counting(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        asked.append(len(x))
        return model.predict(x, t, condition)

    full = rollout(model.process, classifier_free(model.predict, 2.0), N, seeded(), condition=condition).x
    with torch.no_grad():
        spared = rollout(model.process, classifier_free(counting, 2.0), N, seeded(), condition=condition).x
    assert torch.equal(spared, full)
    assert sum(asked) < 2 * N * 4  # at most once for each letter, told and untold; without sparing 2·N·8


def test_a_finished_sampler_is_its_state(problem: Problem, sampler: Conditional) -> None:
    reopened = DdomSpec().build().sampler(problem.pretrained, problem.oracle)
    with pytest.raises(BraidError, match="load_state"):
        reopened.sample(1, seeded())
    reopened.load_state(sampler.state())
    one, other = sampler.sample(20, seeded()), reopened.sample(20, seeded())
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.kl, other.kl)


def test_the_pretrained_model_stays_as_it_is_and_runs_repeat() -> None:
    heard = Heard()
    asked = posed(SPECS["one by one"], Tokens("ACGT", 4), log=heard)
    before = {name: tensor.clone() for name, tensor in asked.pretrained.state().tensors.items()}
    one, again = (DdomSpec().build().fit(asked).state() for _ in range(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in asked.pretrained.state().tensors.items())
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in one.tensors.items())
    assert one.meta == again.meta
    assert heard.steps
    assert "loss" in heard.steps[0][2]


def test_equal_rewards_are_refused(problem: Problem) -> None:
    data = LabelledDesigns(problem.data.x, torch.ones(len(problem.data)))
    with pytest.raises(DataError, match="all offline rewards are equal"):
        DdomSpec().build().fit(Problem(data, problem.pretrained, problem.oracle, Streams(0)))


def test_it_selects_by_the_mean(problem: Problem) -> None:
    posterior = problem.oracle.posterior(problem.data.x[:5])
    assert torch.equal(DdomSpec().build().score(posterior), posterior.mean)


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": -0.1},
        {"label_dropout": 1.0},
        {"bins": 0},
        {"quantile": 1.0},
        {"least_temperature": 0.0},
        {"smoothing": 0.0},
        {"largest_weight": -1.0},
        {"target": "best"},
        {"alpha": 0.1},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        component("objective", {"type": "ddom", **options})
