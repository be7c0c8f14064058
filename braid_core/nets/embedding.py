"""What a network is told beside the state: the time, and a condition or that there is none."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.interfaces import Condition, ConditionSpec
from braid_core.nets.layers import linear

SIZE = 128
WAVES = 64
FASTEST = 1000.0
"""Radians per unit of time: differences of a thousandth are told apart."""


class Embedding(nn.Module):
    """Time and condition as one vector of ``SIZE`` numbers: two layers on the sum of what is known of both.

    Time: sines and cosines of geometrically spaced frequencies (Vaswani et al. 2017), left out if not ``timed``.
    Condition: a linear map of its values (for a class: a table), or, where it is null, a learned token, so that to
    be told nothing is not to be told zero.
    """

    frequencies: Tensor

    def __init__(self, timed: bool, condition: ConditionSpec | None, generator: torch.Generator) -> None:
        super().__init__()
        waves = torch.exp(torch.linspace(0, math.log(FASTEST), WAVES, device=generator.device))
        self.register_buffer("frequencies", waves, persistent=False)
        self.time = linear(2 * WAVES, SIZE, generator) if timed else None
        self.condition = self.null = None
        if condition is not None:
            self.condition = linear(condition.size, SIZE, generator)
            self.null = nn.Parameter(torch.randn(SIZE, generator=generator, device=generator.device))
        self.out = linear(SIZE, SIZE, generator)

    def forward(self, t: Float[Tensor, " b"], condition: Condition | None) -> Float[Tensor, "b e"]:
        known = [part for part in (self._time(t), self._condition(condition)) if part is not None]
        return F.silu(self.out(F.silu(sum(known[1:], known[0]))))

    def _time(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b e"] | None:
        if self.time is None:
            return None
        angle = t[:, None] * self.frequencies
        embedded: Tensor = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        return embedded

    def _condition(self, condition: Condition | None) -> Float[Tensor, "b e"] | None:
        if self.condition is None or self.null is None or condition is None:
            return None
        null = condition.null[:, None]
        # the value of a null condition may be anything, and NaN times a gradient of 0 would be NaN
        told = self.condition(torch.where(null, 0.0, condition.values))
        return torch.where(null, self.null, told)


def embedding(timed: bool, condition: ConditionSpec | None, generator: torch.Generator) -> Embedding | None:
    """The embedding of what there is to tell; ``None`` where that is nothing."""
    return Embedding(timed, condition, generator) if timed or condition is not None else None
