"""How far to go from the pretrained model, chosen on offline data: the whole method, rehearsed one reward level down.

The oracle is fitted to the lower-reward part of the table alone, and the model is tuned on it along rising budgets of
path KL. A judge that has seen all of the table, and learns in another way than the oracles, says what the designs
of each budget are worth. The smallest budget that is as good as the best, up to the judge's noise, is taken.
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
from braid_core.experiment.calibration import HELD_OUT, LOWER
from braid_core.experiment.designs import Drawing
from braid_core.interfaces import Backbone, LabelledDesigns, Log, Problem, Sampler, Space, State, Streams, Tokens
from braid_core.registry.spec import OracleSpec
from braid_core.tuning.spec import AUTO, FineTuningSpec

FEWEST = 50
"""Smaller lower parts are not worth a rehearsal."""
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

    ``judge``: rank correlation of the judge with rewards that it has not seen.
    """

    rungs: tuple[Rung, ...]
    judge: float
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
        x = _rows(space, data.x)
        weight = None if data.variance is None else (1 / data.variance).repeat(len(x) // len(data)).numpy()
        self.trees = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=1 / 3, random_state=seed)
        self.trees.fit(x.numpy(), data.y.repeat(len(x) // len(data)).numpy(), weight)

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
    """The budget for ``spec``, whose other options stay. ``oracle``: with its scale as a number.

    Raises :class:`DataError` where the lower part of the table is too small.
    """
    space, device = drawing.task.space, pretrained.device
    lower = data.take((data.y <= data.y.quantile(LOWER)).nonzero().flatten())
    if len(lower) < FEWEST:
        raise DataError(
            f"{len(lower)} designs are too few to choose a budget with",
            where="kl_budget",
            why=f"the lower {LOWER:.0%} of the table, which the rehearsal tunes on, should hold at least {FEWEST}",
            fix="give kl_budget, or alpha, a number",
        )
    believer = oracle.build(space, device)
    believer.fit(lower, streams.get("selection/oracle", device), log)
    known, unseen = data.split(HELD_OUT, streams.get("selection/judge"))
    quality = float(spearmanr(Judge(known, space, 0)(unseen.x), unseen.y.cpu()).statistic)

    steps = budgets(space)
    rising = spec.model_copy(update={"kl_budget": steps, "steps": len(steps) * max(1, round(SHARE * spec.steps))})
    objective = rising.build()
    sampler = objective.fit(Problem(lower, pretrained, believer, streams, log))
    judge = Judge(data, space, 0)

    def rung(budget: float, then: Sampler) -> Rung:
        raw, best = drawing.columns("", then.sample, lambda x: objective.score(believer.posterior(x)), then.designs)
        assert raw.kl is not None
        kl, n = float(raw.kl.mean()), len(best.x)
        if n < 2:
            return Rung(budget, kl, n, None, None, None, None)
        with torch.no_grad():
            posterior, value = believer.posterior(best.x), judge(best.x)
        predicted, conservative, judged = (float(y.mean()) for y in (posterior.mean, posterior.conservative(), value))
        return Rung(budget, kl, n, predicted, conservative, judged, float(value.std()) / n**0.5)

    rungs = []
    for budget, milestone in zip(steps, sampler.milestones, strict=False):
        with sampler.at(milestone) as then:
            rungs.append(rung(budget, then))
    rungs.append(rung(steps[-1], sampler))
    return Selection(tuple(rungs), quality, choose(rungs, drawing.n))


def choose(rungs: Sequence[Rung], wanted: int) -> float:
    """The smallest budget whose designs are judged as good as the best ones, less the standard error of these.

    Budgets that do not fill the column with ``wanted`` distinct designs are out: the model has collapsed. If none does,
    the one that comes closest is taken.
    """
    full = [rung for rung in rungs if rung.n >= wanted and rung.judged is not None]
    if not full:
        return max(rungs, key=lambda rung: rung.n).budget
    best = max(full, key=lambda rung: rung.judged or -math.inf)
    assert best.judged is not None
    assert best.error is not None
    bar = best.judged - best.error
    return next(rung.budget for rung in full if rung.judged is not None and rung.judged >= bar)
