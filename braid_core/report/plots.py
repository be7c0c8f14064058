"""The figures of a report, drawn without a display: boxes, predicted against true, tuning curves.

Each function returns a :class:`Plot`, or ``None`` where the runs hold nothing to draw.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from braid_core.report.grouping import Entry, Group
from braid_core.report.reading import Stats
from braid_core.report.theme import INK, LINE, MUTED, PAPER, RC, colours

WIDTH = 4.9
"""Inches: narrow enough to be read on a phone without shrinking the letters."""
POINTS = 1800
"""Points of one scatter figure, over all its panels: more only makes the page heavier."""
QUANTILES = {"whislo": "q10", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q90"}


Style = Literal["-", "--"]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure with its file stem, a caption of plain text, and a description for those who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str


def plots(group: Group) -> list[Plot]:
    """Every figure that the group's runs allow, in reading order."""
    return [plot for plot in (boxes(group), scatter(group), tuning(group), path_kl(group)) if plot]


def boxes(group: Group) -> Plot | None:
    """Rewards per method in the paper's order; true ones where there is a truth, else predicted ones."""
    field = "truth" if group.has_truth else "predicted"
    drawn = [(m, c, e) for m in group.methods for c in ("raw", "selected") if (e := _having(group.select(m, c), field))]
    if not drawn:
        return None
    methods = list(dict.fromkeys(method for method, _, _ in drawn))
    tints = colours(group.methods)
    with mpl.rc_context(RC):
        figure = _figure(0.8 + 0.44 * len(methods))
        axes = figure.subplots()
        for method, column, entries in drawn:
            twin = len([1 for other, _, _ in drawn if other == method]) > 1
            shift = 0.0 if not twin else (-0.19 if column == "raw" else 0.19)
            _box(axes, entries, field, methods.index(method) + shift, tints[method], column == "raw")
        _method_axis(axes, methods)
        axes.set_xlabel(f"{'true' if group.has_truth else 'predicted'} reward{_unit(group)}")
        if group.has_truth and group.rescaled:
            _published_axis(axes, group)
    return Plot("boxes", figure, _box_caption(group), f"Box plot of {field} rewards for {', '.join(methods)}")


