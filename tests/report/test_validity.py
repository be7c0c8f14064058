"""Invalid over total, by checkpoint, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from braid_core.report import group_runs, read_runs, write_page
from braid_core.report.grouping import Group
from braid_core.report.validity import invalid

from .fabricate import edit

Make = Callable[..., Path]
SHARES = (1.0, 0.75, 0.5)  # of 64 designs at the milestones 100, 200 and 300


def group(*folders: Path) -> Group:
    return group_runs(read_runs(folders)[0])[0]


def spoiled(folder: Path, last: float) -> Path:
    def change(results: dict[str, Any]) -> None:
        for row, share in zip(results["history"], SHARES, strict=True):
            row["valid"] = share
        for row in results["rows"]:
            if row["column"] == "raw" and row["method"] == results["label"]:
                row["valid"] = last

    edit(folder / "results.json", change)
    return folder


def test_invalid_designs_are_counted_by_checkpoint(make: Make) -> None:
    headings, rows = invalid(group(spoiled(make(), 0.25), make(label="STRL")))
    (step, *steps), (strl, braid) = headings, rows
    assert step == "step"
    assert steps[:4] == ["0", "100", "200", "300"]
    assert strl[0] == "STRL"
    assert set(strl[1:]) == {"0/64"}
    assert braid[:5] == ("BRAID-bootstrap", "0/64", "0/64", "16/64", "32/64")
    assert braid[-1] == "48/64"


def test_seeds_are_summed(make: Make) -> None:
    _, ((_, *counts),) = invalid(group(spoiled(make(), 0.25), spoiled(make(seed=1), 0.5)))
    assert counts[2] == "32/128"
    assert counts[-1] == "80/128"


def test_where_all_are_valid_there_is_no_table(make: Make, tmp_path: Path) -> None:
    assert invalid(group(make())) == ([], [])
    page = write_page([group(make(label="STRL"))], tmp_path / "report.html")
    assert "Invalid designs during tuning" not in page.read_text()


def test_the_page_shows_it(make: Make, tmp_path: Path) -> None:
    page = write_page([group(spoiled(make(), 0.25))], tmp_path / "report.html").read_text()
    assert "Invalid designs during tuning" in page
    assert "48/64" in page
