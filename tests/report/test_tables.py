"""The summary: figures over seeds, as data and as text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braid_core.report import Group, group_runs, read_runs, summary, summary_text
from braid_core.report.numbers import decimals, duration, number, percent

from .fabricate import edit, set_row

Make = Callable[..., Path]


def groups(*folders: Path) -> list[Group]:
    return group_runs(read_runs(folders)[0])


def test_mean_and_sd_over_seeds(make: Make) -> None:
    folders = [make(seed=seed) for seed in (0, 1, 2)]
    rows = [json.loads((folder / "results.json").read_text())["rows"] for folder in folders]
    medians = [row["normalised"]["q50"] for run in rows for row in run if row["method"] == "BRAID-bootstrap"][1::2]
    table = summary(groups(*folders)).set_index(["method", "column"])
    own = table.loc[("BRAID-bootstrap", "selected")]
    assert own["seeds"] == 3
    assert own["median_truth_mean"] == pytest.approx(np.mean(medians))
    assert own["median_truth_sd"] == pytest.approx(np.std(medians, ddof=1))
    assert table.loc[("BRAID-bootstrap", "raw"), "kl_mean"] == pytest.approx(4.2)
    assert np.isnan(table.loc[("Random", "raw"), "kl_mean"])


def test_one_seed_has_no_spread(make: Make) -> None:
    table = summary(groups(make()))
    assert table.filter(like="_sd").isna().all(axis=None)
    assert "±" not in summary_text(groups(make()))


def test_the_table_survives_a_csv(make: Make) -> None:
    table = summary(groups(make(), make(label='a,b\n"c"')))
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(table, again, check_dtype=False)


def test_the_text_is_aligned_and_fits(make: Make) -> None:
    text = summary_text(groups(*(make(seed=seed, label=label) for seed in (0, 1) for label in ("STRL", "BRAID-gp"))))
    for block in text.split("\n\n")[1:-1]:
        header, *lines = block.splitlines()
        assert len({len(line) for line in (header, *lines)}) == 1
        assert max(map(len, lines)) <= 110


def test_designs_without_a_true_reward_are_counted_where_there_are_some(make: Make) -> None:
    assert "missing" not in summary_text(groups(make()))
    lines = summary_text(groups(set_row(make(), "BRAID-bootstrap", "selected", missing=5))).splitlines()
    assert next(line for line in lines if line.startswith("method")).split()[-1] == "missing"
    assert next(line for line in lines if line.startswith("BRAID-bootstrap  selected")).split()[-1] == "5"


def test_each_oracle_has_a_line(make: Make) -> None:
    other = make(seed=1)
    edit(other / "results.json", lambda results: results["oracle"].update(spearman=0.43, coverage=0.5))
    text = summary_text(groups(make(), other, make(label="STRL-gp", oracle={"type": "gp"})))
    first, second = " ".join(text.split()).split("Oracle ")[1:]
    kept = "of them keep what is promised."
    assert first.startswith(f"bootstrap on held-out designs: rank correlation 0.63, c = 1; 72 % {kept}")
    assert second.startswith(f"gp on held-out designs: rank correlation 0.83, c = 1; 94 % {kept}")


def test_without_a_promise_the_text_says_why(make: Make) -> None:
    facts = {"coverage": None, "promise": None, "refused": "40 designs are too few"}
    run = make()
    edit(run / "results.json", lambda results: results["oracle"].update(facts))
    text = " ".join(summary_text(groups(run)).split())
    assert "c = 1; nothing is promised of designs, since 40 designs are too few." in text


def test_two_settings_of_an_oracle_have_two_lines(make: Make) -> None:
    oracles = ({"type": "bootstrap", "members": members} for members in (5, 9))
    text = summary_text(groups(*(make(oracle=oracle) for oracle in oracles)))
    assert "Oracle bootstrap (members=5) on" in text
    assert "Oracle bootstrap (members=9) on" in text


def test_without_a_truth_the_text_says_so(make: Make) -> None:
    text = summary_text(groups(make(truth=False, unit="log2 activity")))
    assert "predictions (log2 activity) and no evidence" in text
    assert "median" not in text
    assert "conservative" in text


def test_a_label_cannot_write_to_the_terminal(make: Make) -> None:
    assert "\x1b" not in summary_text(groups(make(label="BRAID\x1b[2J")))


def test_rows_with_unknown_figures_show_dashes(make: Make) -> None:
    folder = make()
    edit(folder / "results.json", lambda results: results["rows"][-1].update(truth=None, normalised=None, gap=None))
    line = next(line for line in summary_text(groups(folder)).splitlines() if line.startswith("BRAID-bootstrap  sel"))
    assert line.split()[3:7] == ["–", "–", "–", "–"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(-0.0001, 2), "0.00"),
        (number(-1.234, 2), "−1.23"),
        (number(None), "–"),
        (percent(0.999), "99\u00a0%"),
        (percent(1.0), "100\u00a0%"),
        (duration(3.21), "3.2 s"),
        (duration(200), "3:20 min"),
        (duration(7500), "2:05 h"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    assert text == expected


def test_decimals_follow_the_size() -> None:
    assert [decimals([value]) for value in (1234.0, 12.0, 1.2, 0.12, 0.0, 1e-9)] == [0, 1, 2, 3, 3, 5]
