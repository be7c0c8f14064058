"""What a backbone is trained on, and what is refused before any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import Condition, Space, Tokens


@dataclass(frozen=True)
class Examples:
    """Designs to learn from, what is said of them, and how much each counts (1 on average)."""

    x: Float[Tensor, " n *event"]
    condition: Condition | None
    weights: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Tensor) -> Examples:
        """Some of them, by index or mask."""
        condition = None if self.condition is None else self.condition.at(rows)
        return Examples(self.x[rows], condition, self.weights[rows])


def examples(
    designs: Float[Tensor, " n *event"],
    conditions: Condition | None,
    weights: Float[Tensor, "..."] | None,
    device: torch.device,
) -> Examples:
    """The designs that count: those of weight 0 are left out.

    Raises :class:`DataError` for weights that are negative, not finite or of another number than the designs, for
    conditions that are not finite, and where fewer than two designs count.
    """
    n = len(designs)
    weights = torch.ones(n) if weights is None else weights
    _check_weights(weights, n)
    if conditions is not None:
        _check_conditions(conditions)
    told = None if conditions is None else conditions.to(device)
    data = Examples(designs.to(device), told, weights.to(device)).at((weights > 0).to(device))
    if len(data) < 2:
        raise DataError(
            f"{len(data)} design(s) are too few to pretrain on",
            why=f"{n} were given, {n - len(data)} of them with a weight of 0" if n > len(data) else None,
            fix="give at least two valid designs",
        )
    return Examples(data.x, data.condition, data.weights / data.weights.mean())


def _check_weights(weights: Float[Tensor, "..."], n: int) -> None:
    what, why = f"the weights of {n} designs cannot be used", "each design needs one weight, finite and not negative"
    if weights.shape != (n,):
        raise DataError(what, why=f"{why}; they have the shape {tuple(weights.shape)}", fix=f"give {n} numbers")
    bad = ~(weights.isfinite() & (weights >= 0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        where = f"design {row + 1}: {float(weights[row]):g}"
        raise DataError(what, where=where, why=why, fix="correct it; a weight of 0 leaves the design out")


def _check_conditions(conditions: Condition) -> None:
    bad = ~conditions.values.isfinite().all(1) & ~conditions.null
    if bool(bad.any()):
        raise DataError(
            "the conditions hold numbers that are NaN or infinite",
            where=f"design {int(bad.nonzero()[0]) + 1}",
            why=f"{int(bad.sum())} of {len(bad)} conditions are not finite",
            fix="correct them, or mark them as null",
        )


def check_designs(designs: Float[Tensor, " n *shape"], space: Space) -> None:
    """Raises :class:`DataError` for designs of another shape than the space's, and names the first one outside it."""
    if tuple(designs.shape[1:]) != space.event_shape:
        raise DataError(
            f"designs of shape {tuple(designs.shape[1:])} do not fit the backbone",
            why=f"it was built for designs of shape {space.event_shape}",
            fix="build a backbone for the space of these designs",
        )
    outside = ~space.contains(designs)
    if not bool(outside.any()):
        return
    first, count = f"design {int(outside.nonzero()[0]) + 1}", f"{int(outside.sum())} of {len(designs)} designs"
    if isinstance(space, Tokens):
        raise DataError(
            "the designs are not all letters of the alphabet",
            where=first,
            why=f"{count} are not one-hot letters of {space.alphabet!r}"
            + (f", filled with {space.pad!r} at their end only" if space.pad else ""),
            fix="take the most likely letters, space.one_hot(x.argmax(-1)), or drop these rows",
        )
    raise DataError(
        "the designs hold numbers that are NaN or infinite",
        where=first,
        why=f"{count} are not finite",
        fix="correct these rows, or drop them",
    )
