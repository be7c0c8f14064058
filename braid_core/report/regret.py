"""What can be estimated of the regret bound, in a table and in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from braid_core.report.grouping import Group
from braid_core.report.numbers import decimals, number, percent
from braid_core.report.reading import Run

BEST = "best"
"""The beginning of the name of the law that is compared with."""


@dataclass(frozen=True)
class Column:
    """A heading, what stands below it in plain words, its scale, and how a run yields it."""

    heading: str
    meaning: str
    scale: str
    of: Callable[[Run], float | None]


def _penalty(law: Callable[[Run], str], factor: float = 1.0) -> Callable[[Run], float | None]:
    def figure(run: Run) -> float | None:
        value = run.results.regret.penalty.get(law(run)) if run.results.regret else None
        return None if value is None else factor * value

    return figure


def _covered(law: Callable[[Run], str]) -> Callable[[Run], float | None]:
    return lambda run: run.results.regret.concentrability.get(law(run)) if run.results.regret else None


def _own(column: str) -> Callable[[Run], str]:
    return lambda run: f"{run.results.label}, {column}"


def _best(run: Run) -> str:
    laws = run.results.regret.penalty if run.results.regret else {}
    return next((law for law in laws if law.startswith(BEST)), "")


def holds(run: Run) -> float | None:
    """The share of the method's raw draws whose true reward is within the penalty of the prediction."""
    designs = run.designs
    own = designs[(designs["method"] == run.results.label) & (designs["column"] == "raw")].dropna(subset="truth")
    if own.empty:
        return None
    return float(((own["predicted"] - own["truth"]).abs() <= own["predicted"] - own["conservative"]).mean())


COLUMNS = (
    Column(
        "E[ĝ], raw",
        "the mean penalty of the method's draws: by so much may their rewards fall short of the predictions, on "
        "average, where the penalty covers the oracle's error",
        "unit",
        _penalty(_own("raw")),
    ),
    Column("E[ĝ], selected", "the same of the designs that it selected", "unit", _penalty(_own("selected"))),
    Column(
        "2·E[ĝ], best offline",
        "twice the mean penalty of the best tenth of the offline designs: in what is tuned for, reward less alpha "
        "times the KL, a generator of such designs can be better than one tuned on the conservative reward by no more "
        "than this (plus what tuning left undone), where every error is within its penalty",
        "unit",
        _penalty(_best, 2.0),
    ),
    Column(
        "error ≤ ĝ",
        "the share of the method's draws of which that is true: the bound is worth no more than this is near 100 %",
        "share",
        holds,
    ),
    Column(
        "√E[ĝ²], offline",
        "the penalty of the offline designs themselves: that of any others is at most this times the root of how much "
        "more often they are wanted than the table has them",
        "unit",
        lambda run: run.results.regret.offline if run.results.regret else None,
    ),
    Column(
        "C̄, raw",
        "that factor, in the features of oracles that have some: 1 if the draws lie as the table does; 20 if some "
        "direction of the features is 20 times as strong in them",
        "factor",
        _covered(_own("raw")),
    ),
    Column("C̄, best offline", "the same of the best tenth of the offline designs", "factor", _covered(_best)),
)


def regret(group: Group) -> tuple[list[Column], list[tuple[str, ...]]]:
    """The columns that some method fills, and a row for each method: means over seeds, as text."""
    runs = {
        method: [m.run for m in group.members if m.method == method and m.run.results.regret] for method in group.own
    }
    runs = {method: own for method, own in runs.items() if own}
    figures = {c.heading: {method: _mean(c, own) for method, own in runs.items()} for c in COLUMNS}
    columns = [c for c in COLUMNS if any(value is not None for value in figures[c.heading].values())]
    unit = decimals(value for c in columns if c.scale == "unit" for value in figures[c.heading].values())
    places = {"unit": unit, "factor": 1}
    rows = []
    for method in runs:
        cells = [(c.scale, figures[c.heading][method]) for c in columns]
        rows.append((method, *(percent(v) if scale == "share" else number(v, places[scale]) for scale, v in cells)))
    return columns, rows


def _mean(column: Column, runs: Sequence[Run]) -> float | None:
    values = pd.Series([column.of(run) for run in runs], dtype=float).dropna()
    return float(values.mean()) if len(values) else None
