"""Published numbers beside which a task's own results may be read, and how far the two compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from braid_core.report.grouping import Group
from braid_core.report.numbers import UNKNOWN, number
from braid_core.report.tables import MAXIMUM, MEDIAN, cells, delivered, over_seeds


@dataclass(frozen=True)
class Benchmark:
    """A published table: ``rows`` are (method, 100th percentile, 50th percentile) on the normalised scale."""

    protocol: str
    designs: int
    seeds: int
    rows: tuple[tuple[str, float, float | None], ...]
    caveat: str


TF_BIND_8 = Benchmark(
    protocol="Design-Bench protocol: offline = bottom half, 128 designs, 8 seeds, rewards normalised over the table.",
    designs=128,
    seeds=8,
    rows=(
        ("best of the offline data", 0.439, None),
        ("BO-qEI", 0.802, 0.439),
        ("CMA-ES", 0.944, 0.539),
        ("REINFORCE", 0.935, 0.466),
        ("Grad", 0.969, 0.582),
        ("COMs", 0.953, 0.513),
        ("DDOM", 0.913, 0.416),
        ("BONET", 0.798, 0.476),
        ("BDI", 0.973, 0.595),
        ("Tri-Mentoring", 0.956, 0.619),
        ("RaM-ListNet", 0.981, 0.552),
        ("RaM-RankCosine", 0.982, 0.544),
        ("Grad-Mean (ensemble)", 0.985, 0.630),
        ("Grad-Min (ensemble)", 0.979, 0.628),
        ("GTG", 0.910, 0.542),
        ("RGD (own paper)", 0.974, 0.557),
        ("BootGen (own paper)", 0.979, 0.833),
    ),
    caveat=(
        "Beware of the maximum: the best of 128 uniformly random 8-mers scores about .938±.038 on this landscape, so "
        "judge by the median. Published figures move between papers as well: the same DDOM code scores .971 (budget "
        "256), .957 and .913 in three of them. Rows of this report compare only if the offline split and the number "
        "of designs are the protocol's."
    ),
)

BENCHMARKS = {"tf-bind-8": TF_BIND_8}
"""By the task's registered name."""


def benchmark(group: Group) -> Benchmark | None:
    """The published table for the group's task, if there is one and true rewards to set beside it."""
    return BENCHMARKS.get(group.kind, BENCHMARKS.get(group.task.name)) if group.has_truth else None


def compared(group: Group, table: Benchmark) -> list[tuple[bool, Sequence[str]]]:
    """``(is ours, (method, median, max, designs, seeds))``, the highest median first; too few designs last."""
    rows: list[tuple[float, bool, Sequence[str]]] = [
        (-1.0 if median is None else median, False, _row(name, number(median), number(most), table))
        for name, most, median in table.rows
    ]
    for method, column, entries in cells(group):
        if method.startswith("Offline") or (
            column == "raw" and group.column_of(method) != column and method != "Random"
        ):
            continue  # the published "best of the offline data" says the same; raw draws only of Random
        (median, _), (most, _) = over_seeds(entries, MEDIAN), over_seeds(entries, MAXIMUM)
        row = (f"{method}, {column}", number(median), number(most), delivered(entries), str(len(entries)))
        rows.append((median if median is not None and group.complete(method) else -1.0, True, row))
    return [(ours, row) for _, ours, row in sorted(rows, key=lambda ranked: -ranked[0])]


def _row(name: str, median: str, most: str, table: Benchmark) -> Sequence[str]:
    if median == UNKNOWN:
        return (name, median, most, UNKNOWN, UNKNOWN)
    return (name, median, most, str(table.designs), str(table.seeds))
