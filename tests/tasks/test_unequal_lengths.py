"""A table of peptides of unequal length, from the file to candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from braid_core.experiment.reopen import open_run
from braid_core.experiment.run import run
from braid_core.experiment.spec import parse_spec
from tests.checks import seeded

SMALL: dict[str, Any] = {
    "backbone": {"type": "masked", "network": {"width": 16}, "train_steps": 40, "batch": 32},
    "oracle": {"type": "bootstrap", "members": 2, "network": {"width": 8, "depth": 1, "train_steps": 20, "batch": 32}},
    "objective": {"type": "braid", "steps": 10, "batch": 16},
    "designs": 16,
    "pool": 64,
    "device": "cpu",
}


def peptides(folder: Path) -> Path:
    """Sixty of them, of 2 to 6 letters; the more K, the better."""
    letters = torch.randint(4, (60, 6), generator=seeded(0)).tolist()
    lengths = torch.randint(2, 7, (60,), generator=seeded(1)).tolist()
    words = ["".join("AKLW"[i] for i in row[:n]) for row, n in zip(letters, lengths, strict=True)]
    path = folder / "peptides.csv"
    path.write_text("\n".join(["sequence,score", *(f"{word},{word.count('K') + 0.1 * len(word)}" for word in words)]))
    return path


@pytest.mark.parametrize("backbone", ["masked", "uniform"])
def test_a_run_on_unequal_lengths(tmp_path: Path, backbone: str) -> None:
    """Designs of several lengths; those with a pad inside are drawn, counted as invalid, and not delivered."""
    options = {**SMALL["backbone"], "type": backbone, **({"steps": 6} if backbone == "uniform" else {})}
    task = {"type": "table", "path": str(peptides(tmp_path)), "alphabet": "AKLW", "pad": "-"}
    folder = run(parse_spec({**SMALL, "backbone": options, "task": task}), tmp_path / "runs")
    table = pd.read_csv(folder / "designs.csv", keep_default_na=False, dtype={"design": str})
    inside = table["design"].str.contains("-") | (table["design"] == "")
    assert (table["valid"] == ~inside).all()
    assert inside.any()
    selected = table[table["column"] == "selected"]
    assert selected["valid"].all()
    assert len(selected) > 0
    assert selected["design"].str.len().nunique() > 2
    again = open_run(folder, "cpu").sample(20)["design"]
    assert not again.str.contains("-").any()
    assert (again.str.len().between(1, 6)).all()
