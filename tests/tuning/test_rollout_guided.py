"""Guided rollouts: which step is taken, what it costs, what is asked of the network, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_discrete import MaskedSpec, UniformSpec
from braid_simplex import SimplexSpec
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Backbone, Condition, Tokens, Trajectory, Vectors
from braid_core.tuning.rollout import Guidance, rollout
from tests.checks import seeded
from tests.doubles import Counted

N = 24
SMALL = {"network": {"width": 8, "depth": 1}}
SPECS = {
    "one by one": MaskedSpec(**SMALL),
    "parallel": MaskedSpec(reveal="parallel", steps=12, **SMALL),
    "uniform": UniformSpec(steps=6, **SMALL),
    "simplex": SimplexSpec(steps=6, **SMALL),
    "gaussian": GaussianSpec(steps=6, **SMALL),
}
THROUGH_THE_STATE = {"simplex", "gaussian"}


@pytest.fixture(params=sorted(SPECS), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Backbone:
    """With opinions, and weights that would take a gradient."""
    built = SPECS[name].build(Vectors(3) if name == "gaussian" else Tokens("ACGT", 4), torch.device("cpu"))
    source = seeded(1)
    with torch.no_grad():
        for parameter in built.net.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=source))
    built.net.requires_grad_(True)
    return built


def wave(x: Tensor) -> Tensor:
    """Neither linear nor the same for any two numbers of a design."""
    weight = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype)
    return (x.flatten(1) * weight).sum(1).sin()


def run(model: Backbone, level: float = 2.0, **options: object) -> Trajectory:
    options = {"reference": model.predict, **options}
    return rollout(model.process, model.predict, N, seeded(), guidance=Guidance(wave, level), **options)


def test_the_steps_are_those_of_the_process(model: Backbone, name: str) -> None:
    """Taken one by one, from the start that the generator draws; KL and log probability are of the guided step."""
    process, generator, path = model.process, seeded(), run(model, record=True)
    x = process.prior(N, generator)
    for k in range(process.steps):
        noise = process.transition_type.noise(x, generator)
        here = x.detach().requires_grad_(name in THROUGH_THE_STATE)
        out = model.predict(here, torch.full((N,), process.time(k)))
        step, plain = process.guided(out, here, k, wave, 2.0), process.transition(out, here, k)
        assert path.kl is not None
        assert path.log_prob is not None
        torch.testing.assert_close(path.kl[:, k], step.kl(plain).detach())
        x = step.rsample(noise).detach()
        torch.testing.assert_close(path.log_prob[:, k], step.log_prob(x).detach())
    torch.testing.assert_close(path.x, process.finish(x))
    assert float(path.kl.sum(1).mean()) > 0.01


def test_level_0_changes_nothing_and_costs_nothing(model: Backbone) -> None:
    plain = rollout(model.process, model.predict, N, seeded()).x
    path = run(model, 0.0)
    assert torch.equal(path.x, plain)
    assert path.kl is not None
    torch.testing.assert_close(path.kl, torch.zeros_like(path.kl), rtol=0, atol=1e-6)


def test_the_network_is_called_once_a_step_and_its_output_used_twice(model: Backbone) -> None:
    predict = Counted(model.predict)
    rollout(model.process, predict, N, seeded(), reference=predict, guidance=Guidance(wave, 1.0))
    assert predict.calls == model.process.steps


def test_another_reference_is_asked_itself(model: Backbone) -> None:
    asked = Counted(lambda x, t, condition: model.predict(x, t) + 0.1 * x.new_ones(1))
    kl = run(model, 0.0, reference=asked).kl
    assert asked.calls == model.process.steps
    assert kl is not None
    assert bool((kl >= -1e-6).all())


def test_nothing_of_a_step_is_kept(model: Backbone) -> None:
    """Although the caller records gradients and the network's weights would take them."""
    path = run(model, record=True, checkpoint=True)
    assert not any(tensor.requires_grad for tensor in (path.x, path.kl, path.log_prob, path.states))
    assert all(parameter.grad is None for parameter in model.net.parameters())
    with torch.no_grad():
        again = run(model)
    assert torch.equal(again.x, path.x)
    assert torch.equal(again.kl, path.kl)


def test_the_network_has_a_graph_only_where_guidance_goes_through_it(model: Backbone, name: str) -> None:
    graphs: list[bool] = []

    def watched(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        out = model.predict(x, t)
        graphs.append(out.requires_grad)
        return out

    rollout(model.process, watched, N, seeded(), guidance=Guidance(wave, 1.0))
    assert graphs == [name in THROUGH_THE_STATE] * len(graphs)
    assert len(graphs) <= model.process.steps


class Rows:
    """Counts the states that a function is asked about."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function, self.asked = function, 0

    def __call__(self, x: Tensor, *others: object) -> Tensor:
        self.asked += len(x)
        return self.function(x, *others)


def test_states_at_rest_are_skipped_unless_the_kl_is_wanted() -> None:
    """A coin that falls on "stay" still costs KL on average over coins, so everybody is asked for it."""
    model = SPECS["parallel"].build(Tokens("ACGT", 4), torch.device("cpu"))
    everybody = N * model.process.steps
    for options, spared in (({}, True), ({"reference": model.predict}, False), ({"record": True}, False)):
        predict, potential = Rows(model.predict), Rows(wave)
        x = rollout(model.process, predict, N, seeded(), guidance=Guidance(potential, 2.0), **options).x
        assert torch.equal(x, run(model).x)
        assert (predict.asked < everybody) == spared
        assert potential.asked == predict.asked


def test_a_potential_without_a_gradient_is_refused(model: Backbone) -> None:
    guidance = Guidance(lambda x: wave(x).detach(), 1.0)
    with pytest.raises(UnsupportedError, match=r"has no gradient(.|\n)*best-of-n"):
        rollout(model.process, model.predict, N, seeded(), guidance=guidance)
