"""The backbone that objectives are tried on keeps the promises of backbones; its laws are what it says they are."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from braid_core.interfaces import Space, Tokens, Vectors
from braid_core.testing import BackboneContract
from braid_core.testing.known import KnownBackbone
from braid_core.testing.problems import DRAWS, Problems
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, seeded

CPU = torch.device("cpu")
LETTERS, VECTORS = Tokens("ACG", 3), Vectors(2)


class TestKnownLetters(BackboneContract):
    spaces: ClassVar[tuple[Space, ...]] = (LETTERS,)

    def build(self, space: Space) -> KnownBackbone:
        return KnownBackbone(space, self.device)


class TestKnownNumbers(TestKnownLetters):
    """Its designs lie between 0 and 1."""

    spaces = (VECTORS,)

    def natural(self, space: Space, n: int, role: str) -> Tensor:
        return super().natural(space, n, role).sigmoid()

    def poles(self, space: Space) -> Tensor:
        return (2 * super().poles(space)).sigmoid()


def moved(space: Space, by: float) -> tuple[KnownBackbone, KnownBackbone]:
    """A pretrained model, and one that has other opinions."""
    model = KnownBackbone.pretrained(space, CPU)
    other = model.tunable().tuned
    assert isinstance(other, KnownBackbone)
    with torch.no_grad():
        other.net["untold"].add_(by * torch.randn(space.event_shape, generator=seeded(3)))
    return model, other


@torch.no_grad()
def drawn(model: KnownBackbone, reference: KnownBackbone, n: int = DRAWS) -> tuple[Tensor, float]:
    """Designs, and their mean path KL."""
    path = rollout(model.process, model.predict, n, seeded(), reference=reference.predict)
    assert path.kl is not None
    return model.decode(path.x), float(path.kl.sum(1).mean())


def test_letters_have_the_law_that_is_told() -> None:
    model = KnownBackbone.pretrained(LETTERS, CPU)
    x, _ = drawn(model, model)
    for place, law in zip(x.unbind(1), model.letters().exp(), strict=True):
        assert agrees(place.argmax(-1), law)


def test_the_path_kl_of_letters_in_turn_is_that_of_their_law() -> None:
    model, other = moved(LETTERS, 0.7)
    p, q = other.letters(), model.letters()
    _, paid = drawn(other, model)
    assert paid == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4)


@pytest.mark.parametrize("by", [0.0, 0.3, 1.0])
def test_the_counted_kl_of_letters_is_right(by: float) -> None:
    model, other = moved(LETTERS, by)
    p, q = other.letters(), model.letters()
    found, error, exact = Problems().excess(drawn(other, model)[0], model)
    assert exact
    assert found == pytest.approx(float((p.exp() * (p - q)).sum()), abs=4 * error + 0.003)


def test_the_least_kl_of_numbers_is_that_of_normals() -> None:
    """Of two chains that end in normals, known from their draws; the path KL is no less."""
    model, other = moved(VECTORS, 1.0)
    x, paid = drawn(other, model)
    laws = [
        MultivariateNormal(z.mean(0), z.T.cov()) for z in (m.encode(drawn(m, m, 50_000)[0]) for m in (other, model))
    ]
    expected = float(kl_divergence(*laws))
    found, error, exact = Problems().excess(x, model)
    assert not exact
    assert error < 0.05 * expected
    assert found == pytest.approx(expected, abs=5 * error)
    assert paid > expected - 5 * error


def test_numbers_learn_their_mean() -> None:
    """From a table of logit-normal numbers, by the bound that it minimises."""
    latents = torch.tensor([0.8, -0.5]) + 0.7 * torch.randn(400, 2, generator=seeded(1))
    model = KnownBackbone(VECTORS, CPU)
    model.fit(latents.sigmoid(), seeded(2))
    torch.testing.assert_close(model.net["untold"].detach(), latents.mean(0), atol=0.15, rtol=0)
    assert float(model.net["log_std"].detach().exp()) == pytest.approx(
        math.sqrt(float(latents.var(0).mean())), abs=0.15
    )
