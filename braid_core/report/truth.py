"""How the true rewards of a report were made, and how far to trust them where they were learned."""

from __future__ import annotations

from braid_core.report.grouping import Group, is_reference
from braid_core.report.numbers import decimals, number
from braid_core.report.tables import EVALUATOR, MEDIAN, TRUTH_STD, over_seeds, scores

KINDS = {"measured": "True rewards are measurements.", "computed": "True rewards are computed, not measured."}
DOUBTFUL = 2.0
"""A difference of fewer standard errors of the evaluator may be its own."""


def truth(group: Group) -> list[str]:
    """Sentences for the section about the task; none where no truth was asked, or earlier versions did not say."""
    if not group.has_truth or group.task.truth_kind is None:
        return []
    if group.task.truth_note is None:
        return [KINDS[group.task.truth_kind]] if group.task.truth_kind in KINDS else []
    own = {method: score for method, score in scores(group, MEDIAN).items() if group.complete(method)}
    best = max((method for method in own if not is_reference(method)), key=own.__getitem__, default=None)
    doubts = [_distance(group, best), _doubtful(group, own, best)] if best else []
    return [text for text in (group.task.truth_note, *doubts) if text]


def _distance(group: Group, best: str) -> str:
    """How far the best method's designs are from what the evaluator knows, beside the offline designs."""
    names = [method for method in ("Offline", best) if group.judged(method)]
    rows = {name: [over_seeds(group.judged(name), q)[0] for q in (EVALUATOR, TRUTH_STD)] for name in names}
    places = decimals(std for _, std in rows.values())
    said = [
        f"{number(apart, 2)} for {'offline designs' if name == 'Offline' else f'those of {name}'} (standard error of "
        f"the truth: {number(std, places)})"
        for name, (apart, std) in rows.items()
    ]
    return f"Mean distance to the nearest design that the evaluator was trained on: {' and '.join(said)}."


def _doubtful(group: Group, found: dict[str, float], best: str) -> str:
    """A warning where the two best methods differ by less than the evaluator can tell."""
    others = [method for method in found if method != best]
    std, _ = over_seeds(group.judged(best), TRUTH_STD)
    if not others or std is None:
        return ""
    second = max(others, key=found.__getitem__)
    apart = abs(found[best] - found[second])
    if apart >= DOUBTFUL * std:
        return ""
    places = decimals([apart, std])
    return (
        f"{best} and {second} differ by {number(apart, places)} in the median, with a standard error of the truth of "
        f"{number(std, places)}: so small a difference may be the evaluator's, however many seeds agree."
    )
