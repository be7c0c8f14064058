"""The two columns of a method: first draws, and the best of a pool by its own score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from braid_tasks import MotifSpec
from braid_tasks.motif import Motif
from torch import Tensor

from braid_core.experiment.designs import Designs, Drawing, from_state, to_state
from braid_core.experiment.results import results
from braid_core.experiment.run import run
from braid_core.interfaces import LabelledDesigns, State, Streams, Trajectory
from braid_core.report import group_runs, read_runs, summary_text, write_page

from .tiny import read, row, tiny

CPU = torch.device("cpu")
TASK = MotifSpec(length=3, n=20).build(0)
SPACE = TASK.space


def columns(pool: list[str], score: dict[str, float], n: int = 3) -> tuple[Designs, Designs]:
    """Both columns of a method that always draws the designs of ``pool`` in this order."""

    def sample(count: int, generator: torch.Generator) -> Trajectory:
        del generator
        return Trajectory(SPACE.encode(pool[:count]))

    def opinion(x: Tensor) -> Tensor:
        return torch.tensor([float(score[design]) for design in SPACE.decode(x)])

    raw, selected = Drawing(SPACE, TASK.valid, Streams(0), CPU, n, len(pool)).columns("M", sample, opinion)
    return raw, selected


def texts(column: Designs) -> list[str]:
    return SPACE.decode(column.x)


def test_raw_is_the_first_draws_as_they_come() -> None:
    raw, _ = columns(["AAA", "AAA", "CCC", "GGG"], {"AAA": 0, "CCC": 1, "GGG": 2})
    assert texts(raw) == ["AAA", "AAA", "CCC"]
    assert (raw.method, raw.column, raw.shortfall) == ("M", "raw", 0)


def test_selected_is_distinct_and_best_first() -> None:
    pool = ["AAA", "CCC", "AAA", "GGG", "TTT", "TTT"]
    _, selected = columns(pool, {"AAA": 1, "CCC": 4, "GGG": 2, "TTT": 3})
    assert texts(selected) == ["CCC", "TTT", "GGG"]
    assert selected.shortfall == 0


def test_a_pool_of_one_design_falls_short() -> None:
    _, selected = columns(["AAA"] * 6, {"AAA": 1})
    assert texts(selected) == ["AAA"]
    assert selected.shortfall == 2


def test_invalid_designs_are_not_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motif, "valid", lambda self, x: x[:, 0, 0] == 0)  # nothing that starts with A
    _, selected = columns(["AAA", "CCC", "GGG"], {"AAA": 9, "CCC": 1, "GGG": 2})
    assert texts(selected) == ["GGG", "CCC"]
    assert selected.shortfall == 1


def test_a_design_without_a_score_is_last() -> None:
    _, selected = columns(["AAA", "CCC", "GGG"], {"AAA": 1, "CCC": float("nan"), "GGG": 2})
    assert texts(selected) == ["GGG", "AAA", "CCC"]


def test_columns_survive_being_stored() -> None:
    kl = torch.tensor([0.5, 1.5])
    stored = [
        Designs("M", "raw", SPACE.encode(["AAA", "CCC"]), kl=kl),
        Designs("M", "selected", SPACE.encode(["GGG"]), shortfall=1),
    ]
    state = to_state(stored)
    again = from_state(State(state.tensors, json.loads(json.dumps(state.meta))), CPU)
    assert [(c.method, c.column, c.shortfall, texts(c)) for c in again] == [
        ("M", "raw", 0, ["AAA", "CCC"]),
        ("M", "selected", 1, ["GGG"]),
    ]
    assert again[0].kl is not None
    assert torch.equal(again[0].kl, kl)
    assert again[1].kl is None


def summarised(**figures: list[float]) -> dict[str, Any]:
    """The row of three designs with the given figures."""
    data = TASK.offline()
    column = Designs("M", "raw", SPACE.encode(["AAA", "AAC", "CCC"]))
    figures = {"promised": [2.0] * 3, **figures}
    table = pd.DataFrame(
        {"valid": [True, True, False], "novelty": [0.0, 0.5, 1.0], "normalised": figures["truth"], **figures}
    )
    found = results(table, [column], TASK, tiny(), data, TASK.truth(data.x), {"rmse": float("nan")})
    json.dumps(found, allow_nan=False)
    assert found["oracle"] == {"rmse": None}
    last: dict[str, Any] = found["rows"][-1]
    return last


def test_gap_and_coverage_by_hand() -> None:
    found = summarised(predicted=[3.0, 4.0, 5.0], conservative=[9.0] * 3, truth=[2.0, 1.0, 6.0])
    assert found["gap"] == pytest.approx((1 + 3 - 1) / 3)  # predicted − true
    assert found["coverage"] == pytest.approx(2 / 3)  # a promise just kept is kept
    assert found["valid"] == pytest.approx(2 / 3)
    assert found["novelty"] == 0.5
    assert found["diversity"] == pytest.approx((1 / 3 + 1 + 2 / 3) / 3)
    assert (found["unique"], found["missing"]) == (1.0, 0)


def test_a_missing_truth_is_counted_and_enters_no_figure() -> None:
    nan = float("nan")
    found = summarised(predicted=[3.0, 4.0, 5.0], conservative=[2.0, 2.0, 2.0], truth=[2.0, nan, nan])
    assert (found["missing"], found["gap"], found["coverage"]) == (2, 1.0, 1.0)
    assert found["truth"]["mean"] == 2.0
    assert found["predicted"]["mean"] == 4.0


def test_an_infinite_figure_is_unknown() -> None:
    inf = float("inf")
    found = summarised(predicted=[inf, inf, inf], conservative=[-inf, 1.0, 1.0], truth=[0.0, 0.0, 0.0])
    assert (found["predicted"], found["gap"]) == (None, None)
    assert found["conservative"]["mean"] == 1.0


def test_the_selected_designs_of_a_run_follow_its_own_score(finished: Path) -> None:
    table = pd.read_csv(finished / "designs.csv")
    assert list(table.columns[:5]) == ["method", "column", "rank", "design", "valid"]
    for method in ("Random", "Pretrained", "BRAID-bootstrap"):
        chosen = table[(table["method"] == method) & (table["column"] == "selected")]
        assert chosen["design"].is_unique
        assert chosen["conservative"].is_monotonic_decreasing
        assert list(chosen["rank"]) == list(range(1, len(chosen) + 1))


def test_strl_selects_by_its_mean(tmp_path: Path) -> None:
    table = pd.read_csv(run(tiny(objective={"type": "strl"}), tmp_path) / "designs.csv")
    chosen = table[(table["method"] == "STRL-bootstrap") & (table["column"] == "selected")]
    assert chosen["predicted"].is_monotonic_decreasing
    assert not chosen["conservative"].is_monotonic_decreasing


@pytest.mark.parametrize("some", [True, False])
def test_a_run_survives_an_empty_selection(some: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def valid(self: Motif, x: Tensor) -> Tensor:
        return (x[:, :, 3] == 1).all(1) if some else torch.zeros(len(x), dtype=torch.bool)

    monkeypatch.setattr(Motif, "valid", valid)
    folder = run(tiny(), tmp_path)
    own = row(folder, "BRAID-bootstrap")
    if not some:
        assert (own["n"], own["shortfall"], own["unique"], own["valid"], own["truth"]) == (0, 16, None, None, None)
    runs, left_out = read_runs([folder])
    groups = group_runs(runs)
    assert left_out == []
    assert "BRAID-bootstrap" in summary_text(groups)
    assert write_page(groups, folder).is_file()


def test_missing_truths_reach_the_results_as_a_number_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Motif.truth

    def patchy(self: Motif, x: Tensor) -> Tensor:
        return torch.where(x[:, 0, 0] == 1, torch.nan, original(self, x))  # what starts with A was never measured

    monkeypatch.setattr(Motif, "truth", patchy)
    folder = run(tiny(), tmp_path)
    table = pd.read_csv(folder / "designs.csv")
    for found in read(folder)["rows"][1:]:
        part = table[(table["method"] == found["method"]) & (table["column"] == found["column"])]
        assert found["missing"] == part["design"].str.startswith("A").sum() == part["truth"].isna().sum()
    assert row(folder, "Random", "raw")["missing"] > 0
    groups = group_runs(read_runs([folder])[0])
    assert "nan" not in summary_text(groups)


def test_the_offline_row_is_the_table(finished: Path) -> None:
    data: LabelledDesigns = tiny().task.build(0).offline()
    offline = row(finished, "Offline", "raw")
    assert offline["n"] == len(data)
    assert offline["truth"]["q100"] == float(data.y.max())
    assert offline["unique"] == 1.0
