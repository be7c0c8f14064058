"""What a conditional generator is told about the wanted design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class ConditionSpec:
    """The form of a condition: ``size`` numbers (scalar reward: 1), or a one-hot class of ``size`` values.

    ``dropout``: the share of the conditions hidden in training; ``None`` leaves it to the model that is told them.
    """

    kind: Literal["scalar", "class", "embedding"] = "scalar"
    size: int = 1
    dropout: float | None = None


@dataclass(frozen=True)
class Condition:
    """A batch of conditions. Where ``null`` is true the model is told nothing, which is not the same as zero."""

    values: Float[Tensor, "b c"]
    null: Bool[Tensor, " b"]

    def features(self) -> Float[Tensor, "b features"]:
        """The network input: the values (zeroed where null) and the null flag itself."""
        null = self.null[:, None]
        # selected, not multiplied: the value of a null condition may be anything, NaN too
        return torch.cat([torch.where(null, 0.0, self.values), null.to(self.values.dtype)], dim=1)

    def at(self, rows: Tensor) -> Condition:
        """The conditions of some designs, by index or mask."""
        return Condition(self.values[rows], self.null[rows])

    def to(self, device: torch.device) -> Condition:
        """The same conditions on another device."""
        return Condition(self.values.to(device), self.null.to(device))

    def dropped(self, rate: float, generator: torch.Generator) -> Condition:
        """The same conditions, each made null with probability ``rate`` (label dropout)."""
        drop = torch.rand(self.null.shape, generator=generator, device=self.null.device) < rate
        return Condition(self.values, self.null | drop)
