"""The figures of a report, drawn without a display; one file a figure."""

from __future__ import annotations

from braid_core.report.figures.boxes import boxes
from braid_core.report.figures.canvas import Plot
from braid_core.report.figures.differences import differences
from braid_core.report.figures.frontier import frontier
from braid_core.report.figures.logo import logo
from braid_core.report.figures.promise import promise
from braid_core.report.figures.rehearsal import rehearsal
from braid_core.report.figures.scatter import scatter
from braid_core.report.figures.sheet import sheet
from braid_core.report.figures.tuning import tuning
from braid_core.report.grouping import Group


def plots(group: Group, brief: bool = False) -> list[Plot]:
    """Every figure that the group's runs allow, in reading order; ``brief``: those that compare methods."""
    if brief:
        return [plot for plot in (boxes(group), frontier(group), promise(group)) if plot]
    looks = [sheet(group), logo(group)]
    single = [boxes(group), *looks, scatter(group), frontier(group), promise(group), rehearsal(group)]
    return [*(plot for plot in single if plot), *tuning(group)]


__all__ = ["Plot", "differences", "plots"]
