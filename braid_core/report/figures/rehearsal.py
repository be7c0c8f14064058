"""How a budget of path KL was chosen on offline data."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from braid_core.report.figures.canvas import Plot, canvas, folded, unit
from braid_core.report.grouping import Group, Member
from braid_core.report.numbers import number
from braid_core.report.records import Selection
from braid_core.report.theme import INK, LINE, MUTED, PAPER, RC, colours


def rehearsal(group: Group) -> Plot | None:
    """Predicted, conservative and judged rewards of each rung against the KL that it paid; a panel a run."""
    drawn = [(member, chosen) for member in group.members if (chosen := member.run.results.selection)]
    if not drawn:
        return None
    tints = colours(group.methods)
    across = min(2, len(drawn))
    down = -(-len(drawn) // across)
    with mpl.rc_context(RC):
        figure = canvas(0.9 + 2.1 * down)
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes, (member, selection) in zip(grid, drawn, strict=False):
            _draw(axes, selection, tints[member.method], member.run.manifest.spec.get("designs", 0))
            axes.set_title(_title(group, member, 48 // across - 1), color=INK)
        for axes in grid[len(drawn) :]:
            axes.set_visible(False)
        figure.supxlabel("path KL (nats)", fontsize=10, color=MUTED)
        figure.supylabel(f"mean reward{unit(group)}", fontsize=10, color=MUTED)
        tint = tints[drawn[0][0].method] if len({member.method for member, _ in drawn}) == 1 else MUTED
        figure.legend(handles=_handles(tint), loc="outside upper left", ncols=3)
    return Plot("rehearsal", figure, _caption(drawn), "Rewards against path KL in the rehearsal that chose a budget")


def _draw(axes: Axes, selection: Selection, colour: str, wanted: int) -> None:
    fields = ["budget", "kl", "n", "predicted", "conservative", "judged", "error"]
    rungs = pd.DataFrame([rung.model_dump(include=set(fields)) for rung in selection.rungs], dtype=float)[fields]
    taken = rungs[rungs["budget"] == selection.chosen]
    for kl in taken["kl"]:
        axes.axvline(kl, color=LINE, linewidth=5, zorder=0.5)
    axes.plot(rungs["kl"], rungs["predicted"], "-", color=colour, linewidth=1.3)
    axes.plot(rungs["kl"], rungs["conservative"], "--", color=colour, linewidth=1.3)
    axes.errorbar(rungs["kl"], rungs["judged"], rungs["error"].fillna(0), fmt="o-", color=INK, markersize=4, lw=1.3)
    few = rungs[rungs["n"] < wanted]
    axes.plot(few["kl"], few["judged"], "o", color=INK, markerfacecolor=PAPER, markersize=4, zorder=3)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y")


def _handles(tint: str) -> list[Line2D]:
    return [
        Line2D([], [], color=INK, marker="o", markersize=3.5, label="judged"),
        Line2D([], [], color=tint, label="predicted"),
        Line2D([], [], color=tint, linestyle="--", label="conservative"),
    ]


def _title(group: Group, member: Member, width: int) -> str:
    seed = f"\nseed {member.seed}" if len(group.seeds) > 1 else ""
    return folded(member.method, width) + seed


def _caption(drawn: list[tuple[Member, Selection]]) -> str:
    budgets = ", ".join(f"{selection.chosen:g}" for _, selection in drawn)
    ranks = ", ".join(number(selection.judge, 2) for _, selection in drawn)
    return (
        f"The path KL to spend, chosen on offline data: {budgets} nats (grey bar; error bars are standard errors). "
        "The method was rehearsed one reward level down: tuned on half of the lower-reward part of the table, and its "
        f"designs judged by trees fitted to all the rest, whose rank correlation with rewards unseen was {ranks}. This "
        "can show where more KL stops paying among rewards that were measured; it cannot promise the same above them. "
        "Open dots: too few different designs to be taken."
    )
