"""Designs that were not valid as tuning went on: the paper's invalid/total, a method a row, a checkpoint a column."""

from __future__ import annotations

from collections import defaultdict

from braid_core.report.curves import milestones
from braid_core.report.grouping import Group
from braid_core.report.numbers import UNKNOWN


def invalid(group: Group) -> tuple[list[str], list[tuple[str, ...]]]:
    """Headings and rows, of raw draws, summed over seeds; no rows where every design was valid."""
    counts: dict[str, dict[int, list[int]]] = {}
    for member in group.members:
        table = milestones(member)
        table = table.dropna(subset=["valid", "n"]) if len(table) else table
        if len(table):
            own = counts.setdefault(member.method, defaultdict(lambda: [0, 0]))
            for step, valid, n in zip(table.index, table["valid"], table["n"], strict=True):
                own[int(step)][0] += round((1 - valid) * n)
                own[int(step)][1] += int(n)
    if not any(bad for own in counts.values() for bad, _ in own.values()):
        return [], []
    steps = sorted({step for own in counts.values() for step in own})
    rows = [
        (method, *("/".join(map(str, own[step])) if step in own else UNKNOWN for step in steps))
        for method, own in ((method, counts[method]) for method in group.own if method in counts)
    ]
    return ["step", *map(str, steps)], rows
