"""The report of a bench: one page over all of its tasks, from whatever cells have finished."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from braid_core.experiment.compare import Comparison, comparison_table
from braid_core.report.bench_answer import answers, comparisons, medians, signed, titles
from braid_core.report.bench_reading import BenchResults, read_bench
from braid_core.report.figures import differences
from braid_core.report.grouping import Group, rank
from braid_core.report.html import PAGE, publish, slugs
from braid_core.report.numbers import UNKNOWN, duration, number
from braid_core.report.provenance import united

COMPARISONS = "comparisons.csv"
BRIEF = 12
"""With more tasks, their sections show what compares methods only: else no phone would open the page."""


def write_bench_report(folder: Path, out: Path | None = None, sections: Sequence[str] = ()) -> Path:
    """Report the bench in ``folder``, finished or not, in the page ``out`` (``report.html`` in it); returns the page.

    Raises ``StoreError`` where ``folder`` is no bench.
    """
    return write_bench_page(read_bench(folder), out, sections)


def write_bench_page(bench: BenchResults, out: Path | None = None, sections: Sequence[str] = ()) -> Path:
    """The same for a bench that has been read; ``sections`` are HTML fragments of plugins."""
    compared, groups, names = comparisons(bench), bench.groups, titles(bench)
    plot, brief = differences(compared, names), len(groups) > BRIEF
    context: dict[str, Any] = {
        "title": bench.folder.resolve().name,
        "answers": answers(bench, compared),
        "state": _state(bench),
        "failed": [(f"{c.task}, {c.backbone}, {c.method}, seed {c.seed}", error) for c, error in bench.failed],
        "missing": bench.missing,
        "medians": medians([group for group in groups if group.has_truth]),
        "comparisons": [_row(one, names[one.task, one.backbone]) for one in compared],
        "brief": brief,
        "costs": {slug: costs(group) for slug, group in zip(slugs(groups), groups, strict=True)},
        "reproduce": _reproduce(bench),
    }
    page = out or bench.folder / PAGE
    page = page / PAGE if page.is_dir() else page
    tables = {COMPARISONS: comparison_table(compared)}
    return publish(page, "bench.html.j2", groups, sections, context, tables, [plot] if plot else [], brief)


def _state(bench: BenchResults) -> str:
    """How complete the bench is, and what can therefore not be shown."""
    total, finished = len(bench.manifest.cells), len(bench.runs)
    text = f"{finished} of {total} cells are finished" + (f", {len(bench.failed)} failed." if bench.failed else ".")
    if bench.without_designs == finished > 0:
        text += " No run folder is here: figures of single designs, candidates and curves of batches are left out."
    elif bench.without_designs:
        text += f" {bench.without_designs} have no run folder here: figures of single designs show the others."
    return text


def _row(one: Comparison, title: str) -> tuple[str, ...]:
    span = UNKNOWN if one.low is None else f"{signed(one.low)} to {signed(one.high)}"
    tests = (number(one.p, 3), number(one.p_holm, 3))
    return (title, f"{one.a} − {one.b}", one.verdict, str(len(one.seeds)), signed(one.mean), span, *tests)


def costs(group: Group) -> tuple[list[str], list[tuple[str, ...]]]:
    """Headings and, for each method, the mean wall-clock time of each stage over seeds and the peak memory in MB."""
    members = sorted(group.members, key=lambda member: rank(member.method))
    stages = list(dict.fromkeys(stage for member in members for stage in member.run.manifest.seconds))
    rows = []
    for method in dict.fromkeys(member.method for member in members):
        manifests = [member.run.manifest for member in members if member.method == method]
        times = [duration(_mean(one.seconds.get(stage) for one in manifests)) for stage in stages]
        peaks = [peak for one in manifests for peak in one.memory.values() if peak is not None]
        rows.append((method, *times, f"{max(peaks):.0f}" if peaks else UNKNOWN))
    return ["method", *stages, "peak MB"], rows


def _mean(values: Iterable[float | None]) -> float | None:
    known = pd.Series(list(values), dtype=float).dropna()
    return float(known.mean()) if len(known) else None


def _reproduce(bench: BenchResults) -> Mapping[str, Any]:
    """What ``bench.json`` says, and on what machines the cells were computed, where these differ."""
    manifest = bench.manifest
    cells = [run.manifest for run in bench.runs]
    return {
        "command": manifest.command,
        "created": str(manifest.created or UNKNOWN).replace("T", " ")[:16],
        "versions": united([manifest.versions, *(cell.versions for cell in cells)]),
        "hardware": united([manifest.hardware, *(cell.hardware for cell in cells)]),
        "plugins": [
            (str(p.get("type")), str(p.get("kind")), f"{p.get('distribution')} {p.get('version')}")
            for p in manifest.plugins
        ],
        "spec": json.dumps(manifest.spec, indent=2, ensure_ascii=False),
    }
