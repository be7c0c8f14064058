"""The answer of a bench in words: who is ahead on which tasks, what may be said of it, whether promises were kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from braid_core.errors import DataError
from braid_core.experiment.compare import FEWEST, LEVEL, MARGIN, Comparison, compare
from braid_core.report.bench_reading import BenchResults, Part
from braid_core.report.figures.promise import WANTED
from braid_core.report.grouping import Group, is_reference
from braid_core.report.numbers import decimals, number, percent
from braid_core.report.tables import COVERAGE, MEDIAN, OFFSET, PINBALL, Quantity, over_seeds, scores

VERDICTS = ("better", "not worse", "undecided", "worse", "too few seeds")
MANY = 6
"""Of more tasks the figures of each stand in the table only."""


def comparisons(bench: BenchResults, column: str = "selected") -> list[Comparison]:
    """Pessimism against none (:attr:`BenchResults.pairs`), on the tasks and seeds that both have finished."""
    table = bench.table()
    found: list[Comparison] = []
    for a, b in bench.pairs:
        try:
            found += compare(table, a, b, column=column)
        except DataError:  # nothing shared yet: said by `answers`
            continue
    return found


def titles(bench: BenchResults) -> dict[tuple[str, str], str]:
    """What each task and backbone is called on the page."""
    return {(part.task, part.backbone): part.group.title for part in bench.parts}


def answers(bench: BenchResults, compared: Sequence[Comparison]) -> list[str]:
    """Paragraphs of plain sentences."""
    judged = [part for part in bench.parts if part.group.task.has_truth]
    if not judged:
        return ["No cell with a true reward has finished, so there is nothing to tell."]
    paragraphs = [_leaders([part.group.paired() for part in judged])]
    names = titles(bench)
    for a, b in bench.pairs:
        own = [one for one in compared if (one.a, one.b) == (a, b)]
        paragraphs.append(
            _compared(own, names)
            if own
            else f"{a} and {b} share no task and seed that both have finished with enough designs."
        )
    for a in bench.methods("braid"):
        paragraphs.append(_promise([b for braid, b in bench.pairs if braid == a], judged, a))
    fewest = min((len(one.seeds) for one in compared), default=FEWEST)
    if fewest < FEWEST:
        claims = (
            f"“Better” and “worse” take {FEWEST} seeds and p < {LEVEL:g}, “not worse” an interval above −{MARGIN} sd"
        )
        seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
        paragraphs.append(f"{claims}: what rests on less, here down to {seeds}, is an observation.")
    learned = [part.group.title for part in judged if part.group.task.truth_kind == "learned"]
    if learned:
        trust = "come from an evaluator that is itself unreliable far from its data: trust the others more"
        paragraphs.append(f"True rewards on {_listed(learned)} {trust}.")
    return [text for text in paragraphs if text]


def _leaders(groups: Sequence[Group]) -> str:
    """Per task, the method under study with the highest median, and the next; those that look alike lead together."""
    said, silent, first = [], [], Counter[str]()
    for group in groups:
        found = scores(group, MEDIAN)
        ranked = sorted((m for m in found if group.complete(m) and not is_reference(m)), key=lambda m: -found[m])
        if ranked:
            places = decimals(found.values())
            told = [f"{method} ({number(found[method], places)})" for method in ranked[:2]]
            above = [m for m in found if is_reference(m) and found[m] >= found[ranked[0]]]
            below = f", none above {max(above, key=found.__getitem__)}" if above else ""
            said.append(f"on {group.title} {', then '.join(told)}{below}")
            first[_listed([m for m in ranked if number(found[m], places) == number(found[ranked[0]], places)])] += 1
        else:
            silent.append(group.title)
    rest = f"No method delivered enough designs to be judged on {_listed(silent)}." if silent else ""
    if not said:
        return rest
    if len(said) > MANY:
        said = [f"{method} on {count} of {len(said)} tasks" for method, count in first.most_common()]
    text = "The highest median true reward of the designs that each method delivers, as a mean over seeds: "
    return f"{text}{'; '.join(said)}. {rest}".rstrip()


def _compared(own: Sequence[Comparison], names: Mapping[tuple[str, str], str]) -> str:
    parts = []
    for verdict in VERDICTS:
        found = [one for one in own if one.verdict == verdict]
        if found:
            told = [_told(one, names[one.task, one.backbone], len(own) > MANY) for one in found]
            where = _listed(told) if len(found) <= MANY else f"{len(found)} of {_tasks(own)}"
            parts.append(f"{verdict}{' to say' if verdict == VERDICTS[-1] else ''} on {where}")
    mean = sum(one.mean for one in own) / len(own)
    average = f", {signed(mean)} on average" if len(own) > 1 else ""
    return f"{own[0].a} against {own[0].b}, by that median in sd of the offline rewards{average}: {'; '.join(parts)}."


def _told(one: Comparison, title: str, brief: bool) -> str:
    if brief:
        return title
    if one.low is None:
        return f"{title} ({signed(one.mean)})"
    return (
        f"{title} ({signed(one.mean)}, 95\u00a0% {signed(one.low)} to {signed(one.high)}, p = {number(one.p_holm, 3)})"
    )


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return f"+{number(value, 2)}" if value is not None and round(value, 2) > 0 else number(value, 2)


def _promise(references: Sequence[str], judged: Sequence[Part], method: str) -> str:
    """On how many tasks the coverage is as promised, and the loss below that of a prediction less a constant."""
    covered = [value for part in judged if (value := _mean(part.group, method, COVERAGE)) is not None]
    if not covered:
        return ""
    low, high = WANTED
    good = sum(low <= value <= high for value in covered)
    spread = percent(covered[0]) if len(covered) == 1 else f"{percent(min(covered))} to {percent(max(covered))}"
    text = (
        f"{method} promised a reward that 90\u00a0% of its designs should reach; {spread} did. "
        f"Between {percent(low)} and {percent(high)}, which is as it should be: {good} of {_tasks(covered)}."
    )
    for other in references:
        pairs = [(_mean(part.group, method, PINBALL), _mean(part.group, other, OFFSET)) for part in judged]
        known = [(own, best) for own, best in pairs if own is not None and best is not None]
        if known:
            below = sum(own < best for own, best in known)
            text += (
                f" Pinball loss below that of {other}'s prediction less the best constant: {below} of {_tasks(known)}."
            )
    return text


def _mean(group: Group, method: str, quantity: Quantity) -> float | None:
    entries = group.judged(method)
    return over_seeds(entries, quantity)[0] if entries else None


def _tasks(found: Sequence[object]) -> str:
    return f"{len(found)} task{'s' * (len(found) > 1)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def medians(groups: Sequence[Group]) -> pd.DataFrame:
    """Median true reward of the judged designs as text, mean ± sd over the seeds that all methods have.

    One row per task, one column per method.
    """
    groups = [group.paired() for group in groups]
    methods = list(dict.fromkeys(method for group in groups for method in group.methods))
    rows = []
    for group in groups:
        places = decimals(scores(group, MEDIAN).values())
        row = {"task": group.title, "seeds": str(len(group.seeds))}
        for method in methods:
            mean, sd = over_seeds(group.judged(method), MEDIAN)
            row[method] = number(mean, places) + (f" ±{number(sd, places)}" if sd is not None else "")
        rows.append(row)
    return pd.DataFrame(rows, columns=["task", "seeds", *methods])
