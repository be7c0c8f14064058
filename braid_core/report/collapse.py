"""Generators that have collapsed onto a few designs, said in words, with the remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from braid_core.report.grouping import Group
from braid_core.report.numbers import number, percent
from braid_core.report.reading import Run

DISTINCT = 0.5
"""The least share of distinct designs among raw draws, where these do not fill the column of selected ones."""
DIVERSE = 0.1
"""The least diversity of raw draws, in units of the pretrained model's."""


def collapses(group: Group) -> list[str]:
    """A sentence for every method of which some seed has collapsed; of several seeds the worst is described."""
    sentences = []
    for method in group.own:
        runs = [member.run for member in group.members if member.method == method]
        found = [(run, faults) for run in runs if (faults := _faults(run))]
        if found:
            run, faults = max(found, key=lambda pair: len(pair[1]))
            seeds = f" on {len(found)} of {len(runs)} seeds, as on seed {run.results.seed}" if len(runs) > 1 else ""
            sentences.append(
                f"{method} has collapsed, or is about to{seeds}: {'; '.join(faults)}. Remedy: {_remedy(run)}."
            )
    return sentences


def _faults(run: Run) -> list[str]:
    rows = {(row.method, row.column): row for row in run.results.rows}
    own, start, selected = (
        rows.get(key) for key in ((run.results.label, "raw"), ("Pretrained", "raw"), (run.results.label, "selected"))
    )
    faults = []
    full = selected is not None and not selected.shortfall  # in a small space even good draws repeat
    if own and own.unique is not None and own.unique < DISTINCT and not full:
        faults.append(f"only {percent(own.unique)} of its draws are distinct")
    if own and start and own.diversity is not None and own.diversity < DIVERSE * (start.diversity or 0):
        faults.append("its draws are less than a tenth as diverse as the pretrained model's")
    if selected and selected.shortfall:
        faults.append(f"only {selected.n} of {selected.n + selected.shortfall} designs could be selected")
    room = _entropy(run.manifest.space)
    if own and own.kl is not None and own.kl > room:
        faults.append(
            f"its path KL of {number(own.kl, 1)} nats is more than naming one design takes ({number(room, 1)})"
        )
    return faults


def _entropy(space: Mapping[str, Any]) -> float:
    """l·ln v nats, which tell one design of l letters from all others; infinite for spaces without letters."""
    if space.get("kind") != "Tokens":
        return math.inf
    return float(space["length"]) * math.log(len(space["alphabet"]))


def _remedy(run: Run) -> str:
    objective = run.manifest.spec.get("objective", {})
    if run.results.selection:
        return f"give kl_budget a number below {run.results.selection.chosen:g}"
    if objective.get("kl_budget") is not None:
        return f"lower kl_budget (it is {objective['kl_budget']})"
    if objective.get("alpha") is not None:
        return f"raise alpha (it is {objective['alpha']})"
    return "choose options that hold it nearer to the pretrained model"
