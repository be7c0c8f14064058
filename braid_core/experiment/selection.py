"""How far to go from the pretrained model, chosen on offline data: the whole method, rehearsed one reward level down.

The oracle is fitted to one half of the lower-reward part of the table, and the model is tuned on it along rising
budgets of path KL. A judge that learns in another way, from the other half and from all higher rewards, says what the
designs of each budget are worth; the two share no measurement, so that fitted noise is not taken for reward. The
smallest budget that is as good as the best, up to the judge's noise, is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from braid_core.errors import DataError
from braid_core.experiment.calibration import HELD_OUT, LOWER, LOWER_EQUAL, calibrate, constant, parted, with_scale
from braid_core.experiment.calibration import automatic as scale_is_automatic
from braid_core.experiment.designs import Drawing
from braid_core.interfaces import Backbone, LabelledDesigns, Log, Problem, Sampler, Space, State, Streams, Tokens
from braid_core.registry.spec import OracleSpec
from braid_core.tuning.spec import AUTO, FineTuningSpec

FEWEST = 50
"""Smaller halves of lower parts are not worth a rehearsal."""
LEAST, MOST = 0.5, 64.0
"""Nats: the first budget, and the largest; each is twice the one before."""
SHARE = 0.25
"""Of the tuning's steps, for each budget: it starts from the last one."""
TREES, LEAF = 200, 2


@dataclass(frozen=True)
class Rung:
    """What a budget (nats) brought: the KL really paid, how many distinct designs it filled the column with, their mean
    predicted and conservative rewards by the oracle that was tuned on, and their mean by the judge with its standard
    error, all in the task's units; None for no designs."""

    budget: float
    kl: float
    n: int
    predicted: float | None
    conservative: float | None
    judged: float | None
    error: float | None


@dataclass(frozen=True)
class Selection:
    """The frontier of reward against KL, one level down, and the budget (nats) that it speaks for.

    ``judge``: rank correlation of the judge with rewards that it has not seen; None where ranks say nothing.
    """

    rungs: tuple[Rung, ...]
    judge: float | None
    chosen: float

    def state(self) -> State:
        """For the store: all of it is JSON."""
        return State({}, asdict(self))

    @classmethod
    def from_state(cls, state: State) -> Selection:
        """The inverse of :meth:`state`."""
        meta: dict[str, Any] = dict(state.meta)
        return cls(**{**meta, "rungs": tuple(Rung(**rung) for rung in meta["rungs"])})


class Judge:
    """Extremely randomised trees (Geurts et al. 2006) on the letters, values or pixels of designs.

    Each prediction is an average of measured rewards: unlike the networks and kernels of the oracles it cannot be led
    above what was measured. Forms that the space calls the same design are learned, and judged, together.
    """

    def __init__(self, data: LabelledDesigns, space: Space, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor  # takes a second to import, and few runs need it

        self.space = space
        data = data.to(torch.device("cpu"))
        x, forms = _rows(space, data.x), len(space.orbit(data.x[:1]))
        weight = None if data.variance is None else (1 / data.variance).repeat(forms).numpy()
        self.trees = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=1 / 3, random_state=seed)
        self.trees.fit(x.numpy(), data.y.repeat(forms).numpy(), weight)

    def __call__(self, x: Float[Tensor, " n *event"]) -> Float[Tensor, " n"]:
        rows = torch.from_numpy(self.trees.predict(_rows(self.space, x).numpy()))
        return rows.reshape(-1, len(x)).mean(0)


def _rows(space: Space, x: Float[Tensor, " n *event"]) -> Float[Tensor, "gn d"]:
    """All forms of all designs, flat, on the CPU."""
    return space.orbit(x).flatten(0, 1).flatten(1).cpu()


def automatic(spec: object) -> bool:
    """Whether the budget of ``spec``, an objective's, is to be chosen."""
    return isinstance(spec, FineTuningSpec) and spec.kl_budget == AUTO


def budgets(space: Space) -> tuple[float, ...]:
    """Powers of two up to half of what it costs to know a design exactly (of letters), or a nat a dimension."""
    if isinstance(space, Tokens):
        room = space.length * math.log(len(space.alphabet)) / 2
    else:
        room = float(math.prod(space.event_shape))
    largest = max(LEAST, min(MOST, room))
    return tuple(LEAST * 2**i for i in range(1 + int(math.log2(largest / LEAST))))


