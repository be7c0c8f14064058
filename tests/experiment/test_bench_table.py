"""The tidy table, against records written by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd

from braid_core.experiment.bench_table import COLUMNS, costs_table, error_line, results_table


def spread(value: float) -> dict[str, float]:
    return {"mean": value, **{f"q{q}": value + q / 100 for q in (0, 10, 25, 50, 75, 90, 100)}}


def row(method: str, column: str, value: float) -> dict[str, Any]:
    figures = {"gap": value, "coverage": 0.9, "slack": 0.1, "pinball": 0.2, "kl": None, "shortfall": 0, "n": 4}
    return {"method": method, "column": column, **figures, "truth": spread(value), "predicted": None}


def record(method: str, oracle: str, backbone: str = "masked", seed: int = 0, value: float = 1.0) -> dict[str, Any]:
    """A finished cell whose every figure is ``value``."""
    labels = {"task": "t", "backbone": backbone, "method": method, "objective": "strl", "oracle": oracle, "seed": seed}
    offline = {"method": "Offline", "column": "raw", "n": 50, "unique": 1.0, "truth": spread(value)}
    names = [(name, column) for name in ("Random", "Pretrained", method) for column in ("raw", "selected")]
    return {
        "cell": labels,
        "error": None,
        "task": {"name": "t", "offline": {"n": 50, "mean": 0.0, "std": 2.0, "max": 3.0}},
        "rows": [offline, *(row(name, column, value) for name, column in names)],
        "seconds": {"backbone": 3.0, "objective": 4.0},
        "memory": {"backbone": 100.0},
    }


def failure(**changes: Any) -> dict[str, Any]:
    made = record("STRL", "gp", **changes)
    error = {"what": "it failed", "where": "line 3", "why": None, "fix": "mend\n it"}
    return {**made, "error": error, "rows": [], "seconds": {}, "memory": {}}


def rows_of(table: pd.DataFrame, **labels: Any) -> list[tuple[Any, ...]]:
    """The (backbone, oracle, first figure) of the rows with these labels."""
    for name, value in labels.items():
        table = table[table[name] == value]
    known = table[["backbone", "oracle", "truth_q50"]].astype(object)
    return list(known.where(known.notna(), None).itertuples(index=False, name=None))


def test_a_row_a_column_with_every_figure() -> None:
    table = results_table([record("STRL", "gp", value=2.0)])
    assert list(table) == list(COLUMNS)
    assert list(zip(table["method"], table["column"], strict=True)) == [
        ("Offline", "raw"),
        ("Random", "raw"),
        ("Random", "selected"),
        ("Pretrained", "raw"),
        ("Pretrained", "selected"),
        ("STRL", "raw"),
        ("STRL", "selected"),
    ]
    last = table.iloc[-1]
    assert (last["truth_mean"], last["truth_q90"], last["gap"], last["offline_std"]) == (2.0, 2.9, 2.0, 2.0)
    assert last[["kl", "predicted_mean", "naturalness", "error"]].isna().all()
    assert table["n"].tolist() == [50, 4, 4, 4, 4, 4, 4]


def test_references_are_of_the_first_cell_that_has_them() -> None:
    records = [record("STRL", "gp", value=1.0), record("BRAID", "rkhs", value=2.0), record("STRL", "gp", seed=1)]
    table = results_table(records)
    assert rows_of(table, method="Random", column="raw", seed=0) == [(None, "gp", 1.5)]
    assert rows_of(table, method="Pretrained", column="raw", seed=0) == [("masked", "gp", 1.5)]
    assert rows_of(table, method="Offline", seed=0) == [(None, None, 1.5)]
    assert len(rows_of(table, method="Offline")) == 2
    late = results_table([failure(), *records[1:]])
    assert rows_of(late, method="Random", column="raw", seed=0) == [(None, "rkhs", 2.5)]


def test_every_backbone_has_its_pretrained() -> None:
    table = results_table([record("STRL", "gp"), record("STRL", "gp", backbone="simplex", value=5.0)])
    assert rows_of(table, method="Pretrained", column="raw") == [("masked", "gp", 1.5), ("simplex", "gp", 5.5)]
    assert rows_of(table, method="Random", column="raw") == [(None, "gp", 1.5)]


def test_a_failure_is_one_row() -> None:
    table = results_table([failure(seed=3)])
    (only,) = table.to_dict("records")
    assert (only["task"], only["method"], only["seed"]) == ("t", "STRL", 3)
    assert pd.isna([only["column"], only["n"], only["truth_mean"]]).all()
    assert only["error"] == "it failed (where: line 3; fix: mend it)"
    assert error_line({"what": "x", "where": None, "why": None, "fix": None}) == "x"


def test_nothing_yet() -> None:
    assert list(results_table([])) == list(COLUMNS)
    assert results_table([]).empty
    assert costs_table([]).empty


def test_costs_are_long() -> None:
    costs = costs_table([record("STRL", "gp"), failure()])
    assert costs[["method", "stage", "seconds"]].values.tolist() == [
        ["STRL", "backbone", 3.0],
        ["STRL", "objective", 4.0],
    ]
    assert costs["memory_mb"].tolist()[0] == 100.0
    assert costs["memory_mb"].isna().tolist() == [False, True]
