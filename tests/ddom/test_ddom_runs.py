"""DDOM in a whole run, reopened from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from braid_core.experiment.reopen import open_run
from braid_core.experiment.run import run
from braid_core.registry.spec import component
from tests.experiment.tiny import read, row, tiny


@pytest.mark.parametrize("backbone", [{"train_steps": 200}, {"type": "uniform", "steps": 4, "train_steps": 200}])
def test_a_run_from_spec_to_report(backbone: dict[str, object], tmp_path: Path) -> None:
    folder = run(tiny(backbone=backbone, objective=component("objective", {"type": "ddom"})), tmp_path)
    drawn, offline = row(folder, "DDOM-bootstrap", "raw"), read(folder)["task"]["offline"]
    assert drawn["kl"] > 0
    assert drawn["truth"]["mean"] > offline["mean"] + offline["std"]  # the table holds the worse half of all designs
    stage = read(folder / "checkpoints" / "objective", "stage.json")
    expected = (offline["max"] - offline["mean"]) / offline["std"]
    assert stage["meta"]["target"] == pytest.approx(expected, rel=1e-4)
    assert len(open_run(folder).sample(5, 0)) == 5
