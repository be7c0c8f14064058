"""Box plots of the rewards of each method's designs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from braid_core.report.figures.canvas import Plot, canvas, folded, unit
from braid_core.report.grouping import Entry, Group
from braid_core.report.records import Stats
from braid_core.report.theme import INK, PAPER, RC, colours

QUANTILES = {"whislo": "q10", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q90"}


def boxes(group: Group) -> Plot | None:
    """Rewards per method in the paper's order; true ones where there is a truth, else predicted ones."""
    field = "truth" if group.has_truth else "predicted"
    drawn = [(m, c, e) for m in group.methods for c in ("raw", "selected") if (e := _having(group.select(m, c), field))]
    if not drawn:
        return None
    methods = list(dict.fromkeys(method for method, _, _ in drawn))
    tints = colours(group.methods)
    with mpl.rc_context(RC):
        figure = canvas(0.8 + len(methods) * max(0.44, *(0.18 * (1 + folded(m).count("\n")) for m in methods)))
        axes = figure.subplots()
        for method, column, entries in drawn:
            twin = len([1 for other, _, _ in drawn if other == method]) > 1
            shift = 0.0 if not twin else (-0.19 if column == "raw" else 0.19)
            _box(axes, entries, field, methods.index(method) + shift, tints[method], column == "raw")
        method_axis(axes, methods)
        axes.set_xlabel(folded(f"{'true' if group.has_truth else 'predicted'} reward{unit(group)}", 48))
        if group.has_truth and group.rescaled:
            _published_axis(axes, group)
    return Plot("boxes", figure, _box_caption(group), f"Box plot of {field} rewards for {', '.join(methods)}")


def _having(entries: Sequence[Entry], field: str) -> list[Stats]:
    found: list[Stats | None] = [getattr(entry.row, field) for entry in entries]
    return [stats for stats in found if stats and all(getattr(stats, q) is not None for q in QUANTILES.values())]


def _box(axes: Axes, seeds: Sequence[Stats], field: str, at: float, colour: str, raw: bool) -> None:
    box: dict[str, object] = {
        name: float(np.mean([getattr(stats, q) for stats in seeds])) for name, q in QUANTILES.items()
    }
    line = {"color": colour, "linewidth": 1.1}
    axes.bxp(
        [box | {"fliers": []}],
        positions=[at],
        widths=0.28,
        orientation="horizontal",
        patch_artist=True,
        showcaps=False,
        showfliers=False,
        manage_ticks=False,
        boxprops={"facecolor": PAPER if raw else colour, "edgecolor": colour, "linewidth": 1.1},
        whiskerprops=line,
        medianprops={"color": colour if raw else PAPER, "linewidth": 1.8},
    )
    best = [stats.q100 for stats in seeds if stats.q100 is not None]
    if best:
        axes.plot([float(np.mean(best))], [at], marker="D", markersize=3, color=colour, linestyle="none")


def method_axis(axes: Axes, names: Sequence[str], width: int = 26) -> None:
    """A row a name, the first on top; long names are folded."""
    axes.set_yticks(range(len(names)), [folded(name, width) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _published_axis(axes: Axes, group: Group) -> None:
    """A second scale on top; drawn only if the published scale is a straight line of the task's own."""
    pairs = [
        (getattr(entry.row.truth, q), getattr(entry.row.normalised, q))
        for entry in group.entries
        if entry.row.truth and entry.row.normalised
        for q in ("q10", "q50", "q90", "q100")
    ]
    own, published = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2).T
    if len(own) < 2 or np.ptp(own) == 0 or np.ptp(published) == 0:
        return
    slope, offset = (float(value) for value in np.polyfit(own, published, 1))
    if np.abs(slope * own + offset - published).max() > 1e-3 * np.ptp(published):
        return

    def to_published(y: Any) -> Any:
        return slope * y + offset

    def from_published(y: Any) -> Any:
        return (y - offset) / slope

    top = axes.secondary_xaxis("top", functions=(to_published, from_published))
    top.set_xlabel("on the published scale")
    top.spines["top"].set_visible(False)


def _box_caption(group: Group) -> str:
    what = "True" if group.has_truth else "Predicted (not measured)"
    columns = {entry.column for entry in group.entries}
    fill = " Filled: selected designs; open: raw draws." if columns >= {"raw", "selected"} else ""
    seeds = " Quantiles are means over seeds." if len(group.seeds) > 1 else ""
    return (
        f"{what} rewards of the designs of each method. Boxes span the 25–75\u00a0% quantiles with the median as a "
        f"line, whiskers the 10–90\u00a0% quantiles; diamonds mark the best design.{fill}{seeds}"
    )
