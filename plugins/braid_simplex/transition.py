"""The two kinds of reverse steps: sticks move by clamped normals; in the last step every position draws its letter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import GaussianTransition, Transition
from braid_core.interfaces.transition import categorical_kl, log_softmax, straight_through

EDGE = 1e-5
"""How near sticks come to 0 and 1 (DDSM's own value)."""


def normals(x: Float[Tensor, "b l sticks"], generator: torch.Generator) -> Float[Tensor, "b l letters"]:
    """Standard normal numbers, one for each letter: a step of sticks uses all but the last."""
    b, length, n = x.shape
    return torch.randn((b, length, n + 1), generator=generator, device=x.device, dtype=x.dtype)


@dataclass(frozen=True)
class StickTransition(GaussianTransition):
    """A normal proposal, moved to the nearest point of [1e-5, 1 − 1e-5].

    ``log_prob`` is that of the clamped state: at the two ends the log mass of the tail, between them the log density.
    ``kl`` and ``tilt`` are those of the proposal. The KL bounds that of the clamped states from above (clamping is a
    function of the proposal) and tends to it as steps get short.
    """

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        return normals(x, generator)

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        return super().rsample(noise[..., :-1]).clamp(EDGE, 1 - EDGE)

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        z = (x - self.mean) / self.std
        inside = -0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        low, high = x <= EDGE, x >= 1 - EDGE
        tail = torch.special.log_ndtr(torch.where(high, -z, z))
        return torch.where(low | high, tail, inside).flatten(1).sum(1)


@dataclass(frozen=True)
class LetterTransition(Transition):
    """A letter for every position, from normalised log probabilities.

    The next state is the sticks of the letters: 1 at the letter and 0 elsewhere; for the last letter all are 0.
    """

    logits: Float[Tensor, "b l letters"]
    temperature: float | None = None

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        return normals(x, generator)

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        gumbel = -torch.log(-torch.special.log_ndtr(noise))  # Φ(normal) is uniform
        return straight_through(self.logits, gumbel, self.temperature)[..., :-1]

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        letter = letters(x).argmax(-1, keepdim=True)
        return self.logits.gather(-1, letter).flatten(1).sum(1)

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        return categorical_kl(self.logits, reference.logits).sum(1)

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        return self.along(F.pad(direction, (0, 1)))

    def along(self, direction: Float[Tensor, "b l letters"]) -> Self:
        """Proportional to p(letters)·exp(direction·letters)."""
        return type(self)(log_softmax(self.logits + direction), self.temperature)


def letters(x: Float[Tensor, "b l sticks"]) -> Float[Tensor, "b l letters"]:
    """The one-hot letters of a last state."""
    return torch.cat([x, 1 - x.sum(-1, keepdim=True)], -1)
