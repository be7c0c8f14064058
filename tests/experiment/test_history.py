"""What tuning did on its way, and what of the regret bound can be estimated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from braid_core.experiment.regret import RIDGE, concentrability, regret
from braid_core.experiment.run import run
from braid_core.interfaces import LabelledDesigns
from tests.checks import seeded
from tests.doubles import FormulaOracle

from .tiny import read, row, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tiny(), tmp_path_factory.mktemp("history"))


def test_every_milestone_is_judged_like_the_raw_column(folder: Path) -> None:
    history = read(folder)["history"]
    assert [entry["step"] for entry in history] == [3, 6]
    raw = row(folder, "BRAID-bootstrap", "raw")
    for entry in history:
        assert entry.keys() == raw.keys() | {"step"}
        assert (entry["method"], entry["column"], entry["n"]) == ("BRAID-bootstrap", "raw", 16)
        assert entry["gap"] == pytest.approx(entry["predicted"]["mean"] - entry["truth"]["mean"])
    assert 0 <= history[0]["kl"] <= history[1]["kl"] <= raw["kl"]


def test_the_designs_delivered_are_those_of_the_last_step(folder: Path) -> None:
    header, *lines = (folder / "designs.csv").read_text().splitlines()
    assert "step" not in header.split(",")
    assert sum(line.startswith("BRAID-bootstrap,raw,") for line in lines) == 16


def test_without_milestones_there_is_no_history(tmp_path: Path) -> None:
    assert read(run(tiny(objective={"milestones": 0}), tmp_path))["history"] == []


def test_the_penalties_of_the_regret_bound(folder: Path) -> None:
    found = read(folder)["regret"]
    raw = row(folder, "BRAID-bootstrap", "raw")
    doubt = raw["predicted"]["mean"] - raw["conservative"]["mean"]
    assert found["penalty"]["BRAID-bootstrap, raw"] == pytest.approx(doubt, rel=1e-5)
    assert found["penalty"].keys() >= {"best 10% offline", "Pretrained, raw", "BRAID-bootstrap, selected"}
    assert found["concentrability"] == {}  # an ensemble has no features


def test_the_means_are_those_of_the_formula() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    data = LabelledDesigns(x, torch.tensor([0.0, 0.0, 1.0, 0.0]))
    oracle = FormulaOracle(lambda x: x[:, 0], lambda x: x[:, 0] + 1)
    found = regret(oracle, data, {"law": x[:2], "nobody": x[:0]})
    assert found["penalty"] == {"best 10% offline": 3.0, "law": 1.5}
    assert found["offline"] == pytest.approx(((1 + 4 + 9 + 16) / 4) ** 0.5)


def test_concentrability_is_the_largest_generalised_eigenvalue() -> None:
    law = torch.randn(40, 3, generator=seeded(1)) * torch.tensor([1.0, 0.2, 3.0])
    offline = torch.randn(60, 3, generator=seeded(2))
    own, other = (np.asarray(phi.double().T @ phi.double() / len(phi)) for phi in (law, offline))
    expected = scipy.linalg.eigh(own, other + RIDGE * np.diag(other).mean() * np.eye(3), eigvals_only=True)[-1]
    assert concentrability(law, offline) == pytest.approx(expected)
    assert concentrability(law, 0 * offline) is None
    assert concentrability(offline, offline) == pytest.approx(1, abs=1e-4)
    assert concentrability(2 * offline, offline) == pytest.approx(4, rel=1e-4)


def test_oracles_with_features_tell_how_far_the_data_cover_a_law(tmp_path: Path) -> None:
    oracle = {"type": "rkhs", "features": "nystroem", "components": 16}
    found = read(run({**tiny().to_dict(), "oracle": oracle}, tmp_path))["regret"]["concentrability"]
    assert found.keys() >= {"Pretrained, raw", "BRAID-rkhs, raw", "best 10% offline"}
    assert all(value > 0 for value in found.values())
