"""The designs to measure next: the best of each method, by the method's own ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from braid_core.report.grouping import Group
from braid_core.report.numbers import UNKNOWN, decimals, number
from braid_core.report.tables import CONSERVATIVE, MEDIAN, scores

MOST = 20
LETTERS = 300
"""Letters of a design shown on the page; ``designs.csv`` has all of them."""
IMAGE = "(image)"
"""In place of pixels as numbers: the sheet shows them."""


@dataclass(frozen=True)
class Candidates:
    """The table of one method: headings with ``True`` for numeric columns, and rows of formatted text."""

    method: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


def candidates(group: Group) -> list[Candidates]:
    """One table for every method that ranked its designs (Random did not): the best first, the collapsed last."""
    designs = group.designs()
    ahead = scores(group, MEDIAN if group.has_truth else CONSERVATIVE)
    own = sorted(group.own, key=lambda method: (not group.complete(method), -ahead.get(method, -math.inf)))
    methods = [*own, *(method for method in group.methods if method.startswith("Pretrained"))]
    tables = [_candidates(group, method, designs[designs["method"] == method]) for method in methods]
    return [table for table in tables if table.rows]


def best(designs: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """The first ``most`` designs by rank, selected ones where there are any, each design once.

    Seeds are interleaved by rank: scores of different seeds come from different oracles and do not compare.
    """
    if (designs["column"] == "selected").any():
        designs = designs[designs["column"] == "selected"]
    ordered = designs.sort_values(["rank", "conservative"], ascending=[True, False], kind="stable")
    return ordered.drop_duplicates("design").head(most)


def _candidates(group: Group, method: str, designs: pd.DataFrame) -> Candidates:
    chosen = best(designs)
    promised, known = bool(chosen["promised"].notna().any()), group.has_truth
    shown = {"predicted": "predicted ± sd", "conservative": "conservative"}
    shown |= ({"promised": "promised"} if promised else {}) | ({"truth": "true"} if known else {})
    columns = [*shown, "novelty"]
    rewards = [column for column in columns if column != "novelty"]
    places = {"novelty": 2} | dict.fromkeys(rewards, decimals(chosen[rewards].to_numpy(dtype=float).ravel()))
    seeds, flagged = len(group.seeds) > 1, not chosen["valid"].all()
    images = group.members[0].run.manifest.space.get("kind") == "Images"
    headings = [("#", True), *([("seed", True)] if seeds else []), ("design", False)]
    headings += [
        *((heading, True) for heading in shown.values()),
        ("novelty", True),
        *([("valid", False)] if flagged else []),
    ]
    rows = []
    for record in chosen.to_dict("records"):
        design = IMAGE if images else _cut(str(record["design"]))
        row = [number(record["rank"], 0), *([str(record["seed"])] if seeds else []), design]
        figures = [number(record[column], places[column]) for column in columns]
        sd = number(record["std"], places["predicted"])
        row += [figures[0] if sd == UNKNOWN else f"{figures[0]} ± {sd}", *figures[1:]]
        rows.append((*row, *(["yes" if record["valid"] else "no"] if flagged else [])))
    return Candidates(method, tuple(headings), tuple(rows))


def _cut(design: str) -> str:
    return design if len(design) <= LETTERS else f"{design[:LETTERS]}… ({len(design)} letters)"
