"""A generator that has collapsed is called that, in the page and in the terminal, with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest

from braid_core.report import group_runs, read_runs, summary_text, write_report
from braid_core.report.collapse import collapses

from .fabricate import edit, set_row

Make = Callable[..., Path]
OWN = "BRAID-bootstrap"


def said(*folders: Path) -> str:
    return " ".join(collapses(group_runs(read_runs(folders)[0])[0]))


def test_a_sound_run_is_not_warned_of(make: Make) -> None:
    assert said(make(), make(seed=1), make(label="Best-of-N", tuned=False)) == ""


@pytest.mark.parametrize(
    ("column", "sound", "figures", "words"),
    [
        ("raw", {"diversity": 0.072}, {"diversity": 0.07}, "less than a tenth as diverse"),
        ("selected", {"shortfall": 0}, {"n": 60, "shortfall": 4}, "only 60 of 64 designs could be selected"),
        ("raw", {"kl": 8 * log(4) - 0.01}, {"kl": 8 * log(4) + 0.01}, "11.1 nats is more than naming one design takes"),
    ],
)
def test_each_sign_of_a_collapse(
    make: Make, column: str, sound: dict[str, Any], figures: dict[str, Any], words: str
) -> None:
    assert said(set_row(make(), OWN, column, **sound)) == ""
    text = said(set_row(make(), OWN, column, **figures))
    assert text.startswith(f"{OWN} has collapsed, or is about to: ")
    assert words in text
    assert text.endswith("Remedy: raise alpha (it is 0.05).")


def unselected(folder: Path) -> Path:
    """The run without its column of selected designs."""

    def drop(results: dict[str, Any]) -> None:
        results["rows"] = [row for row in results["rows"] if row["column"] != "selected"]

    edit(folder / "results.json", drop)
    return folder


def test_draws_that_repeat_are_a_sign_where_they_do_not_fill_the_column(make: Make) -> None:
    """In a space of 4,096 designs good draws repeat too."""
    assert said(set_row(make(), OWN, "raw", unique=0.1)) == ""
    assert said(unselected(set_row(make(), OWN, "raw", unique=0.5))) == ""
    few = said(unselected(set_row(make(), OWN, "raw", unique=0.49)))
    assert few.startswith(f"{OWN} has collapsed, or is about to: only 49\u00a0% of its draws are distinct.")


def test_a_kl_says_nothing_of_a_collapse_where_designs_have_no_letters(make: Make) -> None:
    folder = set_row(make(), OWN, "raw", kl=100.0)
    edit(folder / "manifest.json", lambda manifest: manifest.update(space={"kind": "Vectors", "size": 8}))
    assert said(folder) == ""


def test_the_remedy_is_the_option_that_was_used(make: Make) -> None:
    budget = set_row(make(options={"alpha": None, "kl_budget": 9.0}), OWN, "raw", diversity=0.01)
    chosen = set_row(make(options={"alpha": None, "kl_budget": "auto"}, chosen=8.0), OWN, "raw", diversity=0.01)
    frozen = set_row(make(label="Guidance", tuned=False, options={"alpha": None}), "Guidance", "raw", diversity=0.01)
    assert "lower kl_budget (it is 9.0)" in said(budget)
    assert "give kl_budget a number below 8" in said(chosen)
    assert "nearer to the pretrained model" in said(frozen)


def test_of_several_seeds_the_worst_is_described(make: Make) -> None:
    bad, worse = (set_row(make(seed=seed), OWN, "raw", diversity=0.0) for seed in (1, 2))
    set_row(worse, OWN, "selected", n=60, shortfall=4)
    text = said(make(seed=0), bad, worse)
    assert "on 2 of 3 seeds, as on seed 2: " in text
    assert "only 60 of 64 designs" in text


def test_page_and_terminal_say_it(make: Make, tmp_path: Path) -> None:
    folder = unselected(set_row(make(), OWN, "raw", unique=0.1))
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert f'<p class="warning">{OWN} has collapsed' in page
    text = summary_text(group_runs(read_runs([folder])[0]))
    assert f"warning: {OWN} has collapsed, or is about to: only 10 % of its draws are distinct." in text
    assert len(text[text.index("warning: ") :].splitlines()) == 2
