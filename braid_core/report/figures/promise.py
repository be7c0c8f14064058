"""Promise kept: what was promised of delivered designs, and what they were worth."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from braid_core.report.figures.boxes import method_axis
from braid_core.report.figures.canvas import Plot, canvas, folded
from braid_core.report.grouping import Group
from braid_core.report.tables import COVERAGE, OFFSET, PINBALL, SLACK, Quantity
from braid_core.report.theme import INK, LINE, MUTED, PAPER, RC, colours

NOMINAL, WANTED = 0.9, (0.85, 0.97)
"""The coverage that is promised, and between which shares it should lie."""
PANELS = ("coverage", "slack", "pinball loss")


def promise(group: Group) -> Plot | None:
    """Coverage, slack and pinball loss of each method's designs, a dot a seed; ``None`` where no loss is known."""
    methods = [m for m in group.methods if any(PINBALL.of(entry.row) is not None for entry in group.judged(m))]
    if not methods:
        return None
    tints = colours(group.methods)
    with mpl.rc_context(RC):
        figure = canvas(1.15 + sum(0.17 * (1 + folded(method, 14).count("\n")) + 0.1 for method in methods))
        left, middle, right = figure.subplots(1, 3, sharey=True)
        left.axvspan(*WANTED, color=LINE, alpha=0.5, linewidth=0)
        left.axvline(NOMINAL, color=MUTED, linewidth=0.8)
        middle.axvline(0, color=MUTED, linewidth=0.8)
        for k, method in enumerate(methods):
            for axes, quantity in ((left, COVERAGE), (middle, SLACK), (right, PINBALL)):
                _dots(axes, group, method, quantity, k, tints[method])
            _dots(right, group, method, OFFSET, k, tints[method], open_=True)
        method_axis(left, methods, 14)
        for axes, title in zip((left, middle, right), PANELS, strict=True):
            axes.set_title(title, color=INK)
            axes.locator_params(axis="x", nbins=3)
            axes.grid(axis="x")
            axes.set_axisbelow(True)
        left.set_xlim(min(left.get_xlim()[0], 0.8), 1.02)
        right.set_xlim(left=0)
        figure.legend(handles=_handles(), loc="outside lower left", ncols=2)
    alt = f"Coverage, slack and pinball loss of what is promised, for {', '.join(methods)}"
    return Plot("promise", figure, _caption(group), alt)


def _dots(axes: Axes, group: Group, method: str, quantity: Quantity, at: int, tint: str, open_: bool = False) -> None:
    values = [value for entry in group.judged(method) if (value := quantity.of(entry.row)) is not None]
    if not values:
        return
    if len(values) > 1:
        axes.plot(values, [at] * len(values), "|", color=tint, alpha=0.5, markersize=7, markeredgewidth=0.8)
    face = PAPER if open_ else tint
    axes.plot([np.mean(values)], [at], "o", color=tint, markerfacecolor=face, markersize=5, clip_on=False)


def _handles() -> list[Line2D]:
    names = {"what is promised": MUTED, "best constant offset": PAPER}
    return [
        Line2D([], [], linestyle="none", marker="o", color=MUTED, markerfacecolor=face, label=name)
        for name, face in names.items()
    ]


def _caption(group: Group) -> str:
    unit = f" (slack and loss in {group.task.unit})" if group.task.unit else ""
    seeds = " Dots are means over seeds, strokes the seeds." if len(group.seeds) > 1 else ""
    return (
        f"Promises kept by the designs that each method is judged by{unit}. Coverage: the share of true rewards above "
        "what was promised; the line is 90\u00a0%, the band 85–97\u00a0%. Slack: true reward less what was promised, "
        "on average. Pinball loss at 10\u00a0%: the one figure that a bound can win neither by being low nor by "
        "being high; less is better. Open: the prediction less the best constant, chosen with the true rewards known."
        f"{seeds}"
    )
