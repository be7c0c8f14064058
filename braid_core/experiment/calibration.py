"""How far an oracle can be trusted, judged on offline data alone, and the scale of its penalty chosen from that.

Before the oracle that a run uses, others are fitted to parts of the table and asked about designs that they have not
seen: a *rehearsal*. One of them sees only the lower-reward part, which is the situation of design one level down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Space, State, Streams
from braid_core.registry.spec import OracleSpec, ScaledOracleSpec

COVERAGE = 0.9
"""What c = "auto" aims at, unless the spec says otherwise."""
LEVEL = 0.1
"""Of the pinball loss: a lower bound that 10 % of the rewards may miss."""
LOWER, HELD_OUT, DELIVERED = 0.8, 0.25, 0.2
"""The reward quantile up to which is fitted, the share of designs held out, and the share of those, the best by
prediction, that stands for what a run would deliver."""
FEWEST, FEWEST_DELIVERED = 50, 50
"""Smaller tables are not split a second time; and at least so many held-out designs decide the scale, if there are."""
SMALLEST = 0.01
"""The scale where no penalty is needed to cover: it must be positive."""
BLOCK = 1024


@dataclass(frozen=True)
class Beliefs:
    """What an oracle says of designs, as plain numbers; ``penalty`` is ĝ at c = 1, or that of an oracle without c."""

    mean: Float[Tensor, " n"]
    std: Float[Tensor, " n"]
    penalty: Float[Tensor, " n"]
    noise: Float[Tensor, " n"] | None = None

    def conservative(self, c: float) -> Float[Tensor, " n"]:
        """The lower bound at scale ``c``."""
        return self.mean - c * self.penalty

    def take(self, index: Tensor) -> Beliefs:
        """Of the designs in ``index`` (numbers or a mask)."""
        return Beliefs(**{name: part[index] for name, part in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The parts that there are, by name."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: part for name, part in parts.items() if part is not None}


@torch.no_grad()
def beliefs(oracle: Oracle, x: Float[Tensor, " n *event"]) -> Beliefs:
    """What ``oracle``, built with c = 1, believes of ``x``, computed in blocks."""
    parts = [oracle.posterior(block) for block in torch.split(x, BLOCK)]
    noises = [part.noise for part in parts if part.noise is not None]
    return Beliefs(
        torch.cat([part.mean for part in parts]),
        torch.cat([part.std for part in parts]),
        torch.cat([part.penalty() for part in parts]),
        torch.cat(noises) if noises else None,
    )


def judge(believed: Beliefs, y: Float[Tensor, " n"], c: float) -> dict[str, float | int | None]:
    """The figures of merit, at scale ``c``, of beliefs about designs whose measured rewards are ``y``.

    Of the mean: ``rmse``, and ``spearman`` (None where ranks say nothing: fewer than three designs, or all of one
    value). Of the whole: ``nll`` in nats a design, where the oracle models the noise of a measurement. Of the lower
    bound: ``coverage`` (the share of rewards above it), ``width`` (mean distance from the prediction down to it),
    ``slack`` (mean distance from the reward down to it) and ``pinball``, the loss at 10 % that is smallest, in
    expectation, for the true 10 % quantile of the reward: a bound that is too low pays as well as one that is missed.
    """
    mean, above = believed.mean, y - believed.conservative(c)
    ranked = len(y) > 2 and all(bool((values != values[0]).any()) for values in (mean, y))
    return {
        "rmse": float((mean - y).square().mean().sqrt()),
        "spearman": float(spearmanr(mean.cpu(), y.cpu()).statistic) if ranked else None,
        "nll": None if believed.noise is None else _nll(mean, believed.std.square() + believed.noise, y),
        "coverage": float((above >= 0).double().mean()),
        "width": c * float(believed.penalty.mean()),
        "slack": float(above.mean()),
        "pinball": float(pinball(above).mean()),
        "n_held_out": len(y),
    }


def pinball(above: Float[Tensor, " *n"]) -> Float[Tensor, " *n"]:
    """The loss at 10 % of lower bounds that rewards lie so far ``above`` (below: negative)."""
    return torch.maximum(LEVEL * above, (LEVEL - 1) * above)


def _nll(mean: Float[Tensor, " n"], variance: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    return float(((2 * math.pi * variance).log() + (y - mean).square() / variance).mean() / 2)


def conformal_scale(
    mean: Float[Tensor, " n"], penalty: Float[Tensor, " n"], y: Float[Tensor, " n"], coverage: float
) -> float:
    """The smallest ``c`` for which ``mean − c·penalty`` covers a further, exchangeable design with ``coverage``.

    The ⌈(n + 1)·coverage⌉-th smallest of the scales (mean − y)/penalty that the n designs need (split conformal
    prediction: Papadopoulos et al. 2002; Lei et al. 2018). Raises :class:`DataError` where no finite scale can.
    """
    short = mean - y
    # where nothing is short, no scale is needed, whatever the penalty; where there is no penalty, none is enough
    needed = torch.where(penalty > 0, short / penalty.clamp(min=torch.finfo(penalty.dtype).tiny), torch.inf)
    needed = torch.where(short <= 0, needed.clamp(max=0), needed)
    rank = _ceil((len(y) + 1) * coverage)
    if rank > len(y):
        raise DataError(
            f"c = 'auto' cannot promise {coverage:.0%} coverage from {len(y)} held-out designs",
            why=f"it takes at least {_ceil(coverage / (1 - coverage))}",
            fix="give c a number, ask for a smaller `coverage`, or measure more designs",
        )
    scale = float(needed.sort().values[rank - 1])
    if not math.isfinite(scale):
        raise DataError(
            f"no c makes the oracle cover {coverage:.0%} of the held-out rewards",
            why="its penalty is zero, or not a number, for too many designs that it over-rates",
            fix="give c a number, or use another oracle",
        )
    return max(scale, SMALLEST)


def _ceil(value: float) -> int:
    """⌈value⌉, where 9.000000000000002 is meant to be 9."""
    return math.ceil(round(value, 9))


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

    def scale(self, coverage: float) -> float:
        """The scale by which the liked designs are covered."""
        believed, y = self.beliefs.take(self.liked), self.y[self.liked]
        return conformal_scale(believed.mean, believed.penalty, y, coverage)

    def judge(self, c: float) -> dict[str, dict[str, float | int | None]]:
        """The figures of merit on the designs that are ``better`` than all that was fitted, and on the ``liked``."""
        parts = {"better": (self.y > self.cap).nonzero().flatten(), "liked": self.liked}
        return {name: judge(self.beliefs.take(rows), self.y[rows], c) for name, rows in parts.items() if len(rows)}

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

    Raises :class:`DataError` where the table is too small to be split, and whatever the oracle refuses.
    """
    if len(data) < FEWEST:
        raise DataError(
            f"{len(data)} designs are too few to rehearse with a part of them",
            why=f"it takes at least {FEWEST}, after those that a run holds out to judge its oracle",
            fix="give c a number, or measure more designs",
        )
    known, held_out = data.split(HELD_OUT, streams.get("rehearsal"))
    cap = float(known.y.quantile(quantile))
    fitted = known.take((known.y <= cap).nonzero().flatten()).to(device)
    oracle = with_scale(spec, 1.0).build(space, device)
    oracle.fit(fitted, streams.get("oracle", device), log)
    held_out = held_out.to(device)
    return Rehearsal(beliefs(oracle, held_out.x), held_out.y, cap)


