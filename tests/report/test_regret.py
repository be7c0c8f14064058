"""What is shown of the regret bound is what was recorded, and how far its condition holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from braid_core.report import group_runs, read_runs, write_report
from braid_core.report.regret import holds, regret

from .fabricate import edit

Make = Callable[..., Path]


def shown(*folders: Path) -> dict[str, dict[str, str]]:
    columns, rows = regret(group_runs(read_runs(folders)[0])[0])
    return {method: dict(zip((c.heading for c in columns), cells, strict=True)) for method, *cells in rows}


def test_the_bound_is_twice_the_penalty_of_the_best_offline_designs(make: Make) -> None:
    (row,) = shown(make(scale=1.0)).values()
    assert row["2·E[ĝ], best offline"] == "0.040"
    assert (row["E[ĝ], raw"], row["E[ĝ], selected"], row["√E[ĝ²], offline"]) == ("0.080", "0.100", "0.030")
    assert "C̄, raw" not in row


def test_figures_are_means_over_seeds(make: Make) -> None:
    other = make(scale=1.0, seed=1)
    edit(other / "results.json", lambda results: results["regret"]["penalty"].update({"BRAID-bootstrap, raw": 0.1}))
    assert shown(make(scale=1.0), other)["BRAID-bootstrap"]["E[ĝ], raw"] == "0.090"


def test_concentrability_is_shown_where_an_oracle_has_features(make: Make) -> None:
    rows = shown(make(), make(label="BRAID-rkhs", oracle={"type": "rkhs"}))
    assert rows["BRAID-rkhs"]["C̄, raw"] == "4.5"
    assert rows["BRAID-rkhs"]["C̄, best offline"] == "1.5"
    assert rows["BRAID-bootstrap"]["C̄, raw"] == "–"


def test_the_share_of_errors_within_the_penalty_is_counted(make: Make) -> None:
    folder = make()
    table = pd.read_csv(folder / "designs.csv")
    own = (table["method"] == "BRAID-bootstrap") & (table["column"] == "raw")
    table.loc[own, "conservative"] = table.loc[own, "predicted"] - 0.1
    table.loc[own, "truth"] = table.loc[own, "predicted"] + [*(0.2 for _ in range(16)), *(-0.05 for _ in range(48))]
    table.to_csv(folder / "designs.csv", index=False)
    assert holds(read_runs([folder])[0][0]) == pytest.approx(0.75)
    assert holds(read_runs([make(truth=False)])[0][0]) is None


def test_a_run_that_estimated_nothing_has_no_section(make: Make, tmp_path: Path) -> None:
    folder = make()
    heading = "how much better it could have been"
    assert heading in write_report([folder], tmp_path / "a.html").read_text()
    edit(folder / "results.json", lambda results: results.pop("regret"))
    assert heading not in write_report([folder], tmp_path / "b.html").read_text()
