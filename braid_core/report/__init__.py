"""The last room of spec → run → report: tables, plots and one self-contained page from run folders or a bench.

Nothing here imports torch, so a report can be made on a laptop from folders that were computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from braid_core.report.bench_page import write_bench_page, write_bench_report
from braid_core.report.bench_reading import is_bench, read_bench
from braid_core.report.grouping import Group, group_runs
from braid_core.report.html import write_page
from braid_core.report.reading import Run, read_run, read_runs
from braid_core.report.sections import plugin_sections
from braid_core.report.tables import summary, summary_text


def write_report(runs: Sequence[Path], out: Path, sections: Sequence[str] = (), *, skip_broken: bool = False) -> Path:
    """Report the finished run folders ``runs`` in the page ``out`` and return where the page is.

    ``sections`` are HTML fragments contributed by plugins. Raises ``StoreError`` for a folder that is no run, not
    finished or damaged, unless ``skip_broken``: then the page says what was left out.
    """
    found, left_out = read_runs(runs, skip_broken)
    return write_page(group_runs(found), out, sections, left_out)


__all__ = [
    "Group",
    "Run",
    "group_runs",
    "is_bench",
    "plugin_sections",
    "read_bench",
    "read_run",
    "read_runs",
    "summary",
    "summary_text",
    "write_bench_page",
    "write_bench_report",
    "write_page",
    "write_report",
]
