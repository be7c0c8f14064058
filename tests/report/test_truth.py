"""What a report says about where its true rewards come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from braid_core.report import group_runs, read_runs, summary_text, write_report
from braid_core.report.grouping import Group
from braid_core.report.truth import truth

from .fabricate import edit, set_row

Make = Callable[..., Path]
NOTE = "The truth is learned: by <i>somebody</i>."


def learned(folder: Path, std: float, apart: float) -> Path:
    """The run with a truth of standard error ``std`` at the designs, which are ``apart`` from the evaluator's."""
    edit(folder / "results.json", lambda found: found["task"].update(truth_kind="learned", truth_note=NOTE))
    edit(folder / "results.json", lambda found: [row.update(truth_std=std) for row in found["rows"]])
    set_row(folder, "Offline", truth_std=0.02, evaluator_distance=0.3)
    for method in ("BRAID-bootstrap", "STRL"):
        set_row(folder, method, evaluator_distance=apart)
    return folder


def group(*folders: Path) -> Group:
    (found,) = group_runs(read_runs(list(folders))[0])
    return found


@pytest.mark.parametrize(("kind", "said"), [("measured", "are measurements"), ("computed", "are computed")])
def test_an_exact_truth_takes_one_sentence(make: Make, kind: str, said: str) -> None:
    folder = make()
    edit(folder / "results.json", lambda found: found["task"].update(truth_kind=kind, truth_note=None))
    (sentence,) = truth(group(folder))
    assert said in sentence
    assert "s.e. of truth" not in summary_text([group(folder)])


def test_runs_of_earlier_versions_and_without_truth_say_nothing(make: Make) -> None:
    assert truth(group(make())) == []
    folder = make(truth=False)
    edit(folder / "results.json", lambda found: found["task"].update(truth_kind="measured"))
    assert truth(group(folder)) == []


def test_a_learned_truth_says_how_far_it_reaches(make: Make, tmp_path: Path) -> None:
    folder = learned(make(), 0.001, 0.45)
    note, distance = truth(group(folder))
    assert note == NOTE
    assert "0.30 for offline designs (standard error of the truth: 0.0200)" in distance
    assert "0.45 for those of BRAID-bootstrap (standard error of the truth: 0.0010)" in distance
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert "by &lt;i&gt;somebody&lt;/i&gt;. Mean distance" in page
    assert '<th scope="col" class="n">s.e. of truth</th>' in page
    assert "s.e. of truth" in summary_text([group(folder)])


def test_a_difference_within_two_standard_errors_is_not_called_one(make: Make) -> None:
    folders = [make(), make(label="STRL")]
    for folder, median in zip(folders, (0.60, 0.54), strict=True):
        method = "STRL" if folder is folders[1] else "BRAID-bootstrap"
        for name in ("truth", "normalised"):
            edit(
                folder / "results.json",
                lambda found, method=method, name=name, median=median: [
                    row[name].update(q50=median) for row in found["rows"] if row["method"] == method
                ],
            )
        learned(folder, 0.04, 0.4)
    assert "BRAID-bootstrap and STRL differ by 0.0600 in the median" in truth(group(*folders))[-1]
    assert "standard error of the truth of 0.0400" in truth(group(*folders))[-1]
    for folder in folders:
        learned(folder, 0.029, 0.4)
    assert "so small a difference" not in " ".join(truth(group(*folders)))
