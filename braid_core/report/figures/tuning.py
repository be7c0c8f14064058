"""What tuning did to the designs, step by step: the over-optimisation curve of each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from braid_core.report.curves import logged, milestones
from braid_core.report.figures.canvas import Plot, Style, canvas, lines, mean, unit
from braid_core.report.grouping import Group
from braid_core.report.theme import INK, MUTED, RC, colours

WIDE = 10
"""The ratio of the largest to the smallest value from which a logarithmic scale says more."""


@dataclass(frozen=True)
class Curve:
    """One quantity of every seed, by step."""

    label: str
    seeds: Sequence[pd.Series[float]]
    style: Style
    colour: str
    marker: str | None = None

    @property
    def known(self) -> bool:
        return any(len(seed) for seed in self.seeds)


@dataclass(frozen=True)
class Panel:
    """Curves on one scale, and the two edges of a band behind them; ``height`` in inches."""

    label: str
    curves: tuple[Curve, ...]
    height: float = 0.8
    scale: Literal["free", "from 0", "log"] = "free"
    band: tuple[pd.Series[float], pd.Series[float]] | None = None


def tuning(group: Group) -> list[Plot]:
    """A figure for every method that was tuned; rewards have one scale in all of them, so that methods compare."""
    tints = colours(group.methods)
    drawn = {method: _panels(group, method, tints[method]) for method in group.own}
    limits = _limits([panels[0] for panels in drawn.values() if panels])
    plots: list[Plot] = []
    for method, panels in drawn.items():
        if panels:
            figure = _figure(panels, limits)
            alt = f"{', '.join(panel.label for panel in panels)} over tuning steps for {method}"
            plots.append(Plot(f"tuning-{len(plots) + 1}", figure, _caption(group, method), alt))
    return plots


def _panels(group: Group, method: str, tint: str) -> list[Panel]:
    members = [member for member in group.members if member.method == method]
    points = [table for table in map(milestones, members) if len(table)]
    logs = [table for table in map(logged, members) if len(table)]

    def of(tables: Sequence[pd.DataFrame], name: str) -> list[pd.Series[float]]:
        return [table[name].dropna() for table in tables if name in table]

    def log(name: str, label: str, colour: str = tint) -> tuple[Curve, ...]:
        return (Curve(label, of(logs, name), "-", colour),)

    panels = [
        Panel(
            f"reward{unit(group)}",
            (
                Curve("true", of(points, "truth"), "-", INK, "o"),
                Curve("predicted", of(points, "predicted"), "-", tint),
                Curve("conservative", of(points, "conservative"), "--", tint),
            ),
            2.0,
            band=(mean(of(points, "low")), mean(of(points, "high"))),
        ),
        Panel("KL (nats)", log("kl", "path KL"), scale="from 0"),
        Panel(
            "designs",
            (
                Curve("diversity / pretrained", of(points, "diversity"), "-", tint),
                Curve("unique", of(points, "unique"), "--", tint),
                Curve("valid", of(points, "valid"), ":", MUTED),
            ),
            scale="from 0",
        ),
        Panel("alpha", log("alpha", "alpha") if _steered(of(logs, "alpha")) else (), scale="log"),
        Panel("gradient", log("grad_norm", "gradient norm", MUTED), scale="log"),
    ]
    return [panel for panel in panels if any(curve.known for curve in panel.curves)]


def _steered(alphas: Sequence[pd.Series[float]]) -> bool:
    return any(alpha.nunique() > 1 for alpha in alphas)


def _figure(panels: Sequence[Panel], limits: tuple[float, float]) -> Figure:
    heights = [panel.height + (0.25 if len(panel.curves) > 1 else 0) for panel in panels]
    with mpl.rc_context(RC):
        figure = canvas(0.5 + sum(heights))
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights).ravel()
        for axes, panel in zip(grid, panels, strict=True):
            _draw(axes, panel)
        grid[0].set_ylim(limits)
        grid[-1].set_xlabel("tuning step")
        figure.align_ylabels(grid)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    if panel.band and len(panel.band[0]):
        low, high = panel.band
        axes.fill_between(low.index, low, high, color=INK, alpha=0.1, linewidth=0)
    known = [curve for curve in panel.curves if curve.known]
    for curve in known:
        lines(axes, curve.seeds, curve.style, curve.colour, curve.marker)
    if panel.scale == "log" and _spread(known) > WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.locator_params(axis="y", nbins=5 if panel.height > 1 else 3)
    if panel.scale == "from 0":
        axes.set_ylim(0, max(1.04 * axes.get_ylim()[1], 1e-3))
    axes.grid(axis="y")
    axes.set_ylabel(panel.label)
    if len(panel.curves) > 1:
        handles = [
            Line2D([], [], color=c.colour, linestyle=c.style, marker=c.marker, ms=3, label=c.label) for c in known
        ]
        style: dict[str, Any] = {"columnspacing": 1.2, "handlelength": 1.5, "borderaxespad": 0.1}
        axes.legend(handles=handles, ncols=len(known), loc="lower left", bbox_to_anchor=(0, 1), **style)


def _spread(curves: Sequence[Curve]) -> float:
    values = pd.concat([seed for curve in curves for seed in curve.seeds])
    return float(values.max() / values.min()) if (values > 0).all() else 1.0


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """What all reward panels must show."""
    seeds = [seed for panel in panels for curve in panel.curves for seed in curve.seeds]
    edges = [edge for panel in panels for edge in panel.band or ()]
    values = pd.concat([*seeds, *edges]) if panels else pd.Series([0.0, 1.0])
    margin = 0.05 * float(values.max() - values.min()) or 0.5
    return float(values.min()) - margin, float(values.max()) + margin


def _caption(group: Group, method: str) -> str:
    members = [member for member in group.members if member.method == method]
    text = f"{method} during tuning, from the pretrained model (step 0) to the end. "
    if group.has_truth:
        text += (
            "Shaded: 10–90\u00a0% of the true rewards. Where the true reward falls while the predicted one rises, the "
        )
        text += "optimiser exploits errors of the oracle."
    else:
        text += "A rising prediction shows that the optimiser works, not that designs are good."
    return text + (" Thin lines are seeds, thick ones their mean." if len(members) > 1 else "")
