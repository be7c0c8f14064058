"""The answer in a paragraph, written from the figures: who is ahead, by how much, and how far to trust it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from braid_core.report.grouping import Group, is_reference
from braid_core.report.numbers import decimals, number, percent
from braid_core.report.tables import CONSERVATIVE, COVERAGE, GAP, MEDIAN, UNIQUE, VALID, delivered, over_seeds
from braid_core.report.tables import scores as scores_of

ENOUGH_SEEDS = 8
"""The fewest seeds with which "better" may be claimed: with 5, no two-sided Wilcoxon test can reach p < .05."""
USUAL = ("strl", "pretrained", "random")
"""Beginnings of the methods that every answer is compared with."""


def answer(group: Group) -> str:
    """What a reader should take away from ``group``, in plain sentences."""
    sentences = _with_truth(group) if group.has_truth else _without_truth(group)
    return " ".join(sentence for sentence in sentences if sentence)


def _with_truth(group: Group) -> list[str]:
    scores = scores_of(group, MEDIAN)
    if not any(method in scores for method in group.own):
        return ["No method of these runs has a true reward that could be judged."]
    scores, collapsed = _comparable(group, scores)
    own = [method for method in scores if not is_reference(method)]
    if not own:
        return ["No method can be judged.", collapsed, _references(group, scores)]
    best = max(own, key=scores.__getitem__)
    return [
        _verdict(group, scores, best),
        _trust(group, best),
        _reach(group, best),
        collapsed,
        _warning(group, best),
        _seeds(group, best),
    ]


def _without_truth(group: Group) -> list[str]:
    reason = "The task has no true rewards" if not group.task.has_truth else "No true rewards were recorded"
    first = (
        f"{reason}, so this page shows the oracle's predictions only. They are not evidence that the designs are good: "
        "the methods searched for designs that this very oracle rates highly."
    )
    scores, collapsed = _comparable(group, scores_of(group, CONSERVATIVE))
    own = [method for method in scores if not is_reference(method)]
    if not own:
        return [first, collapsed]
    best = max(own, key=scores.__getitem__)
    return [first, _predicted(group, scores, best), _held_out(group, best), collapsed, _warning(group, best)]


def _comparable(group: Group, scores: dict[str, float]) -> tuple[dict[str, float], str]:
    """The scores of methods that delivered enough designs, and a sentence about those that did not."""
    few = [method for method in scores if not group.complete(method)]
    if not few:
        return scores, ""
    kept = {method: score for method, score in scores.items() if method not in few}
    return kept, (
        f"Not compared, because of too few different designs: {', '.join(_few(group, method) for method in few)}."
    )


def _few(group: Group, method: str) -> str:
    entries = group.judged(method)
    if entries[0].column == "selected":
        return f"{method} ({delivered(entries)})"
    return f"{method} ({percent(over_seeds(entries, UNIQUE)[0])} of its draws)"


def _references(group: Group, scores: dict[str, float]) -> str:
    """What can be had without tuning, for a reader whose methods all collapsed."""
    if not scores:
        return ""
    best, places = max(scores, key=scores.__getitem__), decimals(scores.values())
    scale = " on the published scale" if group.rescaled else f" {group.task.unit}" if group.task.unit else ""
    return f"Without tuning, {best} reaches a median true reward of {number(scores[best], places)}{scale}."


def _verdict(group: Group, scores: dict[str, float], best: str) -> str:
    places = decimals(scores.values())
    scale = "on the published scale" if group.rescaled else group.task.unit
    value = f"{number(scores[best], places)}{f' {scale}' if scale else ''}"
    others = sorted((method for method in scores if method != best), key=lambda method: -scores[method])
    if not others:
        return f"The designs of {best} have a median true reward of {value}; nothing was run to compare it with."
    first = others[0]
    if scores[first] >= scores[best]:
        return (
            f"No method beat {first}: its median true reward is {number(scores[first], places)}, that of the best "
            f"method, {best}, {value}{_ahead(group, best, first)}."
        )
    wanted = [first, *(method for method in others[1:] if method.casefold().startswith(USUAL))]
    rest = ", ".join(f"{number(scores[method], places)} for {method}" for method in wanted)
    ahead = _ahead(group, best, first)
    which = "selected designs" if group.column_of(best) == "selected" else "designs"
    return f"The {which} of {best} have the highest median true reward: {value}, against {rest}{ahead}."


def _ahead(group: Group, best: str, other: str) -> str:
    """On how many of the seeds that both have ``best`` is ahead."""
    values = [{e.seed: MEDIAN.of(e.row) for e in group.judged(method)} for method in (best, other)]
    pairs = [(a, values[1][seed]) for seed, a in values[0].items() if values[1].get(seed) is not None and a is not None]
    wins = sum(a > b for a, b in pairs if b is not None)
    return f" ({best} is ahead of {other} on {wins} of {len(pairs)} seeds)" if len(pairs) > 1 else ""


def _trust(group: Group, best: str) -> str:
    gap, coverage = (over_seeds(group.judged(best), quantity)[0] for quantity in (GAP, COVERAGE))
    unit = f" {group.task.unit}" if group.task.unit else ""
    parts = []
    if gap is not None:
        size = number(abs(gap), decimals([gap, group.task.offline.max]))
        parts.append(f"its predictions were {size}{unit} too {'high' if gap > 0 else 'low'} on average")
    if coverage is not None:
        parts.append(f"{percent(coverage)} of its designs were at least as good as promised")
    text = ", and ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _reach(group: Group, best: str) -> str:
    tops = [e.row.truth.q100 for e in group.judged(best) if e.row.truth and e.row.truth.q100 is not None]
    offline = group.task.offline.max
    if not tops or offline is None:
        return ""
    top = sum(tops) / len(tops)
    places = decimals([top, offline])
    unit = f" {group.task.unit}" if group.task.unit else ""
    return (
        f"Its best design reaches {number(top, places)}{unit} (best offline: {number(offline, places)}), but which one "
        "that is would show only after measuring all of them."
    )


def _warning(group: Group, best: str) -> str:
    entries = group.judged(best)
    valid, unique = (over_seeds(entries, quantity)[0] for quantity in (VALID, UNIQUE))
    parts = [f"only {percent(valid)} of its designs are valid"] if valid is not None and valid < 0.95 else []
    parts += [f"only {percent(unique)} of them are unique"] if unique is not None and unique < 0.9 else []
    return f"Note that {' and '.join(parts)}." if parts else ""


def _seeds(group: Group, best: str) -> str:
    seeds = len(group.judged(best))
    if seeds >= ENOUGH_SEEDS:
        return f"The figures are means over {seeds} seeds."
    so_far = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"With {so_far} this is an observation, not a test: a claim that a method is better needs {ENOUGH_SEEDS}."


def _predicted(group: Group, scores: dict[str, float], best: str) -> str:
    places = decimals(scores.values())
    unit = f" {group.task.unit}" if group.task.unit else ""
    value = f"{number(scores[best], places)}{unit}"
    oracles = {json.dumps(m.run.manifest.spec.get("oracle"), sort_keys=True, default=str) for m in group.members}
    if len(oracles) > 1:
        return "The methods were scored by different oracles, so their scores do not compare."
    others = sorted((method for method in scores if method != best), key=lambda method: -scores[method])
    rest = f", against {number(scores[others[0]], places)} for {others[0]}" if others else ""
    return f"By mean conservative score {best} comes first with {value}{rest}."


def _held_out(group: Group, best: str) -> str:
    facts = [member.run.results.oracle for member in group.members if member.method == best]
    known = [fact.spearman for fact in facts if fact and fact.spearman is not None]
    return _correlation(known)


def _correlation(values: Sequence[float]) -> str:
    if not values:
        return "Nothing is known about how well the oracle predicts."
    mean = number(sum(values) / len(values), 2)
    return f"On offline designs that it had not seen, the oracle's rank correlation with the measurements was {mean}."
