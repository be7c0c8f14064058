"""The summary over seeds: as a data frame, as plain text for a terminal, and as cells for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill

import pandas as pd
from rich.cells import cell_len

from braid_core.experiment.compare import interval
from braid_core.report.collapse import collapses
from braid_core.report.grouping import Entry, Group, flatten, told_apart
from braid_core.report.numbers import decimals, number, percent, significant
from braid_core.report.records import OracleFacts, Row, Stats


@dataclass(frozen=True)
class Quantity:
    """A column of the summary: its key in the CSV, its heading, its scale, and how a row yields it.

    ``scale`` is ``published``, ``unit`` (the task's), ``share``, ``nats``, ``distance`` or ``count``; columns of one
    scale share their number of decimals.
    """

    key: str
    heading: str
    scale: str
    of: Callable[[Row], float | None]


def _stat(field: str, name: str) -> Callable[[Row], float | None]:
    def figure(row: Row) -> float | None:
        stats: Stats | None = getattr(row, field)
        value: float | None = getattr(stats, name) if stats else None
        return value

    return figure


MEDIAN = Quantity("median_truth", "median", "published", _stat("normalised", "q50"))
MAXIMUM = Quantity("max_truth", "max", "published", _stat("normalised", "q100"))
MEAN = Quantity("mean_truth", "mean", "unit", _stat("truth", "mean"))
PREDICTED = Quantity("mean_predicted", "predicted", "unit", _stat("predicted", "mean"))
CONSERVATIVE = Quantity("mean_conservative", "conservative", "unit", _stat("conservative", "mean"))
PROMISED = Quantity("mean_promised", "promised", "unit", _stat("promised", "mean"))
GAP = Quantity("gap", "gap", "unit", lambda row: row.gap)
COVERAGE = Quantity("coverage", "coverage", "share", lambda row: row.coverage)
TRUTH_STD = Quantity("truth_std", "s.e. of truth", "unit", lambda row: row.truth_std)
EVALUATOR = Quantity("evaluator_distance", "evaluator", "distance", lambda row: row.evaluator_distance)
MISSING = Quantity("missing", "missing", "count", lambda row: row.missing)
VALID = Quantity("valid", "valid", "share", lambda row: row.valid)
UNIQUE = Quantity("unique", "unique", "share", lambda row: row.unique)
SLACK = Quantity("slack", "slack", "unit", lambda row: row.slack)
PINBALL = Quantity("pinball", "pinball", "unit", lambda row: row.pinball)
OFFSET = Quantity("pinball_offset", "best offset", "unit", lambda row: row.pinball_offset)
NATURALNESS = Quantity("naturalness", "naturalness", "share", lambda row: row.naturalness)
NOVELTY = Quantity("novelty", "novelty", "distance", lambda row: row.novelty)
DIVERSITY = Quantity("diversity", "diversity", "distance", lambda row: row.diversity)
KL = Quantity("kl", "KL", "nats", lambda row: row.kl)

WIDTH = 100
"""Letters of a line of text in a terminal."""
WITH_TRUTH = (MEDIAN, MAXIMUM, MEAN, GAP, COVERAGE)
WITHOUT_TRUTH = (PREDICTED, CONSERVATIVE, PROMISED)
DESIGNS = (VALID, UNIQUE, NOVELTY, DIVERSITY, KL)
PROMISE = (COVERAGE, SLACK, PINBALL, OFFSET)
ALL = (
    MEDIAN,
    MAXIMUM,
    MEAN,
    PREDICTED,
    CONSERVATIVE,
    PROMISED,
    GAP,
    *PROMISE,
    TRUTH_STD,
    EVALUATOR,
    MISSING,
    NATURALNESS,
    *DESIGNS,
)


def quality(group: Group) -> tuple[Quantity, ...]:
    """The columns that say how good the designs are; without a truth, predictions are all there is."""
    if not group.has_truth:
        return WITHOUT_TRUTH
    learned = (TRUTH_STD,) if any(entry.row.truth_std is not None for entry in group.entries) else ()
    missing = (MISSING,) if any(entry.row.missing for entry in group.entries) else ()
    return (*WITH_TRUTH, *learned, *missing)


def designs(group: Group) -> tuple[Quantity, ...]:
    """The columns that say what the designs are like."""
    natural = any(entry.row.naturalness is not None for entry in group.entries)
    return (*DESIGNS[:-1], NATURALNESS, KL) if natural else DESIGNS


def ranges(group: Group) -> list[tuple[str, ...]]:
    """Of each method and column: the mean median of the true rewards, with the 95 % interval that seeds give it.

    Bootstrap over seeds (``experiment.compare.interval``); no rows without a truth or with fewer than five seeds.
    """
    found = []
    places = decimals(median for median in scores(group, MEDIAN).values())
    for method, column, entries in cells(group):
        low, high = seeds_interval(entries, MEDIAN)
        if low is not None:
            mean, _ = over_seeds(entries, MEDIAN)
            values = (number(value, places) for value in (mean, low, high))
            found.append((method, column, str(len(entries)), *values))
    return found


def seeds_interval(entries: Sequence[Entry], quantity: Quantity) -> tuple[float | None, float | None]:
    """The 95 % bootstrap interval of the mean of ``quantity`` over seeds; ``None`` with fewer than five."""
    values = pd.Series([quantity.of(entry.row) for entry in entries], dtype=float).dropna()
    return interval(values.to_numpy())


def over_seeds(entries: Sequence[Entry], quantity: Quantity) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation over the seeds that have ``quantity``; ``None`` where there are too few."""
    values = pd.Series([quantity.of(entry.row) for entry in entries], dtype=float).dropna()
    mean = float(values.mean()) if len(values) else None
    return mean, float(values.std(ddof=1)) if len(values) > 1 else None


def summary(groups: Sequence[Group]) -> pd.DataFrame:
    """One row a task, method and column: seeds, designs, and ``<quantity>_mean``, ``<quantity>_sd`` over seeds."""
    records = []
    for group in groups:
        for method, column, entries in cells(group):
            record: dict[str, object] = {"task": group.title, "unit": group.task.unit, "method": method}
            record |= {"column": column, "seeds": len(entries), "designs": entries[0].row.n}
            record["shortfall"] = sum(entry.row.shortfall for entry in entries) / len(entries)
            for quantity in ALL:
                mean, sd = over_seeds(entries, quantity)
                record |= {f"{quantity.key}_mean": mean, f"{quantity.key}_sd": sd}
            record["median_truth_low"], record["median_truth_high"] = seeds_interval(entries, MEDIAN)
            records.append(record)
    table = pd.DataFrame(records)
    figures = [name for name in table.columns if name.endswith(("_mean", "_sd", "_low", "_high"))]
    return table.astype(dict.fromkeys(figures, float))


def cells(group: Group) -> list[tuple[str, str, list[Entry]]]:
    """``(method, column, rows of all seeds)`` in reading order: raw draws before those selected."""
    found = []
    for method in group.methods:
        columns = sorted({entry.column for entry in group.entries if entry.method == method})
        found += [(method, column, group.select(method, column)) for column in columns]
    return found


def scores(group: Group, quantity: Quantity) -> dict[str, float]:
    """The mean over seeds of ``quantity`` for every method that has it, in the column that the method is judged by."""
    found = {method: over_seeds(group.judged(method), quantity)[0] for method in group.methods}
    return {method: value for method, value in found.items() if value is not None}


def grid(group: Group, quantities: Sequence[Quantity]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """``(method, column, [(mean, sd)])`` as text, one number of decimals a scale; an sd may be empty."""
    rows = cells(group)
    figures = {q.key: [over_seeds(entries, q) for _, _, entries in rows] for q in quantities}
    places = {"share": 2, "distance": 2, "nats": 2, "count": 0}
    for scale in ("published", "unit"):
        places[scale] = decimals(mean for q in quantities if q.scale == scale for mean, _ in figures[q.key])
    columns = [_column(figures[q.key], places[q.scale]) for q in quantities]
    return [(method, column, [cells[k] for cells in columns]) for k, (method, column, _) in enumerate(rows)]


def delivered(entries: Sequence[Entry]) -> str:
    """How many designs the rows hold (a mean over seeds), and of how many if some are missing."""
    n, asked = (sum(counts) / len(entries) for counts in ([e.row.n for e in entries], [e.asked for e in entries]))
    return f"{n:.0f}" if n == asked else f"{n:.0f} of {asked:.0f}"


def _column(figures: Sequence[tuple[float | None, float | None]], places: int) -> list[tuple[str, str]]:
    spreads = ["" if sd is None else number(sd, places) for _, sd in figures]
    varies = any(text.strip("0.") for text in spreads)
    return [
        (number(mean, places), f"±{text}" if text and varies else "")
        for (mean, _), text in zip(figures, spreads, strict=True)
    ]


def summary_text(groups: Sequence[Group]) -> str:
    """The summary for a terminal: per task one block on how good the designs are and one on what they are like."""
    parts = []
    for group in groups:
        seeds = len(group.seeds)
        over = f"mean±sd over {seeds} seeds" if seeds > 1 else f"seed {group.seeds[0]}"
        parts.append(f"{group.title}: {over}\n{_scales(group)}")
        for quantities in (quality(group), designs(group)):
            parts.append(_block(group, quantities))
        said = [*_oracles(group), *(f"warning: {text}" for text in collapses(group))]
        parts.append("\n".join(fill(_plain(text), WIDTH, subsequent_indent="  ") for text in said))
    return "\n\n".join(part for part in parts if part)


def _oracles(group: Group) -> list[str]:
    """How each oracle did on offline designs that it had not seen; means over its runs."""
    known = [(member.run, facts) for member in group.members if (facts := member.run.results.oracle)]
    specs = [
        (str(spec.get("type", "")), flatten(spec)) for spec in (run.manifest.spec.get("oracle", {}) for run, _ in known)
    ]
    found: dict[str, list[OracleFacts]] = {}
    for name, (_, facts) in zip(told_apart(specs), known, strict=True):
        found.setdefault(name, []).append(facts)
    return [_oracle(name, facts) for name, facts in found.items()]


def _oracle(name: str, facts: Sequence[OracleFacts]) -> str:
    spearman, coverage, c = (_known(getattr(fact, key) for fact in facts) for key in ("spearman", "coverage", "c"))
    ranks = f"Oracle {name} on held-out designs: rank correlation {number(spearman, 2)}, c = {significant(c)}"
    refused = next((fact.refused for fact in facts if fact.refused), None)
    if refused and coverage is None:
        return f"{ranks}; nothing is promised of designs, since {refused}."
    return f"{ranks}; {percent(coverage)} of them keep what is promised." if coverage is not None else f"{ranks}."


def _known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _scales(group: Group) -> str:
    if not group.has_truth:
        return f"No true rewards: the figures are predictions ({group.task.unit or 'reward'}) and no evidence."
    unit = group.task.unit or "reward"
    if group.rescaled:
        return f"True rewards: median and max on the task's published scale; mean and gap (predicted − true) in {unit}."
    return f"True rewards in {unit}; gap is predicted − true."


def _block(group: Group, quantities: Sequence[Quantity]) -> str:
    lines = [["method", "column", "n", *(q.heading for q in quantities)]]
    for (method, column, figures), (_, _, entries) in zip(grid(group, quantities), cells(group), strict=True):
        lines.append([_plain(method), column, delivered(entries), *map("".join, figures)])
    widths = [max(cell_len(line[k]) for line in lines) for k in range(len(lines[0]))]
    rendered = []
    for line in lines:
        left = [_pad(text, width) for text, width in zip(line[:2], widths[:2], strict=True)]
        right = [_pad(text, width, right=True) for text, width in zip(line[2:], widths[2:], strict=True)]
        rendered.append("  ".join(left + right).rstrip())
    return "\n".join(rendered)


def _plain(text: str) -> str:
    """``text`` without the control characters with which a label could rewrite the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.replace("\u00a0", " "))


def _pad(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
