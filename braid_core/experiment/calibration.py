"""How far an oracle can be trusted, found out on offline data alone; and from that, its promise and its scale c.

Before the oracle that a run uses, others are fitted to parts of the table and asked about designs that they have not
seen: *rehearsals*. One of them sees only the lower-reward part, which is the situation of design one level down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError
from braid_core.experiment.promise import FEWEST as FEWEST_HELD_OUT
from braid_core.experiment.promise import Beliefs, Promise, beliefs, conformal_scale, judge
from braid_core.interfaces import LabelledDesigns, Log, Space, State, Streams
from braid_core.registry.spec import OracleSpec, ScaledOracleSpec

LOWER, HELD_OUT, DELIVERED = 0.8, 0.25, 0.2
"""The reward quantile up to which is fitted, the share of designs held out, and the share of those, the best by the
oracle's word, that stands for what a run would deliver."""
LOWER_EQUAL = f"the lower {LOWER:.0%} of the rewards are all equal"
"""What is said of a table that has a top and nothing below it: most designs without any activity, for example."""
FEWEST, FEWEST_DELIVERED, FEWEST_CHOSEN = 50, 50, 10
"""Smaller tables are not split a second time. At least so many held-out designs stand for what is delivered where a
promise is made of them, if there are, and so many where scales are told apart by which ones they choose."""
SCALES = tuple(2.0**k for k in range(-3, 7))
"""Among which c = "auto" chooses."""


