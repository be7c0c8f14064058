"""Drawing designs: the first draws as they come, and the best of a pool by the method's own score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.experiment.metrics import distinct
from braid_core.interfaces import Sampler, Space, State, Streams, Trajectory

Draw = Callable[[int, torch.Generator], Trajectory]
Alone = Callable[[int, torch.Generator], Tensor]
Score = Callable[[Tensor], Tensor]
Valid = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Designs:
    """One column of the report for one method.

    ``raw``: the first draws, duplicates and invalid designs included. ``selected``: distinct valid designs of the
    pool, best score first; ``shortfall`` is how many are missing because the pool held too few. ``step``: after
    which step of tuning they were drawn, where it is not the last.
    """

    method: str
    column: Literal["raw", "selected"]
    x: Float[Tensor, " n *event"]
    shortfall: int = 0
    kl: Float[Tensor, " n"] | None = None
    step: int | None = None


@dataclass(frozen=True)
class Drawing:
    """How designs are drawn in a run: ``n`` a column, the selected ones out of ``pool`` draws, if they are ``valid``.

    It has no task, whose truth would be in reach of those who draw before everything is decided.
    """

    space: Space
    valid: Valid
    streams: Streams
    device: torch.device
    n: int
    pool: int

    @torch.no_grad()
    def columns(self, method: str, sample: Draw, score: Score, designs: Alone | None = None) -> list[Designs]:
        """Both columns of ``method``. All methods of a seed draw from the same random streams.

        ``designs`` are those of ``sample`` for less work: of the pool no KL is wanted.
        """
        source = self.streams.get("draw/pool", self.device)
        pool = sample(self.pool, source).x if designs is None else designs(self.pool, source)
        pool = pool[self.valid(pool)]
        pool = pool[distinct(pool, self.space)]
        best = best_first(score(pool))[: self.n] if len(pool) else torch.arange(0)
        return [
            self.first(method, sample),
            Designs(method, "selected", pool[best], shortfall=self.n - len(best)),
        ]

    def first(self, method: str, sample: Draw, step: int | None = None) -> Designs:
        """The raw column of ``method``, as it was after ``step``."""
        drawn = sample(self.n, self.streams.get("draw/raw", self.device))
        return Designs(method, "raw", drawn.x, kl=None if drawn.kl is None else drawn.kl.sum(1), step=step)

    @torch.no_grad()
    def history(self, method: str, sampler: Sampler) -> list[Designs]:
        """The raw column at each of the sampler's milestones."""
        columns = []
        for milestone in sampler.milestones:
            with sampler.at(milestone) as then:
                columns.append(self.first(method, then.sample, milestone))
        return columns


def best_first(score: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The rows by descending score; those without one (NaN) are last."""
    return torch.where(score.isnan(), -torch.inf, score).argsort(descending=True, stable=True)


def to_state(columns: list[Designs]) -> State:
    """All columns of a stage as one state."""
    tensors: dict[str, Tensor] = {}
    meta = []
    for i, column in enumerate(columns):
        tensors[f"{i}.x"] = column.x
        if column.kl is not None:
            tensors[f"{i}.kl"] = column.kl
        meta.append({name: getattr(column, name) for name in ("method", "column", "shortfall", "step")})
    return State(tensors, {"columns": meta})


def from_state(state: State, device: torch.device) -> list[Designs]:
    """The inverse of :func:`to_state`."""
    columns = []
    for i, meta in enumerate(state.meta["columns"]):
        kl = state.tensors.get(f"{i}.kl")
        x = state.tensors[f"{i}.x"].to(device)
        columns.append(Designs(**meta, x=x, kl=None if kl is None else kl.to(device)))
    return columns
