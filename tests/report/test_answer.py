"""The paragraph at the top says what the figures say, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braid_core.report import group_runs, read_runs
from braid_core.report.answer import answer

from .fabricate import edit, set_row

Make = Callable[..., Path]


def said(*folders: Path) -> str:
    return answer(group_runs(read_runs(folders)[0])[0])


def level(median: float) -> dict[str, Any]:
    names = ("mean", "q0", "q10", "q25", "q50", "q75", "q90", "q100")
    return {"truth": dict.fromkeys(names, median / 2), "normalised": dict.fromkeys(names, median)}


def test_the_winner_is_named_with_its_rivals(make: Make) -> None:
    strong = set_row(make(), "BRAID-bootstrap", gap=0.02, coverage=0.9, **level(0.8))
    text = said(strong, set_row(make(label="STRL"), "STRL", **level(0.6)))
    assert text.startswith("The selected designs of BRAID-bootstrap have the highest median true reward: 0.800")
    assert "against 0.600 for STRL" in text
    assert "Its predictions were 0.020 E-score too high on average" in text
    assert "90\u00a0% of its designs were at least as good as promised" in text
    assert "With one seed this is an observation, not a test" in text


def test_wins_are_counted_on_shared_seeds(make: Make) -> None:
    folders = []
    for seed, other in ((0, 0.5), (1, 0.9), (2, 0.5)):
        folders.append(set_row(make(seed=seed), "BRAID-bootstrap", **level(0.8)))
        folders.append(set_row(make(seed=seed, label="STRL"), "STRL", **level(other)))
    assert "(BRAID-bootstrap is ahead of STRL on 2 of 3 seeds)" in said(*folders)


def test_tuning_that_did_not_help_is_called_that(make: Make) -> None:
    folder = set_row(make(), "BRAID-bootstrap", **level(0.3))
    text = said(set_row(folder, "Pretrained", **level(0.5)))
    assert text.startswith("No method beat Pretrained: its median true reward is 0.500")
    assert "that of the best method, BRAID-bootstrap, 0.300" in text


def test_predictions_are_never_sold_as_evidence(make: Make) -> None:
    text = said(make(truth=False))
    assert "predictions only" in text
    assert "not evidence" in text
    assert "true reward of" not in text
    assert "rank correlation with the measurements was 0.83" in text


def test_scores_of_different_oracles_are_not_compared(make: Make) -> None:
    text = said(make(truth=False), make(truth=False, label="BRAID-gp", oracle={"type": "gp"}))
    assert "do not compare" in text
    assert "comes first" not in text


def test_poor_designs_are_a_warning(make: Make) -> None:
    text = said(set_row(make(), "BRAID-bootstrap", valid=0.5, unique=0.8))
    assert "only 50\u00a0% of its designs are valid and only 80\u00a0% of them are unique" in text


def collapse(folder: Path, n: int) -> Path:
    def change(results: dict[str, Any]) -> None:
        row = results["rows"][-1]
        row.update(n=n, shortfall=64 - n, **level(0.95))

    edit(folder / "results.json", change)
    return folder


def test_a_method_that_collapsed_to_a_few_designs_cannot_win(make: Make) -> None:
    strong, narrow = set_row(make(), "BRAID-bootstrap", **level(0.7)), collapse(make(label="STRL"), 1)
    text = said(strong, narrow)
    assert text.startswith("The selected designs of BRAID-bootstrap have the highest")
    assert "Not compared, because of too few different designs: STRL (1 of 64)" in text


def test_when_every_method_collapsed_the_references_are_what_is_left(make: Make) -> None:
    text = said(set_row(collapse(make(), 2), "Pretrained", **level(0.4)))
    assert text.startswith(
        "No method can be judged. Not compared, because of too few different designs: BRAID-bootstrap (2 of 64)"
    )
    assert "Without tuning, Pretrained reaches a median true reward of 0.400" in text


def test_draws_that_repeat_are_few_designs(make: Make) -> None:
    folder = set_row(make(), "BRAID-bootstrap", unique=0.02)
    edit(folder / "results.json", lambda results: results["rows"].pop())
    assert "BRAID-bootstrap (2\u00a0% of its draws)" in said(folder)


def test_eight_seeds_are_enough(make: Make) -> None:
    text = said(*(make(seed=seed) for seed in range(8)))
    assert "means over 8 seeds" in text
    assert "not a test" not in text


@pytest.mark.parametrize("missing", [{"truth": None, "normalised": None}])
def test_a_method_without_figures_does_not_break_the_answer(make: Make, missing: dict[str, Any]) -> None:
    assert "No method of these runs" in said(set_row(make(), "BRAID-bootstrap", **missing))