def select(
    spec: FineTuningSpec,
    oracle: OracleSpec,
    data: LabelledDesigns,
    pretrained: Backbone,
    drawing: Drawing,
    streams: Streams,
    log: Log,
) -> Selection:
    """The budget for ``spec``, whose other options stay.

    Raises :class:`DataError` where the lower part of the table is too small or all alike, or nothing is above it.
    """
    space, device = drawing.space, pretrained.device
    fitted, judged = halves(data, streams)
    if scale_is_automatic(oracle):  # from what the rehearsal may know
        oracle = with_scale(oracle, calibrate(oracle, fitted, space, device, streams, log).scale(oracle))
    believer = oracle.build(space, device)
    believer.fit(fitted, streams.get("selection/oracle", device), log)

    steps = budgets(space)
    of_each = max(1, round(SHARE * spec.steps))
    rising = spec.model_copy(update={"kl_budget": steps, "steps": len(steps) * of_each, "milestones": 0})
    objective = rising.build()
    sampler = objective.fit(Problem(fitted, pretrained, believer, streams, log))
    judge = Judge(judged, space, 0)

    def rung(budget: float, then: Sampler) -> Rung:
        raw, best = drawing.columns("", then.sample, lambda x: objective.score(believer.posterior(x)), then.designs)
        assert raw.kl is not None
        kl, n = float(raw.kl.mean()), len(best.x)
        if n < 2:
            return Rung(budget, kl, n, None, None, None, None)
        with torch.no_grad():
            posterior, value = believer.posterior(best.x), judge(best.x)
        predicted, conservative, worth = (float(y.mean()) for y in (posterior.mean, posterior.conservative(), value))
        return Rung(budget, kl, n, predicted, conservative, worth, float(value.std()) / n**0.5)

    rungs = []
    for budget, milestone in zip(steps[:-1], sampler.milestones, strict=True):
        with sampler.at(milestone) as then:
            rungs.append(rung(budget, then))
    rungs.append(rung(steps[-1], sampler))
    return Selection(tuple(rungs), _quality(judged, space, streams), choose(rungs, drawing.n))


def refuse(oracle: OracleSpec, data: LabelledDesigns, streams: Streams) -> None:
    """Raises the :class:`DataError` of a table on which :func:`select` cannot rehearse, before anything is fitted."""
    fitted, _ = halves(data, streams)
    if scale_is_automatic(oracle):
        parted(fitted, LOWER, streams)


def halves(data: LabelledDesigns, streams: Streams) -> tuple[LabelledDesigns, LabelledDesigns]:
    """What the rehearsed oracle learns, half of the lower part, and all the rest, for the judge; no group in both.

    A group counts by its mean reward, or its copies would be parted by their noise.
    """
    level = data.y
    if data.group is not None:
        _, member = torch.unique(data.group, return_inverse=True)
        total = torch.zeros(int(member.max()) + 1, dtype=data.y.dtype, device=data.y.device)
        level = (total.index_add(0, member, data.y) / member.bincount())[member]
    low = level <= level.quantile(LOWER)
    if int(low.sum()) < 2 * FEWEST or bool(low.all()):
        raise DataError(
            f"{int(low.sum())} designs of lower reward and {int((~low).sum())} of higher are too few for a rehearsal",
            where="kl_budget",
            why=f"it tunes on half of the lower {LOWER:.0%}, {FEWEST} designs at least, and judges with the rest",
            fix="give kl_budget, or alpha, a number",
        )
    lower, upper = (data.take(rows.nonzero().flatten()) for rows in (low, ~low))
    fitted, other = lower.split(0.5, streams.get("selection/halves"))
    if constant(fitted.y):
        raise DataError(
            LOWER_EQUAL,
            where="kl_budget",
            why="a rehearsal tunes on half of them, and there is nothing to learn from them",
            fix="give kl_budget, or alpha, a number",
        )
    return fitted, _joined(other, upper)


def _joined(one: LabelledDesigns, other: LabelledDesigns) -> LabelledDesigns:
    """The rows of both parts of a table."""

    def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
        return None if first is None or second is None else torch.cat([first, second])

    x, y = torch.cat([one.x, other.x]), torch.cat([one.y, other.y])
    return LabelledDesigns(x, y, both(one.variance, other.variance), both(one.group, other.group))


def _quality(data: LabelledDesigns, space: Space, streams: Streams) -> float | None:
    """How well a judge that has not seen a quarter of ``data`` ranks it."""
    known, unseen = data.split(HELD_OUT, streams.get("selection/judge"))
    found = float(spearmanr(Judge(known, space, 0)(unseen.x), unseen.y.cpu()).statistic)
    return found if math.isfinite(found) else None


def choose(rungs: Sequence[Rung], wanted: int) -> float:
    """The smallest budget whose designs are judged as good as the best ones, less the standard error of these.

    Budgets that do not fill the column with ``wanted`` distinct designs are out: the model has collapsed. If none does,
    the one that comes closest is taken.
    """
    full = [
        (rung.judged, rung.error, rung.budget)
        for rung in rungs
        if rung.n >= wanted and rung.judged is not None and rung.error is not None
    ]
    if not full:
        return max(rungs, key=lambda rung: rung.n).budget
    best, error, _ = max(full)
    return next(budget for judged, _, budget in full if judged >= best - error)
