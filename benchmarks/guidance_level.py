"""Choosing the default level of guidance on offline data: predicted figures only, the truth is not printed.

python benchmarks/guidance_level.py [TASK ...]      # prints Markdown
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from braid_core import RunSpec, run

TASKS = ("tf-bind-8", "shine-dalgarno", "motif", "utr", "yeast-promoter")
LEVELS = (0.3, 1.0, 3.0, 10.0)


def main(tasks: list[str], out: Path = Path("runs/guidance_level")) -> None:
    """Run both potentials at all levels, seed 0, and print what the oracle believes of the selected designs."""
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| task | potential | level | predicted | conservative | how many | unique raw | path KL |")
    print("|---|---|---|---|---|---|---|---|")
    for task in tasks:
        for potential in ("likelihood", "reward"):
            for level in LEVELS:
                _row(task, potential, level, out)


def _row(task: str, potential: str, level: float, out: Path) -> None:
    objective = {"type": "guidance", "potential": potential, "level": level}
    found = json.loads((run(RunSpec(task=task, objective=objective), out) / "results.json").read_text())
    unit, rows = found["task"]["offline"], [row for row in found["rows"] if row["method"] == found["label"]]
    raw, selected = (next(row for row in rows if row["column"] == column) for column in ("raw", "selected"))
    scores = [(selected[name]["mean"] - unit["mean"]) / unit["std"] for name in ("predicted", "conservative")]
    predicted, conservative = (f"{score:.2f}" for score in scores)
    print(
        f"| {task} | {potential} | {level} | {predicted} | {conservative} | {selected['n']} | {raw['unique']:.2f} "
        f"| {found['kl']:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(TASKS))
