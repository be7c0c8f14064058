"""The reward model on every space: architecture, symmetry, copies, and learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from braid_core.errors import DataError
from braid_core.interfaces import Images, LabelledDesigns, Space, Tokens, Vectors
from braid_core.nets.reward import RewardModel
from braid_core.nets.spec import NetworkSpec
from tests.checks import seeded

SHORT, LONG = Tokens("ACGT", 6), Tokens("ACGT", 30)
STRANDED = Tokens("ACGT", 30, ("reverse_complement",))
SPACES = {"short": SHORT, "long": LONG, "stranded": STRANDED, "vector": Vectors(3), "image": Images(1, 8, 8)}
QUICK: dict[str, Any] = {"width": 16, "train_steps": 60, "batch": 64}


def model(space: Space, members: int = 2, **options: Any) -> RewardModel:
    return RewardModel(NetworkSpec(**{**QUICK, **options}), space, members, torch.device("cpu"))


def table(space: Space, n: int = 200, seed: int = 8) -> LabelledDesigns:
    """A reward that is linear in the orbit's average, so that it is the same for all forms of a design."""
    x = space.random(n, seeded(seed))
    weight = torch.randn(x[0].shape, generator=seeded(5))
    return LabelledDesigns(x, (space.orbit(x).mean(0) * weight).flatten(1).sum(1))


def learned(space: Space, **options: Any) -> RewardModel:
    found = model(space, **options)
    found.fit(table(space), seeded(), resample=True)
    return found


@pytest.mark.parametrize(("name", "convolves"), [("short", False), ("long", True), ("vector", False), ("image", True)])
def test_the_space_chooses_the_network(name: str, convolves: bool) -> None:
    assert (model(SPACES[name]).conv is not None) is convolves
    if name != "vector":
        assert model(SPACES[name], kind="conv").conv is not None
    assert model(SPACES[name], kind="mlp").conv is None


def test_convolutions_over_a_vector_are_refused() -> None:
    with pytest.raises(DataError, match="convolutions need sequences or images, not Vectors"):
        model(Vectors(3), kind="conv")


def test_channels_of_a_perceptron_are_refused() -> None:
    with pytest.raises(ValidationError, match="no meaning for kind = 'mlp'"):
        NetworkSpec(kind="mlp", channels=8)


@pytest.mark.parametrize("name", SPACES)
def test_shared_and_own_batches_agree(name: str) -> None:
    space = SPACES[name]
    net = learned(space)
    x = space.random(14, seeded(1)).reshape(2, 7, *space.event_shape)
    torch.testing.assert_close(net.predict(x), torch.stack([net.predict(x[m])[m] for m in range(2)]))
    assert net.features(x).shape == (2, 7, 16)


@pytest.mark.parametrize("name", SPACES)
def test_predictions_are_linear_in_the_features(name: str) -> None:
    space = SPACES[name]
    net, x = learned(space), space.random(9, seeded(1))
    head = torch.baddbmm(net.mlp.biases[-1], net.features(x), net.mlp.weights[-1])[..., 0]
    torch.testing.assert_close(head * net.scale + net.location, net.predict(x))


@pytest.mark.parametrize("name", ["short", "long", "vector", "image"])
def test_it_learns_a_linear_reward(name: str) -> None:
    space = SPACES[name]
    net = model(space, train_steps=400)
    net.fit(table(space, 1500), seeded())
    new = table(space, 300, seed=9)
    error = (net.predict(new.x).mean(0) - new.y).square().mean() / new.y.var()
    assert float(error) < 0.2


def test_both_strands_are_one_design() -> None:
    net = learned(STRANDED)
    own, other = STRANDED.orbit(STRANDED.random(20, seeded(2)))
    torch.testing.assert_close(net.features(own), net.features(other), rtol=0, atol=1e-6)


def test_a_copy_counts_as_often_as_it_was_measured() -> None:
    """A table of averages with the matching variances trains exactly like the table of single measurements."""
    x, y = SHORT.random(60, seeded(8)), torch.randn(60, 2, generator=seeded(3))
    singles = LabelledDesigns(torch.cat([x, x[:30]]), torch.cat([y[:, 0], y[:30, 1]]))
    means = torch.cat([y[:30].mean(1), y[30:, 0]])
    averages = LabelledDesigns(x, means, torch.tensor([0.5, 1.0]).repeat_interleave(30))
    order = singles.merged(SHORT)[0].x.flatten(1) @ x.flatten(1).T
    averages = averages.take(order.argmax(1))
    one, other = model(SHORT), model(SHORT)
    one.fit(singles, seeded())
    other.fit(averages, seeded())
    torch.testing.assert_close(one.predict(x), other.predict(x))


def test_copies_with_one_average_are_constant() -> None:
    x = SHORT.random(20, seeded())
    with pytest.raises(DataError, match="all rewards are equal"):
        model(SHORT).fit(LabelledDesigns(x.repeat(2, 1, 1), torch.tensor([1.0, -1.0]).repeat_interleave(20)), seeded())


def test_one_design_is_refused() -> None:
    with pytest.raises(DataError):
        model(SHORT).fit(table(SHORT, 1), seeded())


@pytest.mark.parametrize("name", SPACES)
def test_it_is_reopened_from_its_state(name: str) -> None:
    net, empty, x = learned(SPACES[name]), model(SPACES[name]), SPACES[name].random(5, seeded(3))
    empty.load_state(net.state())
    assert torch.equal(empty.predict(x), net.predict(x))
