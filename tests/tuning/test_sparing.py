"""Where nothing but designs is wanted, the network is not asked about states that stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from braid_discrete import MaskedSpec
from torch import Tensor

from braid_core.interfaces import Condition, ConditionSpec, Process, Tokens
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import GaussianBackbone, GaussianChain

SPACE = Tokens("ACGT", 6)
N = 200
Network = Callable[..., Tensor]


def chain(steps: int | None) -> tuple[Process, Network]:
    """A parallel chain of so many steps, or one letter a step, with opinions."""
    spec = MaskedSpec(network={"width": 8}, reveal="parallel" if steps else "one", steps=steps)
    model = spec.build(SPACE, torch.device("cpu"))
    source = seeded(1)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))
    return model.process, model.predict


class Rows:
    """Counts the states that a network is asked about, and its calls."""

    def __init__(self, predict: Network) -> None:
        self.predict, self.asked = predict, []

    def __call__(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        self.asked.append(len(x))
        assert len(t) == len(x)
        return self.predict(x, t, condition)

    @property
    def per_design(self) -> float:
        return sum(self.asked) / N


def sparing(process: Process, predict: Network, **options: object) -> Tensor:
    with torch.no_grad():
        return rollout(process, predict, N, seeded(), **options).x


@pytest.mark.parametrize("steps", [None, 1, 4, 30, 200])
def test_the_designs_are_the_same_to_the_last_bit(steps: int | None) -> None:
    process, predict = chain(steps)
    full = rollout(process, predict, N, seeded()).x
    assert torch.equal(sparing(process, predict), full)
    assert torch.equal(sparing(process, predict, record=True), full)
    assert len(full.unique(dim=0)) > N / 10


@pytest.mark.parametrize("steps", [4, 30, 200])
def test_the_network_is_asked_once_for_each_step_that_reveals_something(steps: int) -> None:
    """T·(1 − (1 − 1/T)^L) times a design on average: never more than there are letters."""
    process, predict = chain(steps)
    rows = Rows(predict)
    sparing(process, rows)
    expected = steps * (1 - (1 - 1 / steps) ** SPACE.length)
    assert rows.per_design == pytest.approx(expected, abs=4 * (SPACE.length / N) ** 0.5)
    assert rows.per_design < SPACE.length
    assert all(rows.asked)  # a step that changes nothing makes no call


def test_one_letter_a_step_spares_nothing() -> None:
    process, predict = chain(None)
    rows = Rows(predict)
    sparing(process, rows)
    assert rows.asked == [N] * SPACE.length


@pytest.mark.parametrize("wanted", ["record", "reference", "gradient"])
def test_everybody_is_asked_where_more_than_designs_is_wanted(wanted: str) -> None:
    process, predict = chain(30)
    rows = Rows(predict)
    if wanted == "gradient":
        rollout(process, rows, N, seeded())
    else:
        sparing(process, rows, **{wanted: True if wanted == "record" else predict})
    assert rows.asked == [N] * 30


def test_chains_that_always_move_are_never_interrupted() -> None:
    gaussian = GaussianBackbone(GaussianChain(2, 5), 0.5, 0.8)
    rows = Rows(gaussian.predict)
    x = sparing(gaussian.process, rows)
    assert rows.asked == [N] * 5
    assert torch.equal(x, rollout(gaussian.process, gaussian.predict, N, seeded()).x)


def test_each_state_keeps_its_own_condition() -> None:
    spec = MaskedSpec(network={"width": 8}, reveal="parallel", steps=30)
    model = spec.build(SPACE, torch.device("cpu")).fresh(ConditionSpec("scalar", 1))
    condition = Condition(torch.arange(N, dtype=torch.float32)[:, None], torch.arange(N) % 3 == 0)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=seeded(1)))
    full = rollout(model.process, model.predict, N, seeded(), condition=condition).x
    assert torch.equal(sparing(model.process, model.predict, condition=condition), full)


@pytest.mark.parametrize("steps", [None, 5])
def test_states_that_do_not_move_do_not_change(steps: int | None) -> None:
    """The promise of `moving`, for states on the way and any prediction."""
    process, predict = chain(steps)
    states = rollout(process, predict, N, seeded(), record=True).states
    for k in range(process.steps):
        noise = process.transition_type.noise(states[k], seeded(k))
        moving = process.moving(states[k], noise, k)
        if moving is None:
            continue
        out = torch.randn(N, *SPACE.event_shape, generator=seeded(3))
        following = process.transition(out, states[k], k).rsample(noise)
        changed = (following != states[k]).flatten(1).any(1)
        assert torch.equal(changed, moving)
