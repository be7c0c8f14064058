"""Paired differences between methods, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.lines import Line2D

from braid_core.experiment.compare import MARGIN, Comparison
from braid_core.report.figures.boxes import method_axis
from braid_core.report.figures.canvas import Plot, canvas, folded
from braid_core.report.theme import ACCENTS, LINE, MUTED, PAPER, RC

CLAIMS = ("better", "worse")
NAMES = 18
"""Letters of a line of a task's name."""


def differences(comparisons: Sequence[Comparison], titles: Mapping[tuple[str, str], str]) -> Plot | None:
    """The mean difference of every comparison with its interval; ``titles`` of tasks by task and backbone.

    ``None`` without comparisons.
    """
    if not comparisons:
        return None
    tasks = [title for key, title in titles.items() if any((c.task, c.backbone) == key for c in comparisons)]
    pairs = list(dict.fromkeys((c.a, c.b) for c in comparisons))
    tints = {pair: ACCENTS[k % len(ACCENTS)] for k, pair in enumerate(pairs)}
    step = 0.5 / len(pairs)
    with mpl.rc_context(RC):
        rows = sum(max(0.19 * len(pairs), 0.17 * (1 + folded(t, NAMES).count("\n"))) + 0.12 for t in tasks)
        figure = canvas(0.9 + rows + 0.19 * len(pairs))
        axes = figure.subplots()
        axes.axvspan(-MARGIN, MARGIN, color=LINE, alpha=0.5, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for one in comparisons:
            k = pairs.index((one.a, one.b))
            at = tasks.index(titles[one.task, one.backbone]) + (k - (len(pairs) - 1) / 2) * step
            tint = tints[one.a, one.b]
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [at, at], color=tint, linewidth=1.2)
            face = tint if one.verdict in CLAIMS else PAPER
            axes.plot([one.mean], [at], "o", color=tint, markerfacecolor=face, markersize=5)
        method_axis(axes, tasks, NAMES)
        axes.set_xlabel("difference (sd of the offline rewards)")
        handles = [
            Line2D([], [], color=tint, marker="o", markersize=5, label=folded(f"{a} − {b}", 48))
            for (a, b), tint in tints.items()
        ]
        figure.legend(handles=handles, loc="outside upper left")
    caption = (
        "Differences of the median true reward of selected designs, paired by seed, with 95\u00a0% bootstrap intervals "
        f"of their mean. Within the band (±{MARGIN} sd) a difference is none. Filled: better or worse after adjustment "
        "for all tasks; open: nothing of the kind may be said."
    )
    return Plot("differences", figure, caption, f"Differences between methods on {', '.join(tasks)}")
