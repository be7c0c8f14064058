"""The oracle behind ``knn``: Nadaraya–Watson regression on the k nearest designs, with distance as doubt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_example_knn import KnnSpec

MOST_PAIRS = 1000  # designs among which the typical distance is measured
TINY = 1e-12  # keeps the square root differentiable where there is no doubt at all


@dataclass(frozen=True)
class KnnPosterior(Posterior):
    """The weights ``(b, k)`` and rewards ``(b, k)`` of the neighbours, and the doubt ``(b)`` from their distance."""

    weights: Float[Tensor, "b k"]
    rewards: Float[Tensor, "b k"]
    doubt: Float[Tensor, " b"]
    c: float

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return (self.weights * self.rewards).sum(1)

    @property
    def std(self) -> Float[Tensor, " b"]:
        disagreement = (self.weights * (self.rewards - self.mean[:, None]).square()).sum(1)
        return (disagreement + self.doubt.square() + TINY).sqrt()

    def conservative(self) -> Float[Tensor, " b"]:
        return self.mean - self.c * self.std


class KnnOracle(Oracle):
    """Keeps the table; everything it needs to know beside it is the typical distance ``h`` between neighbours."""

    def __init__(self, spec: KnnSpec, space: Space, device: torch.device) -> None:
        self.spec, self.space, self.device = spec, space, device
        self.x = torch.empty(0, *space.event_shape, device=device)
        self.y = self.noise = torch.empty(0, device=device)
        self.h = torch.ones((), device=device)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        k = self.spec.neighbours
        if len(data) <= k:
            raise DataError(
                f"{len(data)} labelled designs are too few for {k} neighbours",
                fix="measure more designs, or lower `neighbours`",
            )
        if bool((data.y == data.y[0]).all()):
            raise DataError("all rewards are equal", why="there is nothing to learn from them", fix="check the table")
        data = data.to(self.device)
        self.x, self.y = data.x, data.y
        variance = torch.ones_like(data.y) if data.variance is None else data.variance
        self.noise = variance / variance.mean()
        some = torch.randperm(len(data), generator=generator, device=self.device)[:MOST_PAIRS]
        to_others = self._squared_distance(data.x[some]).topk(k + 1, largest=False).values[:, 1:]  # 0 is the design
        self.h = self.spec.bandwidth * to_others.mean()
        if self.h == 0:
            raise DataError(
                "the designs have no distance from each other",
                why="every one has as many copies as it has neighbours",
                fix="average the copies in the table, or raise `neighbours`",
            )

    def _squared_distance(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "b n"]:
        """Mean squared difference to each measured design, the smallest over all forms of ``x`` that are one design.

        For one-hot letters it is twice the share that differs, divided by the size of the alphabet; in between the
        corners it stays smooth, so that a designer can follow its gradient.
        """
        forms = self.space.orbit(x).flatten(2)  # (g b f)
        table = self.x.flatten(1)
        cross = forms @ table.T
        squares = forms.square().sum(-1, keepdim=True) + table.square().sum(-1) - 2 * cross
        distance: Tensor = squares.clamp(min=0).amin(0) / table.shape[1]
        return distance

    def posterior(self, x: Float[Tensor, " b *event"]) -> KnnPosterior:
        nearest = self._squared_distance(x).topk(self.spec.neighbours, largest=False)
        scaled = nearest.values / self.h
        weights = torch.softmax(-scaled - self.noise[nearest.indices].log(), dim=1)
        doubt = self.y.std() * scaled[:, 0]  # one spread of all rewards, at the distance at which neighbours lie
        return KnnPosterior(weights, self.y[nearest.indices], doubt, self.spec.scale)

    def state(self) -> State:
        return State({"x": self.x.clone(), "y": self.y.clone(), "noise": self.noise.clone(), "h": self.h.clone()})

    def load_state(self, state: State) -> None:
        self.x, self.y, self.noise, self.h = (state.tensors[name] for name in ("x", "y", "noise", "h"))