@dataclass(frozen=True)
class Rehearsal:
    """An oracle fitted to a part of the table, and the designs kept from it; no reward above ``cap`` was fitted."""

    beliefs: Beliefs
    y: Float[Tensor, " n"]
    cap: float

    @property
    def liked(self) -> Tensor:
        """The held-out designs that the oracle predicts to be best, which stand for what a run delivers: chosen, as
        there, because their *prediction* is high."""
        n = min(len(self.y), max(FEWEST_DELIVERED, round(DELIVERED * len(self.y))))
        return self.beliefs.mean.topk(n).indices

    def chosen(self, c: float) -> Tensor:
        """Which of the held-out designs would be chosen by their conservative reward at scale ``c``, as a mask."""
        n = min(len(self.y) // 2, max(FEWEST_CHOSEN, round(DELIVERED * len(self.y))))
        score = self.beliefs.conservative(c) if c else self.beliefs.mean  # 0 times an infinite penalty is no number
        best = torch.where(score.isnan(), -torch.inf, score).topk(n).indices
        return torch.zeros_like(self.y, dtype=torch.bool).index_fill(0, best, True)

    def harmless(self) -> float:
        """How far pessimism can go before it chooses worse designs; 0 where any of it does.

        The scales are walked up while what they choose has, on average, as good a measured reward as the best choice
        so far, less one standard error of the difference between the two.
        """
        best, allowed = self.chosen(0.0), 0.0
        for c in SCALES:
            other = self.chosen(c)
            gain, error = self._difference(other, best)
            if gain < -error:
                break
            best, allowed = (other if gain > 0 else best), c
        return allowed

    def _difference(self, one: Tensor, other: Tensor) -> tuple[float, float]:
        """By how much the mean reward of one choice of designs is above another's, and its standard error. Designs that
        both have add to neither."""
        apart, n = one != other, int(one.sum())
        y = (self.y - self.y[one | other].mean())[apart]
        return float(torch.where(one[apart], y, -y).sum()) / n, float(y.square().sum().sqrt()) / n

    @property
    def floor(self) -> float:
        """A typical penalty of the liked designs; 1 for an oracle that has none, where any constant would do."""
        penalty = self.beliefs.penalty[self.liked]
        typical = float(penalty[penalty.isfinite()].mean())
        return typical if typical > 0 else 1.0

    def needs(self, floor: float) -> float:
        """The scale by which what is promised of the liked designs is kept."""
        believed, y = self.beliefs.take(self.liked), self.y[self.liked]
        return conformal_scale(believed.mean, believed.penalty + floor, y)

    def judge(self) -> dict[str, dict[str, float | int | None]]:
        """How good predictions are on the designs that are ``better`` than all that was fitted, and on the ``liked``.
        Of promises they say nothing, which are made from these very designs."""
        parts = {"better": (self.y > self.cap).nonzero().flatten(), "liked": self.liked}
        return {name: judge(self.beliefs.take(rows), self.y[rows]) for name, rows in parts.items() if len(rows)}

    def state(self) -> State:
        """For the store."""
        return State({"y": self.y, **self.beliefs.tensors()}, {"cap": self.cap})

    @classmethod
    def from_state(cls, state: State) -> Rehearsal:
        """The inverse of :meth:`state`."""
        parts = dict(state.tensors)
        return cls(y=parts.pop("y"), beliefs=Beliefs(**parts), cap=state.meta["cap"])


def rehearse(
    spec: OracleSpec,
    data: LabelledDesigns,
    quantile: float,
    space: Space,
    device: torch.device,
    streams: Streams,
    log: Log,
) -> Rehearsal:
    """Fit the oracle of ``spec`` with c = 1 to the designs of three quarters of the table up to a reward ``quantile``.

    Raises what :func:`parted` does, and whatever the oracle refuses.
    """
    fitted, held_out, cap = parted(data, quantile, streams)
    oracle = with_scale(spec, 1.0).build(space, device)
    oracle.fit(fitted.to(device), streams.get("oracle", device), log)
    held_out = held_out.to(device)
    return Rehearsal(beliefs(oracle, held_out.x), held_out.y, cap)


def parted(data: LabelledDesigns, quantile: float, streams: Streams) -> tuple[LabelledDesigns, LabelledDesigns, float]:
    """What a rehearsal fits, what it keeps, and the reward up to which it fits.

    Raises :class:`DataError` where the table is too small to be split, or what would be fitted all alike.
    """
    if len(data) < FEWEST:
        raise _too_few(f"{len(data)} designs are", FEWEST, "after those that a run holds out to judge its oracle")
    known, held_out = data.split(HELD_OUT, streams.get("rehearsal"))
    if len(held_out) < FEWEST_HELD_OUT:
        raise _too_few(f"a quarter of the families is {len(held_out)} designs, which are", FEWEST_HELD_OUT, "held out")
    cap = float(known.y.quantile(quantile))
    fitted = known.take((known.y <= cap).nonzero().flatten())
    if len(fitted) < len(known) and constant(fitted.y):  # of a whole table the oracle says so itself
        raise DataError(LOWER_EQUAL, why="there is nothing to learn from them", fix="give c, or kl_budget, a number")
    return fitted, held_out, cap


def constant(y: Float[Tensor, " n"]) -> bool:
    """Whether all rewards are the same."""
    return bool((y == y[0]).all())


def _too_few(found: str, wanted: int, which: str) -> DataError:
    return DataError(
        f"{found} too few to rehearse with a part of them",
        why=f"it takes at least {wanted}, {which}",
        fix="measure more designs",
    )


@dataclass(frozen=True)
class Calibration:
    """What the rehearsals found: ``lower`` saw the lower-reward part only, ``whole`` all rewards. ``refused`` says why
    there are none."""

    lower: Rehearsal | None = None
    whole: Rehearsal | None = None
    refused: str | None = None

    def scale(self, spec: OracleSpec) -> float:
        """c, the scale of the penalty that is tuned and selected by: the spec's, or what "auto" stands for; 1 for an
        oracle that has none.

        "auto" is as much pessimism as costs nothing that the table could tell: the largest scale that is harmless in
        both rehearsals, up to the one at which the conservative reward is a bound that nine in ten of the liked designs
        keep: the argument for pessimism asks for no more than a bound. At least the smallest of the scales. Raises
        :class:`DataError` for "auto" without rehearsals.
        """
        if not isinstance(spec, ScaledOracleSpec):
            return 1.0
        if isinstance(spec.c, float):
            return spec.c
        if self.lower is None or self.whole is None:
            raise DataError("c = 'auto' cannot be chosen", where="oracle", why=self.refused, fix="give c a number")
        parts = (self.lower, self.whole)
        most = min(min(part.harmless() for part in parts), max(part.needs(0.0) for part in parts))
        return max((c for c in SCALES if c <= most), default=SCALES[0])

    def promise(self) -> Promise | None:
        """What may be said of delivered designs; ``None`` without rehearsals, or where an oracle's beliefs are no
        numbers.

        The larger of the scales that both need to cover what they like. What has seen lower rewards only tests how far
        predictions hold above them, but a table cut at a reward is cut at its noise too: it predicts too little at the
        top, where what has seen all rewards shows by how much the best predictions are too high.
        """
        if self.lower is None or self.whole is None:
            return None
        floor = self.whole.floor
        scale = max(0.0, self.lower.needs(floor), self.whole.needs(floor))
        return Promise(scale, floor) if math.isfinite(scale) else None

    def state(self) -> State:
        """For the store."""
        parts = {name: part.state() for name, part in (("lower", self.lower), ("whole", self.whole)) if part}
        tensors = {key: tensor for name, part in parts.items() for key, tensor in part.prefixed(name).tensors.items()}
        return State(tensors, {**{name: part.meta for name, part in parts.items()}, "refused": self.refused})

    @classmethod
    def from_state(cls, state: State) -> Calibration:
        """The inverse of :meth:`state`."""
        found = {
            name: Rehearsal.from_state(State(state.under(name), state.meta[name]))
            for name in ("lower", "whole")
            if name in state.meta
        }
        return cls(**found, refused=state.meta["refused"])


def calibrate(
    spec: OracleSpec, data: LabelledDesigns, space: Space, device: torch.device, streams: Streams, log: Log
) -> Calibration:
    """Both rehearsals, or why the table, or the oracle, refuses them."""
    try:
        lower, whole = (rehearse(spec, data, share, space, device, streams, log) for share in (LOWER, 1.0))
    except DataError as error:
        return Calibration(refused=error.what)
    return Calibration(lower, whole)


def automatic(spec: OracleSpec) -> bool:
    """Whether c is to be chosen."""
    return isinstance(spec, ScaledOracleSpec) and spec.c == "auto"


def with_scale(spec: OracleSpec, c: float) -> OracleSpec:
    """The same oracle with scale ``c``; a spec without a scale stays as it is."""
    return spec.model_copy(update={"c": c}) if isinstance(spec, ScaledOracleSpec) else spec
