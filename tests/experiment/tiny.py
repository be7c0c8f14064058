"""Runs that take a moment: small networks, few steps, designs of four letters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from braid_core.experiment.spec import RunSpec, parse_spec

STAGES = ("calibration", "oracle", "backbone", "objective", "references", "designs", "history")
TINY: dict[str, Any] = {
    "task": {"type": "motif", "length": 4, "n": 60, "unlabelled": 200},
    "backbone": {"type": "masked", "network": {"width": 8, "depth": 1}, "train_steps": 20, "batch": 32},
    "oracle": {"type": "bootstrap", "members": 2, "network": {"width": 8, "depth": 1, "train_steps": 20, "batch": 32}},
    "objective": {"type": "braid", "steps": 10, "batch": 16, "milestones": 2},
    "designs": 16,
    "pool": 64,
    "device": "cpu",
}


def tiny(**changes: Any) -> RunSpec:
    """The tiny run; a mapping changes options of a component, anything else a field."""
    merged = {
        name: {**TINY[name], **value} if isinstance(value, Mapping) and "path" not in value else value
        for name, value in changes.items()
    }
    return parse_spec({**TINY, **merged})


def spec_file(folder: Path, name: str = "run.toml", **changes: Any) -> Path:
    """The tiny run as a TOML file."""
    path = folder / name
    path.write_text(tiny(**changes).to_toml())
    return path


def table_file(folder: Path, rows: int = 50, length: int = 6) -> Path:
    """A table of measured designs as a user would bring it."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.randint(4, (rows, length), generator=generator).tolist()
    scores = torch.randn(rows, generator=generator).tolist()
    lines = ["".join("ACGT"[i] for i in row) + f",{score:.3f}" for row, score in zip(letters, scores, strict=True)]
    path = folder / "designs.csv"
    path.write_text("\n".join(["sequence,score", *lines, ""]))
    return path


def read(folder: Path, name: str = "results.json") -> Any:
    """A JSON file of a run folder."""
    return json.loads((folder / name).read_text())


def row(folder: Path, method: str, column: str = "selected") -> dict[str, Any]:
    """One row of the results."""
    found: list[dict[str, Any]] = read(folder)["rows"]
    return next(row for row in found if (row["method"], row["column"]) == (method, column))


def stored(out: Path, kind: str) -> list[Path]:
    """The finished stages of one kind."""
    return sorted((out / ".stages").glob(f"{kind}-*"))


def unfinished(out: Path) -> list[Path]:
    """What an interrupted process has left."""
    return [path for path in out.rglob(".*") if path.name.endswith(".tmp")]
