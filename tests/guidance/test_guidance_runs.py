"""Both inference-time methods in a whole run, on both kinds of letters, reopened from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braid_core.experiment.reopen import open_run
from braid_core.experiment.run import run
from braid_core.registry.spec import component
from tests.experiment.tiny import read, row, tiny

METHODS = [
    {"type": "guidance", "level": 3.0},
    {"type": "guidance", "potential": "reward", "conservative": True},
    {"type": "best-of-n", "n": 8},
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the methods share one pretrained backbone and one oracle."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("objective", METHODS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_run_from_spec_to_report(objective: dict[str, Any], out: Path) -> None:
    spec = tiny(objective=component("objective", objective))
    folder = run(spec, out)
    label = spec.label
    drawn, pretrained = (row(folder, method, "raw") for method in (label, "Pretrained"))
    assert drawn["n"] == 16
    assert drawn["kl"] > 0
    score = "conservative" if spec.objective.type == "best-of-n" or objective.get("conservative") else "predicted"
    assert drawn[score]["mean"] > pretrained[score]["mean"]
    designs = open_run(folder).sample(5, 0)
    assert len(designs) == 5
    meta = read(folder / "checkpoints" / "objective", "stage.json")["meta"]
    if spec.objective.type == "guidance":
        results = read(folder)
        reward = objective.get("potential") == "reward"
        assert meta["target"] == (None if reward else pytest.approx(results["task"]["offline"]["max"]))
        expected = results["task"]["offline"]["std"] if reward else results["oracle"]["rmse"]
        assert meta["scale"] == pytest.approx(expected)
