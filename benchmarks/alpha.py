"""Choosing the default alpha on offline data: predicted figures only, the truth is not printed.

python benchmarks/alpha.py                # prints Markdown; about four minutes on two cores
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from braid_core import RunSpec, run

GRID = {"braid": (0.05, 0.1, 0.2, 0.3, 0.5), "strl": (0.1, 0.2, 0.3)}


def main(out: Path = Path("runs/alpha")) -> None:
    """Run the grid on TF-Bind-8, seed 0, and print what the oracle believes of the selected designs."""
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| objective | alpha | conservative score of the selected | how many | path KL |\n|---|---|---|---|---|")
    for objective, alphas in GRID.items():
        for alpha in alphas:
            folder = run(RunSpec(task="tf-bind-8", objective={"type": objective, "alpha": alpha}), out)
            found = json.loads((folder / "results.json").read_text())
            row = next(r for r in found["rows"] if (r["method"], r["column"]) == (found["label"], "selected"))
            score = row["conservative"]["mean"]
            print(f"| {objective} | {alpha} | {score:.4f} | {row['n']} | {found['kl']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
