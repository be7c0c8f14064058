"""A truth that is learned: asked when all is decided, missed by no method, and told how far it can be trusted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import braid_tasks.library as library
import pandas as pd
import pytest
import torch
from braid_tasks import UTRSpec
from braid_tasks.library import LibraryTask
from braid_tasks.motif import Motif
from torch import Tensor

from braid_core.experiment.bench_table import results_table
from braid_core.experiment.results import DOUBTS
from braid_core.experiment.run import run
from braid_core.interfaces import Doubt

from .tiny import STAGES, read, row, stored, tiny

BLOCKED = """
import sys
from braid_tasks import UTRSpec
from braid_core.experiment.run import run
from tests.experiment.tiny import tiny

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "braid_tasks.evaluator":
            raise ImportError("there is no evaluator here")

sys.meta_path.insert(0, Blocked())
try:
    run(tiny(task=UTRSpec(n=120)), sys.argv[1])
except ImportError as error:
    print(error)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> UTRSpec:
    """A small UTR task with an evaluator of a thousand UTRs."""
    monkeypatch.setattr(library, "MOST", 1000)
    return UTRSpec(n=120)


def test_d_eval_is_opened_after_everything_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: UTRSpec
) -> None:
    opened: list[str] = []
    for name in ("_evaluation", "truth", "doubt"):
        original = getattr(LibraryTask, name)

        def poisoned(self: LibraryTask, *rest: Any, name: str = name, original: Any = original) -> Any:
            missing = [kind for kind in STAGES if not stored(tmp_path, kind)]
            assert missing == [], f"{name} was asked too early"
            opened.append(name)
            return original(self, *rest)

        monkeypatch.setattr(LibraryTask, name, poisoned)
    run(tiny(task=small), tmp_path)
    assert opened.count("truth") == 1
    assert "_evaluation" in opened


@pytest.mark.slow
def test_without_an_evaluator_all_designs_are_the_same(tmp_path: Path, small: UTRSpec) -> None:
    command = [sys.executable, "-c", BLOCKED, str(tmp_path / "blocked")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "there is no evaluator here"
    folder = run(tiny(task=small), tmp_path / "whole")
    assert (folder / "results.json").is_file()
    assert not list((tmp_path / "blocked").glob("*/results.json"))
    for kind in STAGES:
        (one,), (other,) = (stored(tmp_path / name, kind) for name in ("blocked", "whole"))
        assert one.name == other.name
        assert (one / "state.safetensors").read_bytes() == (other / "state.safetensors").read_bytes()


def test_every_row_says_how_far_its_truth_can_be_trusted(tmp_path: Path, small: UTRSpec) -> None:
    folder = run(tiny(task=small), tmp_path)
    found = read(folder)
    task = small.build(0)
    assert found["task"]["truth_kind"] == "learned"
    assert "measured designs that no method saw" in found["task"]["truth_note"]

    table = pd.read_csv(folder / "designs.csv")
    chosen = table[(table.method == "BRAID-bootstrap") & (table.column == "selected")]
    x = task.space.encode(chosen.design.to_list())
    doubt = task.doubt(x)
    assert chosen.truth_std.to_list() == pytest.approx(doubt.std.tolist(), rel=1e-6)
    held = set(task.space.decode(doubt.designs))
    assert held <= set(task.space.decode(task._evaluation().x))
    apart = [min(sum(a != b for a, b in zip(one, other, strict=True)) for other in held) / 50 for one in chosen.design]
    assert chosen.evaluator_distance.to_list() == pytest.approx(apart, abs=1e-6)
    assert row(folder, "BRAID-bootstrap")["truth_std"] == pytest.approx(chosen.truth_std.mean(), rel=1e-6)
    assert row(folder, "BRAID-bootstrap")["evaluator_distance"] == pytest.approx(
        chosen.evaluator_distance.mean(), rel=1e-6
    )
    offline = task.doubt(task.offline().x)
    assert row(folder, "Offline", "raw")["truth_std"] == pytest.approx(float(offline.std.double().mean()), rel=1e-6)
    assert all(entry[name] > 0 for entry in [*found["rows"], *found["history"]] for name in DOUBTS)

    labels = dict.fromkeys(("task", "backbone", "method", "objective", "oracle"), "a") | {"seed": 0}
    flat = results_table([{"cell": labels, "error": None, **found}])
    assert flat.truth_std.to_list() == [entry["truth_std"] for entry in found["rows"]]


def test_an_exact_truth_is_not_doubted(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    found = read(folder)
    assert (found["task"]["truth_kind"], found["task"]["truth_note"]) == ("computed", None)
    assert all(entry[name] is None for entry in [*found["rows"], *found["history"]] for name in DOUBTS)
    assert set(DOUBTS).isdisjoint(pd.read_csv(folder / "designs.csv"))


def test_without_a_truth_there_is_nothing_to_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motif, "has_truth", False)
    monkeypatch.setattr(Motif, "doubt", lambda self, x: pytest.fail("doubted a truth that there is not"))
    assert read(run(tiny(), tmp_path))["task"]["truth_kind"] is None


def test_the_distance_is_that_of_the_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = tiny().task.build(0).offline().x[:1]

    def doubt(self: Motif, x: Tensor) -> Doubt:
        return Doubt(torch.full((len(x),), 0.25), design, "note")

    monkeypatch.setattr(Motif, "doubt", doubt)
    folder = run(tiny(), tmp_path)
    table = pd.read_csv(folder / "designs.csv")
    (word,) = tiny().task.build(0).space.decode(design)
    apart = [sum(a != b for a, b in zip(one, word, strict=True)) / 4 for one in table.design]
    assert table.evaluator_distance.to_list() == pytest.approx(apart, abs=1e-6)
    assert set(table.truth_std) == {0.25}
