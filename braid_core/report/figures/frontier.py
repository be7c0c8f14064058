"""What path KL buys: rewards against the distance from the pretrained model, all methods in one figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from braid_core.report.curves import milestones
from braid_core.report.figures.canvas import Plot, canvas, folded, unit
from braid_core.report.grouping import Group
from braid_core.report.theme import RC, colours

REWARDS = {"conservative": "conservative", "truth": "true"}
"""Fields and what they are called."""
MARKS = {True: "os^vP", False: "DXdhp"}
"""Of methods that are tuned and of others, so that colour is not all that tells them apart."""


def frontier(group: Group) -> Plot | None:
    """Conservative and, where known, true mean rewards of raw draws against their path KL (on a square-root scale).

    Tuned methods are lines through their milestones, others single points; ``None`` unless some method was tuned.
    """
    paths = {method: path for method in group.methods if (path := _paths(group, method))}
    if not any(len(table) > 1 for path in paths.values() for table in path):
        return None
    fields = [field for field in REWARDS if field != "truth" or group.has_truth]
    tints, marks = colours(group.methods), _marks(paths)
    with mpl.rc_context(RC):
        folds = [folded(method) for method in paths]
        rows = sum(1 + max(name.count("\n") for name in folds[k : k + 2]) for k in range(0, len(folds), 2))
        figure = canvas(0.5 + 1.9 * len(fields) + 0.19 * rows)
        grid = figure.subplots(len(fields), 1, squeeze=False, sharex=True).ravel()
        for axes, field in zip(grid, fields, strict=True):
            for method, path in paths.items():
                _draw(axes, path, field, tints[method], marks[method])
            axes.set_ylabel(folded(f"{REWARDS[field]}{unit(group)}", 22))
            axes.grid(axis="y")
        largest = max(float(table["kl"].max()) for path in paths.values() for table in path)
        _root_scale(grid[-1], largest)
        grid[-1].set_xlabel("path KL from the pretrained model (nats)")
        figure.align_ylabels(grid)
        handles = [_handle(folded(method), path, tints[method], marks[method]) for method, path in paths.items()]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return Plot("frontier", figure, _caption(group, paths), f"Rewards against path KL for {', '.join(paths)}")


def _paths(group: Group, method: str) -> list[pd.DataFrame]:
    """Of each seed: the milestones from the pretrained model on, or the one point that there is."""
    tables = [table for m in group.members if m.method == method and len(table := milestones(m))]
    if tables:
        return tables
    found = []
    for entry in group.select(method, "raw"):
        kl = 0.0 if method.startswith("Pretrained") else entry.row.kl
        means = {field: stats.mean if (stats := getattr(entry.row, field)) else None for field in REWARDS}
        found += [] if kl is None else [pd.DataFrame([{"kl": kl, **means}], dtype=float)]
    return found


def _draw(axes: Axes, path: Sequence[pd.DataFrame], field: str, colour: str, mark: str) -> None:
    if len(path) > 1:
        for table in path:
            axes.plot(table["kl"], table[field], ".-", color=colour, alpha=0.3, linewidth=0.7, markersize=2)
    middle = pd.concat(path).groupby(level=0)[["kl", field]].mean()
    axes.plot(middle["kl"], middle[field], ".-", color=colour, linewidth=1.3, markersize=4)
    end = middle.iloc[-1:]
    axes.plot(end["kl"], end[field], mark, color=colour, markersize=5, zorder=3, clip_on=False)


def _marks(paths: Mapping[str, Sequence[pd.DataFrame]]) -> dict[str, str]:
    shapes = {tuned: cycle(marks) for tuned, marks in MARKS.items()}
    return {method: next(shapes[_tuned(path)]) for method, path in paths.items()}


def _tuned(path: Sequence[pd.DataFrame]) -> bool:
    return len(path[0]) > 1


def _handle(name: str, path: Sequence[pd.DataFrame], colour: str, mark: str) -> Line2D:
    return Line2D(
        [], [], color=colour, linestyle="-" if _tuned(path) else "none", marker=mark, markersize=5, label=name
    )


def _root_scale(axes: Axes, largest: float) -> None:
    """Square-root scale from 0: the reward of a small tilt grows with the root of its KL."""
    axes.set_xscale("function", functions=(lambda kl: np.sqrt(np.maximum(kl, 0)), np.square))
    roots = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, max(largest, 1e-3) ** 0.5))
    axes.set_xticks(roots**2, [f"{tick:.3g}" for tick in roots**2])
    axes.set_xlim(-0.001 * largest, 1.1 * largest or 1.0)


def _caption(group: Group, paths: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    text = (
        "What moving away from the pretrained model buys: mean rewards of raw draws. Lines run through the milestones "
        "of tuning to its end (large mark); single marks are methods that do not tune."
    )
    if any(method.casefold().startswith("best-of-n") for method in paths):
        text += " The KL of Best-of-N bounds that of its designs and is no path KL: compare it with care."
    if len({json.dumps(m.run.manifest.spec.get("oracle"), sort_keys=True, default=str) for m in group.members}) > 1:
        text += " Conservative rewards of different oracles do not compare."
    seeds = any(len(path) > 1 for path in paths.values())
    return text + (" Thin lines are seeds, thick ones their mean." if seeds else "")
