"""Two methods on the same seeds: by how much do they differ, and what may be said of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata, wilcoxon

from braid_core.errors import DataError, nearest

MARGIN = 0.1
"""A difference of so many standard deviations of the offline rewards is none."""
ENOUGH = 0.5
"""The least share of the designs asked for that a method must deliver, each counted once, to be compared."""
FEWEST_SPREAD = 5
"""Seeds from which on there is an interval: a bootstrap of fewer covers .48 (two) to .84 of the truth, not .95."""
FEWEST = 8
"""Seeds from which on a method may be called better: with 5, the smallest two-sided p of Wilcoxon's test is .0625."""
LEVEL = 0.05
RESAMPLES = 10_000
ENUMERATED = 16
"""Up to so many differences, all signs are enumerated."""


@dataclass(frozen=True)
class Comparison:
    """Method ``a`` against ``b`` on one task and backbone; differences in standard deviations of the offline rewards.

    ``low`` and ``high``: the 95 % interval of the mean, None with fewer than five seeds. ``p``: Wilcoxon's signed-rank
    test, two-sided, exact up to 16 seeds; ``p_holm``: adjusted for all comparisons made together.
    """

    task: str
    backbone: str
    a: str
    b: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float
    p_holm: float

    @property
    def not_worse(self) -> bool | None:
        """Whether the lower end of the interval lies above minus the margin; None where there is no interval."""
        return None if self.low is None else self.low >= -MARGIN

    @property
    def verdict(self) -> Literal["better", "worse", "not worse", "undecided", "too few seeds"]:
        """What may be said. "better" and "worse" take at least eight seeds, an adjusted p below .05, and ranks that
        lean to the mean's side: one huge outlier can turn the mean, which the test does not look at."""
        if len(self.seeds) >= FEWEST and self.p_holm < LEVEL:
            if self.mean * rank_sum(np.array(self.differences)) <= 0:
                return "undecided"
            return "better" if self.mean > 0 else "worse"
        if self.not_worse is None:
            return "too few seeds"
        return "not worse" if self.not_worse else "undecided"


def compare(
    table: pd.DataFrame, a: str, b: str, *, metric: str = "truth_q50", column: str = "selected"
) -> list[Comparison]:
    """``a`` against ``b`` on every task and backbone of a bench's results, on the seeds that both have.

    ``metric``: a column of the table in the task's units. Rows with fewer than half of the designs asked for (``n`` and
    ``shortfall``), or with a truth for fewer (``missing``), do not count: the best few of a generator that has
    collapsed are no column of designs. Raises
    :class:`DataError` for a name that is not in it, and where no seed is shared.
    """
    _known("column", metric, table.columns)
    for method in (a, b):
        _known("method", method, table["method"].unique())
    full = table["n"] - table["missing"].fillna(0) >= ENOUGH * (table["n"] + table["shortfall"].fillna(0))
    rows = table[(table["column"] == column) & table[metric].notna() & full]
    found = []
    # A reference has no backbone and fits every one.
    rows = rows.assign(backbone=rows["backbone"].astype(object).where(rows["backbone"].notna(), ""))
    ours, theirs = (rows[rows["method"] == method].groupby(["task", "backbone"], sort=False) for method in (a, b))
    for ((task, own), part), ((task_b, its), other) in product(ours, theirs):
        pair = part.merge(other, on="seed", suffixes=("", "_b")).sort_values("seed")
        if len(pair) and task == task_b and (own == its or not own or not its):
            differences = (pair[metric] - pair[f"{metric}_b"]) / pair["offline_std"]
            place = str(task), str(own or its)
            found.append((place, pair["seed"].tolist(), differences.to_numpy(dtype=float)))
    if not found:
        raise DataError(
            f"{a!r} and {b!r} share no task and seed with {metric!r} in column {column!r}",
            why=f"rows with fewer than {ENOUGH:.0%} of the designs asked for do not count",
            fix="compare methods of one bench, in a column that both fill",
        )
    tests = [signed_rank(differences) for _, _, differences in found]
    comparisons = []
    for ((task, backbone), seeds, d), p, adjusted in zip(found, tests, holm(tests), strict=True):
        low, high = interval(d)
        paired = tuple(seeds), tuple(d.tolist())
        comparisons.append(Comparison(task, backbone, a, b, *paired, float(d.mean()), low, high, p, adjusted))
    return comparisons


def _known(kind: str, name: str, names: Iterable[str]) -> None:
    known = [str(one) for one in names]
    if name not in known:
        raise DataError(f"the table has no {kind} {name!r}", fix=nearest(name, known))


def interval(differences: Float[np.ndarray, " n"]) -> tuple[float, float] | tuple[None, None]:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979); always the same for the same differences.

    It is optimistic with few: of normal differences it covers .84 with five and .89 with eight.
    """
    n = len(differences)
    if n < FEWEST_SPREAD:
        return None, None
    rows = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    low, high = np.quantile(differences[rows].mean(1), (0.025, 0.975))
    return float(low), float(high)


def signed_rank(differences: Float[np.ndarray, " n"]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test; zeros are left out, ties share their mean rank.

    Exact, over all signs that the ranks can have, up to 16 differences; SciPy's choice above. 1 where all are zero.
    """
    kept = differences[differences != 0]
    if not len(kept):
        return 1.0
    if len(kept) > ENUMERATED:
        return float(wilcoxon(kept).pvalue)
    sums = np.array(list(product((-1, 1), repeat=len(kept)))) @ rankdata(np.abs(kept))
    return float((np.abs(sums) >= abs(rank_sum(kept)) - 1e-9).mean())


def rank_sum(differences: Float[np.ndarray, " n"]) -> float:
    """The sum of the signed ranks: to which side, and how far, the differences lean."""
    kept = differences[differences != 0]
    return float(np.sign(kept) @ rankdata(np.abs(kept)))


def holm(p: Sequence[float]) -> list[float]:
    """The p-values adjusted for all of them being looked at (Holm 1979), in their order."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[k]))
        adjusted[k] = largest
    return adjusted


def comparison_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row a comparison, for people and reports."""
    names = ("task", "backbone", "a", "b", "mean", "low", "high", "p", "p_holm", "verdict")
    rows = [{**{name: getattr(one, name) for name in names}, "seeds": len(one.seeds)} for one in comparisons]
    return pd.DataFrame(rows, columns=[*names[:4], "seeds", *names[4:]])
