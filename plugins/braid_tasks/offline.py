"""The offline side of a measured task: what lies below the cap, subsampled, with label noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import Streams
from braid_tasks import CappedSpec

FEWEST = 4
"""Two molecules with both their strands: less cannot be split, nor has it a spread."""


@dataclass(frozen=True)
class OfflineSide:
    """Which rows methods see, and with which labels.

    ``below``: the rows at or below the cap, whatever ``n`` is. ``rows``: those of them that are offline, and ``y``
    their labels. ``noise``: the standard deviation of the noise in the labels, in the task's units.
    """

    below: Int[Tensor, " m"]
    rows: Int[Tensor, " n"]
    y: Float[Tensor, " n"]
    noise: float


def offline_side(
    y: Float[Tensor, " b"],
    ceiling: Float[Tensor, ""],
    group: Int[Tensor, " b"],
    options: CappedSpec,
    seed: int,
    copies: Int[Tensor, " b"] | None = None,
) -> OfflineSide:
    """The rows with a reward of at most ``ceiling`` (NaN: none), ``n`` of them in whole groups, and noisy labels.

    Rows of one number in ``copies`` (less than ``b``) share a draw of the noise. Raises :class:`SpecError` when fewer
    rows lie below than are needed.
    """
    below = (y <= ceiling).nonzero().flatten()
    if (options.n or FEWEST) > len(below):
        raise SpecError(
            f"{options.n or FEWEST:,} offline designs cannot be drawn",
            where="task.n" if options.n else "task.cap",
            why=f"{len(below):,} designs lie at or below the reward quantile {options.cap}",
            fix="give a smaller n or a larger cap" if options.n else "give a larger cap",
        )
    noise = options.noise * float(y[below].std())
    # Drawn for all rows, so that `n` does not change a label.
    draws = torch.randn(len(y), generator=Streams(seed).get("task/noise"), dtype=torch.float64)
    rows = below
    if options.n is not None:
        rows = below[whole_groups(group[below], options.n, Streams(seed).get("task/subsample"))]
    labels = y + noise * (draws if copies is None else draws[copies])
    return OfflineSide(below, rows, labels[rows].float(), noise)


def whole_groups(group: Int[Tensor, " b"], n: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Rows of randomly chosen whole groups, as many as fit into ``n`` rows."""
    names, member, size = torch.unique(group, return_inverse=True, return_counts=True)
    order = torch.randperm(len(names), generator=generator)
    order = order[size[order] <= n]  # one that never fits must not end the count
    chosen = torch.zeros(len(names), dtype=torch.bool)
    chosen[order[size[order].cumsum(0) <= n]] = True
    return chosen[member].nonzero().flatten()


def held_out(group: Int[Tensor, " b"], share: float, seed: int) -> Bool[Tensor, " b"]:
    """D_eval: which rows, about ``share`` of them in whole groups, are set aside before anything else is chosen."""
    held = torch.zeros(len(group), dtype=torch.bool)
    held[whole_groups(group, round(share * len(group)), Streams(seed).get("task/held-out"))] = True
    return held


def offline_note(n: int, options: CappedSpec) -> str:
    """How the offline designs were chosen, for a task's notes; without a full stop."""
    note = f"Offline: {n:,} designs at or below the reward quantile {options.cap}"
    return note + (f", with label noise of {options.noise:g} offline standard deviations" if options.noise else "")