@dataclass(frozen=True)
class Calibration:
    """What the rehearsals found: ``lower`` saw the lower-reward part only; ``whole``, made where c is to be chosen, saw
    all rewards. ``refused`` says why there is none."""

    lower: Rehearsal | None = None
    whole: Rehearsal | None = None
    refused: str | None = None

    def scale(self, spec: OracleSpec) -> float:
        """The scale of the oracle's penalty: the spec's, or what "auto" stands for; 1 for an oracle that has none.

        The larger of those that both rehearsals need to cover what they like. What has seen lower rewards only tests
        how far predictions hold above them, but a table cut at a reward is cut at its noise too: it predicts too little
        at the top, where what has seen all rewards shows by how much the best predictions are too high.
        """
        if not isinstance(spec, ScaledOracleSpec):
            return 1.0
        if isinstance(spec.c, float):
            return spec.c
        assert self.lower is not None
        assert self.whole is not None
        coverage = spec.coverage or COVERAGE
        return max(self.lower.scale(coverage), self.whole.scale(coverage))

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
    """One rehearsal, two where c is to be chosen.

    Raises :class:`DataError` where c cannot be chosen; what is only to be reported is left out where it cannot be had.
    """
    auto = automatic(spec)
    try:
        lower = rehearse(spec, data, LOWER, space, device, streams, log)
    except DataError as error:
        if auto:
            raise
        return Calibration(refused=error.what)
    found = Calibration(lower, rehearse(spec, data, 1.0, space, device, streams, log) if auto else None)
    found.scale(spec)  # a coverage that cannot be promised is refused here, before anything long
    return found


def automatic(spec: OracleSpec) -> bool:
    """Whether c is to be chosen."""
    return isinstance(spec, ScaledOracleSpec) and spec.c == "auto"


def with_scale(spec: OracleSpec, c: float) -> OracleSpec:
    """The same oracle with scale ``c``; a spec without a scale stays as it is."""
    return spec.model_copy(update={"c": c, "coverage": None}) if isinstance(spec, ScaledOracleSpec) else spec
