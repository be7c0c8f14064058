"""The tables of docs/benchmarks/full.md, from the small files of a bench: prints Markdown.

python benchmarks/full.py docs/benchmarks/full
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from braid_core.experiment.compare import Comparison
from braid_core.report.bench_answer import comparisons, medians, signed
from braid_core.report.bench_reading import BenchResults, read_bench
from braid_core.report.grouping import Group
from braid_core.report.numbers import UNKNOWN, decimals, number, percent
from braid_core.report.tables import COVERAGE, EVALUATOR, GAP, MAXIMUM, NATURALNESS, TRUTH_STD, Quantity, over_seeds


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def mean(group: Group, method: str, quantity: Quantity) -> float | None:
    return over_seeds(group.judged(method), quantity)[0]


def gaps(groups: Sequence[Group], methods: Sequence[str]) -> None:
    """Predicted − true in offline standard deviations, and the share that reach what is promised."""
    rows = []
    for group in groups:
        sd = group.task.offline.std
        cells = []
        for method in methods:
            gap, coverage = mean(group, method, GAP), mean(group, method, COVERAGE)
            cells.append(f"{signed(gap / sd)}, {percent(coverage)}" if gap is not None and sd else UNKNOWN)
        rows.append([f"`{group.title}`", *cells])
    table(["task", *methods], rows)


def figures(groups: Sequence[Group], methods: Sequence[str], quantity: Quantity) -> None:
    """One quantity, where a task has it."""
    rows = []
    for group in groups:
        values = [mean(group, method, quantity) for method in methods]
        if any(value is not None for value in values):
            places = 3 if quantity.scale == "share" else decimals(values)
            rows.append([f"`{group.title}`", *(number(value, places) for value in values)])
    table(["task", *methods], rows)


def differences(found: Sequence[Comparison]) -> None:
    """Pessimism against none, paired by seed."""
    rows = []
    for one in found:
        span = UNKNOWN if one.low is None else f"{signed(one.low)} to {signed(one.high)}"
        seeds, p = str(len(one.seeds)), (number(one.p, 3), number(one.p_holm, 3))
        rows.append([f"`{one.task}`", f"{one.a} − {one.b}", seeds, signed(one.mean), span, *p, one.verdict])
    table(["task", "difference", "seeds", "mean", "95 % interval", "p", "p (Holm)", "verdict"], rows)


def main(bench: BenchResults) -> None:
    """All tables, of the seeds that all methods of a task have finished."""
    groups = [group.paired() for group in bench.groups]
    methods = list(dict.fromkeys(method for group in groups for method in group.methods))
    own = [method for method in methods if any(method in group.own for group in groups)]
    print(f"{len(bench.runs)} of {len(bench.manifest.cells)} cells.\n\n## Median true reward, selected designs\n")
    found = medians(groups)
    table(list(found.columns), found.to_numpy().tolist())
    print("## Maximum\n")
    figures(groups, methods, MAXIMUM)
    print("## Predicted − true (offline standard deviations), and the share that reach what is promised\n")
    gaps(groups, own)
    print("## Pessimism against none (offline standard deviations, paired by seed)\n")
    differences(comparisons(bench))
    print("## The same, raw draws that have a truth: nothing chosen by score\n")
    differences(comparisons(bench, "raw"))
    print("## Naturalness of the selected designs\n")
    figures(groups, methods, NATURALNESS)
    print("## Where the truth is learned: mean distance to the nearest design of the evaluator, its standard error\n")
    for quantity in (EVALUATOR, TRUTH_STD):
        figures([group for group in groups if group.task.truth_kind == "learned"], methods, quantity)


if __name__ == "__main__":
    main(read_bench(Path((sys.argv[1:] or ["docs/benchmarks/full"])[0])))
