"""What an oracle believes of designs, what it promises of them, and how good beliefs and promises are.

The promise is apart from the conservative reward: one scale of the penalty keeps promises, another one finds designs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from braid_core.interfaces import Oracle, Posterior

COVERAGE = 0.9
"""The share of designs that should be at least as good as promised."""
LEVEL = 0.1
"""Of the pinball loss, by which such a bound is judged: 10 % of the rewards may miss it."""
FEWEST = 9
"""Designs from which that much can be promised: ⌈(n + 1)·.9⌉ is at most n."""
BLOCK = 1024


@dataclass(frozen=True)
class Beliefs:
    """What an oracle says of designs, as plain numbers; ``penalty`` is ĝ at c = 1, or that of an oracle without c."""

    mean: Float[Tensor, " n"]
    std: Float[Tensor, " n"]
    penalty: Float[Tensor, " n"]
    noise: Float[Tensor, " n"] | None = None

    def conservative(self, c: float) -> Float[Tensor, " n"]:
        """The conservative reward at scale ``c``."""
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


@dataclass(frozen=True)
class Promise:
    """The reward that a design should reach: r̂ − ``scale``·(ĝ + ``floor``), with ĝ at c = 1.

    ``floor`` is a typical ĝ, in the rewards' unit: without it, a few designs that the oracle is wrongly sure of would
    set the scale of all (Papadopoulos et al. 2011 normalise scores of regression in this way). ``scale`` is not
    negative: no more is promised than is expected.
    """

    scale: float
    floor: float = 0.0

    def width(self, penalty: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """How far the promise is below the prediction, for penalties at c = 1."""
        return self.scale * (penalty + self.floor)


def promised(promise: Promise | None, posterior: Posterior, c: float) -> Float[Tensor, " n"]:
    """What is promised of the designs that an oracle with scale ``c`` was asked about; NaN where nothing can be."""
    if promise is None:
        return torch.full_like(posterior.mean, torch.nan)
    return posterior.mean - promise.width(posterior.penalty() / c)


def judge(believed: Beliefs, y: Float[Tensor, " n"], promise: Promise | None = None) -> dict[str, float | int | None]:
    """The figures of merit of beliefs about designs whose measured rewards are ``y``.

    Of the mean: ``rmse``, and ``spearman`` (None where ranks say nothing: fewer than three designs, or all of one
    value). Of the whole: ``nll`` in nats a design, where the oracle models the noise of a measurement. Of what is
    promised, if anything is, those of :func:`kept`.
    """
    mean = believed.mean
    ranked = len(y) > 2 and all(bool((values != values[0]).any()) for values in (mean, y))
    return {
        "rmse": float((mean - y).square().mean().sqrt()),
        "spearman": float(spearmanr(mean.cpu(), y.cpu()).statistic) if ranked else None,
        "nll": None if believed.noise is None else _nll(mean, believed.std.square() + believed.noise, y),
        **(kept(mean, promise.width(believed.penalty), y) if promise else dict.fromkeys(KEPT)),
        "n_held_out": len(y),
    }


KEPT = ("coverage", "width", "slack", "pinball")


def kept(mean: Float[Tensor, " n"], width: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> dict[str, float]:
    """Of promises ``width`` below the predictions ``mean``, and the rewards ``y``.

    ``coverage``: the share of rewards above the promise; ``width``, mean; ``slack``: mean distance from the reward down
    to the promise; ``pinball``: the loss at 10 %, which is smallest, in expectation, for the true 10 % quantile of the
    reward: a bound that is too low pays as well as one that is missed.
    """
    above = y.double() - (mean.double() - width.double())
    figures = ((above >= 0).double(), width.double(), above, pinball(above))
    return {name: float(figure.mean()) for name, figure in zip(KEPT, figures, strict=True)}


def pinball(above: Float[Tensor, " *n"]) -> Float[Tensor, " *n"]:
    """The loss at 10 % of lower bounds that rewards lie so far ``above`` (below: negative)."""
    return torch.maximum(LEVEL * above, (LEVEL - 1) * above)


def _nll(mean: Float[Tensor, " n"], variance: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    return float(((2 * math.pi * variance).log() + (y - mean).square() / variance).mean() / 2)


def conformal_scale(mean: Float[Tensor, " n"], width: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """The smallest scale for which ``mean − scale·width`` covers a further, exchangeable design with :data:`COVERAGE`.

    The ⌈(n + 1)·.9⌉-th smallest of the scales (mean − y)/width that the n designs need (split conformal prediction:
    Papadopoulos et al. 2002; Lei et al. 2018): negative where even the prediction is too low, infinite where no scale
    is enough. ``n`` must be at least :data:`FEWEST`.
    """
    short, width = mean.double() - y.double(), width.double()
    # where there is no width, or no number, no scale is enough
    useful = width.isfinite() & (width > 0)
    needed = torch.where(useful, short / width, torch.where(short <= 0, -torch.inf, torch.inf))
    needed = torch.where(needed.isnan(), torch.inf, needed)
    return float(needed.sort().values[math.ceil(round((len(y) + 1) * COVERAGE, 9)) - 1])  # 9.000000000000002 is 9
