"""How far an oracle can be trusted, judged on offline data alone, and the scale of its penalty chosen from that.

The situation of design is made one level down: an oracle is fitted to the *lower-reward part* of the table, and looked
at on designs of the whole table that it has not seen, among them better ones than it has ever seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
    """A posterior as plain numbers, of however many designs."""

    mean: Float[Tensor, " n"]
    std: Float[Tensor, " n"]
    conservative: Float[Tensor, " n"]
    noise: Float[Tensor, " n"] | None = None

    @property
    def penalty(self) -> Float[Tensor, " n"]:
        """ĝ."""
        return self.mean - self.conservative

    def take(self, index: Tensor) -> Beliefs:
        """Of the designs in ``index`` (numbers or a mask)."""
        noise = None if self.noise is None else self.noise[index]
        return Beliefs(self.mean[index], self.std[index], self.conservative[index], noise)


@torch.no_grad()
def beliefs(oracle: Oracle, x: Float[Tensor, " n *event"]) -> Beliefs:
    """What ``oracle`` believes of ``x``, computed in blocks."""
    parts = [oracle.posterior(block) for block in torch.split(x, BLOCK)]
    noises = [part.noise for part in parts if part.noise is not None]
    return Beliefs(
        torch.cat([part.mean for part in parts]),
        torch.cat([part.std for part in parts]),
        torch.cat([part.conservative() for part in parts]),
        torch.cat(noises) if noises else None,
    )


def judge(believed: Beliefs, y: Float[Tensor, " n"]) -> dict[str, float | int | None]:
    """The figures of merit of beliefs about designs whose measured rewards are ``y``.

    Of the mean: ``rmse``, and ``spearman`` (None where ranks say nothing: fewer than three designs, or all of one
    value). Of the whole: ``nll`` in nats a design, where the oracle models the noise of a measurement. Of the lower
    bound: ``coverage`` (the share of rewards above it), ``width`` (mean distance from the prediction down to it),
    ``slack`` (mean distance from the reward down to it) and ``pinball``, the loss at 10 % that is smallest, in
    expectation, for the true 10 % quantile of the reward: a bound that is too low pays as well as one that is missed.
    """
    mean, above = believed.mean, y - believed.conservative
    ranked = len(y) > 2 and all(bool((values != values[0]).any()) for values in (mean, y))
    return {
        "rmse": float((mean - y).square().mean().sqrt()),
        "spearman": float(spearmanr(mean.cpu(), y.cpu()).statistic) if ranked else None,
        "nll": None if believed.noise is None else _nll(mean, believed.std.square() + believed.noise, y),
        "coverage": float((above >= 0).double().mean()),
        "width": float(believed.penalty.mean()),
        "slack": float(above.mean()),
        "pinball": float(torch.maximum(LEVEL * above, (LEVEL - 1) * above).mean()),
        "n_held_out": len(y),
    }


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
    needed = torch.where(
        penalty > 0, short / penalty.clamp(min=torch.finfo(penalty.dtype).tiny), short.sign() * torch.inf
    )
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
class Shifted:
    """An oracle fitted, with c = 1, to the lower-reward part of a table, and the designs kept from it."""

    beliefs: Beliefs
    y: Float[Tensor, " n"]
    threshold: float

    def scale(self, coverage: float) -> float:
        """The scale by which the held-out designs that the oracle likes best are covered.

        They stand for what a run delivers: chosen, as there, because their *prediction* is high. Designs chosen by a
        high reward would need no penalty at all, since the oracle has never seen rewards like theirs.
        """
        n = min(len(self.y), max(FEWEST_DELIVERED, round(DELIVERED * len(self.y))))
        best = self.beliefs.mean.topk(n).indices
        believed = self.beliefs.take(best)
        return conformal_scale(believed.mean, believed.penalty, self.y[best], coverage)

    def judge(self, c: float) -> dict[str, float | int | None]:
        """The figures of merit, at scale ``c``, on the held-out designs better than all that was fitted."""
        top = self.y > self.threshold
        believed = self.beliefs.take(top)
        return judge(replace(believed, conservative=believed.mean - c * believed.penalty), self.y[top])

    def state(self) -> State:
        """For the store."""
        parts = {"y": self.y, **vars(self.beliefs)}
        return State({name: part for name, part in parts.items() if part is not None}, {"threshold": self.threshold})

    @classmethod
    def from_state(cls, state: State) -> Shifted:
        """The inverse of :meth:`state`."""
        parts = dict(state.tensors)
        return cls(y=parts.pop("y"), beliefs=Beliefs(**parts), threshold=state.meta["threshold"])


def shift(
    spec: OracleSpec, data: LabelledDesigns, space: Space, device: torch.device, streams: Streams, log: Log
) -> Shifted | None:
    """Fit the oracle of ``spec`` once more, to the lower-reward part; None where the table is too small for it."""
    if len(data) < FEWEST:
        return None
    known, held_out = data.split(HELD_OUT, streams.get("shift"))
    threshold = float(known.y.quantile(LOWER))
    lower = known.take((known.y <= threshold).nonzero().flatten()).to(device)
    oracle = with_scale(spec, 1.0).build(space, device)
    oracle.fit(lower, streams.get("oracle", device), log)
    held_out = held_out.to(device)
    return Shifted(beliefs(oracle, held_out.x), held_out.y, threshold)


def chosen_scale(spec: OracleSpec, shifted: Shifted | None) -> float | None:
    """The scale of the penalty: the spec's, or what ``"auto"`` stands for; None for an oracle that has none.

    Raises :class:`DataError` where ``"auto"`` cannot be answered.
    """
    if not isinstance(spec, ScaledOracleSpec):
        return None
    if isinstance(spec.c, float):
        return spec.c
    if shifted is None:
        raise DataError(
            "the table is too small to choose c",
            why=f"it takes at least {FEWEST} designs to hold some out",
            fix="give c a number",
        )
    return shifted.scale(spec.coverage or COVERAGE)


def with_scale(spec: OracleSpec, c: float | None) -> OracleSpec:
    """The same oracle with scale ``c``; a spec without a scale stays as it is."""
    return spec.model_copy(update={"c": c, "coverage": None}) if isinstance(spec, ScaledOracleSpec) else spec
