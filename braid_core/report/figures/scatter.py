"""Predicted against true reward, design by design."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from braid_core.report.figures.canvas import WIDTH, Plot, canvas, folded, unit
from braid_core.report.grouping import Group
from braid_core.report.theme import INK, LINE, MUTED, RC, colours

POINTS = 1800
"""Points of one scatter figure, over all its panels: more only makes the page heavier."""


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
        figure = canvas(0.55 + down * WIDTH / across)
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, method in zip(grid, methods, strict=False):
            axes.set_title(folded(method, 48 // across - 1), color=INK)
            _scatter_panel(axes, designs[designs["method"] == method], tints[method], POINTS // len(methods))
        for axes in grid[len(methods) :]:
            axes.set_visible(False)
        grid[0].set(xlim=limits, ylim=limits)
        figure.supxlabel(f"predicted reward{unit(group)}", fontsize=10, color=MUTED)
        figure.supylabel("true reward", fontsize=10, color=MUTED)
    caption = (
        "Each dot is a delivered design (selected ones where a method selects, at most "
        f"{POINTS // len(methods)} a method). On the line the oracle was right; below it, it predicted too much."
    )
    return Plot("predicted-vs-true", figure, caption, f"Predicted against true reward for {', '.join(methods)}")


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
