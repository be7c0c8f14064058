"""The page: one HTML file that needs no network, with its plots and its table as files beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from braid_core.files import make_folder, write_atomic
from braid_core.report import figures as drawing
from braid_core.report.answer import answer
from braid_core.report.candidates import Candidates, candidates
from braid_core.report.collapse import collapses
from braid_core.report.figures import Plot
from braid_core.report.grouping import Group
from braid_core.report.provenance import Provenance, provenance
from braid_core.report.published import Benchmark, benchmark, compared
from braid_core.report.reading import BESIDE, SUMMARY
from braid_core.report.regret import Column, regret
from braid_core.report.svg import inline, png, svg
from braid_core.report.tables import cells, delivered, designs, grid, quality, ranges, summary
from braid_core.report.theme import DARK, css_name
from braid_core.report.truth import truth
from braid_core.report.validity import invalid

PAGE = "report.html"
GLOSSARY = (
    ("raw, selected", "the first draws of a method; the best of many draws by the method's own score, each once"),
    ("n", "designs delivered, and how many were asked for if some are missing"),
    ("median, max, mean", "true reward of the delivered designs; the maximum is mostly luck, so judge by the median"),
    ("predicted", "what the oracle expects"),
    ("conservative", "predicted minus the penalty for what the oracle does not know"),
    ("gap", "predicted minus true: positive means that the oracle predicted too much"),
    ("promised", "what 90\u00a0% of the designs should reach, by rehearsals on the offline data"),
    ("coverage", "share of designs that are at least as good as promised"),
    ("naturalness", "correlation of 3-letter frequencies with those of natural designs that were held out"),
    (
        "s.e. of truth",
        "standard error of the evaluator at the designs, as far as it can tell, where the truth is learned",
    ),
    ("missing", "designs whose true reward nobody knows; true figures are those of the others"),
    ("valid, unique", "share of designs that could be made and measured; share of different ones"),
    ("novelty", "mean distance to the nearest offline design"),
    ("diversity", "mean distance between two delivered designs"),
    ("KL", "how far tuning moved the generator from the pretrained one, in nats along the path"),
)


@dataclass(frozen=True)
class Figure:
    """A plot on the page."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """Everything that the template shows about one task."""

    slug: str
    group: Group
    answer: str
    collapses: list[str]
    headings: tuple[str, ...]
    ranges: list[tuple[str, ...]]
    table: list[tuple[str, str, str, list[tuple[str, str]]]]
    figures: list[Figure]
    invalid: tuple[list[str], list[tuple[str, ...]]]
    regret: tuple[list[Column], list[tuple[str, ...]]]
    candidates: list[Candidates]
    benchmark: Benchmark | None
    compared: list[tuple[bool, Sequence[str]]]
    provenance: Provenance
    truth: list[str]


def write_page(groups: Sequence[Group], out: Path, sections: Sequence[str] = (), left_out: Sequence[str] = ()) -> Path:
    """Write the page to ``out`` (``report.html`` inside it, if it is a folder) and return where it is.

    ``sections`` are HTML fragments of plugins, shown as they are; scripts in them do not run. ``left_out`` says which
    runs could not be read. Plots (PNG, SVG) and ``summary.csv`` go to ``<stem>_files/``. Raises ``StoreError`` when
    something cannot be written; the page itself appears whole or not at all.
    """
    out = Path(out)
    page = out / PAGE if out.is_dir() else out
    return publish(page, "page.html.j2", groups, sections, {"left_out": left_out})


def publish(
    page: Path,
    template: str,
    groups: Sequence[Group],
    extra: Sequence[str],
    context: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
    overview: Sequence[Plot] = (),
    brief: bool = False,
) -> Path:
    """Write ``page`` from ``template``, which sees ``context``, a section for each group, and the ``overview`` plots.

    ``tables`` lie beside it as CSV, by name. ``brief``: sections without single designs and curves of tuning.
    """
    beside = page.with_name(f"{page.stem}{BESIDE}")
    make_folder(beside)
    tops = [_figure(plot, plot.name, beside) for plot in overview]
    shown = [_section(group, slug, beside, brief) for group, slug in zip(groups, slugs(groups), strict=True)]
    for name, table in {SUMMARY: summary(groups), **(tables or {})}.items():
        write_atomic(beside / name, table.to_csv(index=False))
    fragments = [Markup(text) for text in extra]
    common = {"sections": shown, "overview": tops, "extra": fragments, "beside": beside.name}
    write_atomic(page, _render(template, {**context, **common}))
    return page


def _figure(plot: Plot, name: str, beside: Path) -> Figure:
    text = svg(plot.figure)
    write_atomic(beside / f"{name}.svg", text)
    write_atomic(beside / f"{name}.png", png(plot.figure))
    return Figure(inline(text, name, plot.alt), plot.caption)


def _section(group: Group, slug: str, beside: Path, brief: bool) -> Section:
    quantities = (*quality(group), *designs(group))
    table = benchmark(group)
    return Section(
        slug=slug,
        group=group,
        answer=answer(group),
        collapses=collapses(group),
        headings=tuple(quantity.heading for quantity in quantities),
        ranges=ranges(group),
        table=[
            (method, column, delivered(entries), figures)
            for (method, column, figures), (_, _, entries) in zip(grid(group, quantities), cells(group), strict=True)
        ],
        figures=[_figure(plot, f"{slug}-{plot.name}", beside) for plot in drawing.plots(group, brief)],
        invalid=invalid(group),
        regret=regret(group),
        candidates=[] if brief else candidates(group),
        benchmark=table,
        compared=compared(group, table) if table else [],
        provenance=provenance(group),
        truth=truth(group),
    )


def _render(template: str, context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("braid_core.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    common = {
        "glossary": GLOSSARY,
        "light": Markup(";".join(f"{css_name(colour)}:{colour}" for colour in DARK)),
        "dark": Markup(";".join(f"{css_name(colour)}:{dark}" for colour, dark in DARK.items())),
    }
    return environment.get_template(template).render({**context, **common})


def slugs(groups: Sequence[Group]) -> list[str]:
    """A file and anchor name for every group, no two the same."""
    slugs: list[str] = []
    for k, group in enumerate(groups):
        slug = re.sub(r"[^a-z0-9]+", "-", group.title.lower())[:40].strip("-") or "task"
        slugs.append(f"{slug}-{k + 1}" if slug in slugs else slug)
    return slugs
