"""What all figures share: their size, how curves of several seeds are drawn, how names and units are written."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from braid_core.report.grouping import Group

WIDTH = 4.9
"""Inches: narrow enough to be read on a phone without shrinking the letters."""

Style = Literal["-", "--", ":"]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure with its file stem, a caption of plain text, and a description for those who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str


def canvas(height: float) -> Figure:
    """An empty figure of ``height`` inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def mean(seeds: Sequence[pd.Series[float]]) -> pd.Series[float]:
    """The mean over seeds wherever all of them that have any values have one."""
    known = [seed for seed in seeds if len(seed)]
    return pd.concat(known, axis=1).dropna().mean(axis=1) if known else pd.Series(dtype=float)


def lines(axes: Axes, seeds: Sequence[pd.Series[float]], style: Style, colour: str, marker: str | None = None) -> None:
    """A thick line for the mean over seeds, over thin ones for each."""
    known = [seed for seed in seeds if len(seed)]
    if len(known) > 1:
        for seed in known:
            axes.plot(seed.index, seed, style, color=colour, alpha=0.3, linewidth=0.7)
    middle = mean(known)
    axes.plot(middle.index, middle, style, color=colour, linewidth=1.5, marker=marker, markersize=3)


def unit(group: Group) -> str:
    """The task's unit in brackets, to follow the name of a quantity."""
    return f" ({group.task.unit})" if group.task.unit else ""


def folded(text: str, width: int = 26) -> str:
    """``text`` on up to three lines of ``width`` letters, so that one long label does not squeeze a figure."""
    return textwrap.fill(text, width, max_lines=3, placeholder="…")