def scatter(group: Group) -> Plot | None:
    """Predicted against true reward of the delivered designs, a panel a method; ``None`` without a truth."""
    designs = group.designs().dropna(subset=["predicted", "truth"])
    methods = [method for method in group.methods if (designs["method"] == method).any()]
    if not group.has_truth or not methods:
        return None
    tints = colours(group.methods)
    across = min(3, len(methods))
    down = -(-len(methods) // across)
    limits = _limits(designs[["predicted", "truth"]])
    with mpl.rc_context(RC):
        figure = _figure(0.55 + down * WIDTH / across)
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, method in zip(grid, methods, strict=False):
            axes.set_title(folded(method, 48 // across - 1), color=INK)
            _scatter_panel(axes, designs[designs["method"] == method], tints[method], POINTS // len(methods))
        for axes in grid[len(methods) :]:
            axes.set_visible(False)
        grid[0].set(xlim=limits, ylim=limits)
        figure.supxlabel(f"predicted reward{_unit(group)}", fontsize=10, color=MUTED)
        figure.supylabel("true reward", fontsize=10, color=MUTED)
    caption = (
        "Each dot is a delivered design (selected ones where a method selects, at most "
        f"{POINTS // len(methods)} a method). On the line the oracle was right; below it, it promised too much."
    )
    return Plot("predicted-vs-true", figure, caption, f"Predicted against true reward for {', '.join(methods)}")


def tuning(group: Group) -> Plot | None:
    """Predicted mean and conservative score over the tuning steps of every run that logged them."""
    caption = "Predictions during tuning: a rising curve shows that the optimiser works, not that designs are good."
    fields: dict[str, Style] = {"mean": "-", "conservative": "--"}
    return _over_steps(group, "tuning", fields, f"predicted reward{_unit(group)}", caption)


def path_kl(group: Group) -> Plot | None:
    """How far each run moved from the pretrained model, over its tuning steps."""
    caption = "How far tuning moved the generator from the pretrained one: the sum of the KL of every reverse step."
    return _over_steps(group, "kl", {"kl": "-"}, "path KL (nats)", caption)


def _over_steps(group: Group, name: str, fields: dict[str, Style], label: str, caption: str) -> Plot | None:
    curves = [(member.method, _curve(member.run.metrics, fields)) for member in group.members]
    curves = [(method, curve) for method, curve in curves if len(curve)]
    if not curves:
        return None
    methods = [method for method in group.methods if any(method == other for other, _ in curves)]
    tints = colours(group.methods)
    with mpl.rc_context(RC):
        lines = sum(folded(method).count("\n") + 1 for method in methods) + len(fields)
        figure = _figure(2.9 + 0.12 * lines)
        axes = figure.subplots()
        for method in methods:
            own = [curve for other, curve in curves if other == method]
            for field, style in fields.items():
                _lines(axes, [curve[field].dropna() for curve in own if field in curve], style, tints[method])
        handles = [Line2D([], [], color=tints[method], label=folded(method)) for method in methods]
        if len(fields) > 1:
            handles += [Line2D([], [], color=MUTED, linestyle=style, label=field) for field, style in fields.items()]
        axes.grid(axis="y")
        axes.set(xlabel="tuning step", ylabel=label)
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    seeds = " Thin lines are seeds, thick ones their mean." if len(curves) > len(methods) else ""
    return Plot(name, figure, caption + seeds, f"{label} over tuning steps for {', '.join(methods)}")


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


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


def _method_axis(axes: Axes, methods: Sequence[str]) -> None:
    axes.set_yticks(range(len(methods)), [folded(method) for method in methods], color=INK)
    axes.set_ylim(len(methods) - 0.4, -0.6)
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


def _scatter_panel(axes: Axes, designs: pd.DataFrame, colour: str, most: int) -> None:
    if (designs["column"] == "selected").any():
        designs = designs[designs["column"] == "selected"]
    shown = designs.iloc[np.unique(np.linspace(0, len(designs) - 1, min(most, len(designs))).astype(int))]
    axes.axline((0, 0), slope=1, color=LINE, linewidth=1, zorder=0.5)
    axes.scatter(shown["predicted"], shown["truth"], s=7, color=colour, alpha=0.55, linewidths=0)
    axes.set_aspect("equal")
    axes.locator_params(nbins=3)


def _limits(values: pd.DataFrame) -> tuple[float, float]:
    low, high = float(np.nanmin(values.to_numpy())), float(np.nanmax(values.to_numpy()))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _curve(metrics: pd.DataFrame, fields: Iterable[str]) -> pd.DataFrame:
    own = metrics[metrics["stage"] == "objective"]
    present = [field for field in fields if field in own]
    return own.set_index("step")[present].astype(float).sort_index().dropna(how="all") if present else pd.DataFrame()


def _lines(axes: Axes, curves: Sequence[pd.Series[float]], style: Style, colour: str) -> None:
    drawn = [curve for curve in curves if len(curve)]
    if len(drawn) > 1:
        for curve in drawn:
            axes.plot(curve.index, curve, style, color=colour, alpha=0.3, linewidth=0.7)
    if drawn:
        mean = pd.concat(drawn, axis=1).dropna().mean(axis=1)
        axes.plot(mean.index, mean, style, color=colour, linewidth=1.5)


def _unit(group: Group) -> str:
    return f" ({group.task.unit})" if group.task.unit else ""


def folded(text: str, width: int = 26) -> str:
    """``text`` on up to three lines of ``width`` letters, so that one long label does not squeeze a figure."""
    return textwrap.fill(text, width, max_lines=3, placeholder="…")
