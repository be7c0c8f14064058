"""Choosing the default budget of path KL on offline data: predicted figures only, the truth is not printed.

python benchmarks/default_budget.py [TASK ...]   # prints Markdown; finished stages stay in runs/default_budget
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from braid_core import RunSpec, run

BUDGETS = {"braid": (1.0, 2.0, 4.0, 8.0), "strl": (1.0, 2.0, 4.0, 8.0)}
SLOW = {"braid": (2.0, 4.0)}
TASKS: dict[str, Any] = {
    "tf-bind-8": "tf-bind-8",
    "shine-dalgarno": "shine-dalgarno",
    "motif": "motif",
    "table": {"type": "table", "path": "examples/table/designs.csv", "sequence": "sequence", "score": "y"},
    "utr": "utr",
    "yeast-promoter": "yeast-promoter",
}
LIBRARIES = ("utr", "yeast-promoter")


def figures(task: Any, method: str, budget: float, out: Path) -> dict[str, Any]:
    """What the oracle believes of the selected designs, and whether the raw draws are still many."""
    folder = run(RunSpec(task=task, objective={"type": method, "kl_budget": budget}), out)
    found = json.loads((folder / "results.json").read_text())
    raw, best = ({(r["method"], r["column"]): r for r in found["rows"]}[found["label"], c] for c in ("raw", "selected"))
    offline = found["task"]["offline"]
    return {
        "score": (best["conservative"]["mean"] - offline["mean"]) / offline["std"],
        "filled": best["n"],
        "unique": raw["unique"],
        "diversity": raw["diversity"],
        "kl": found["kl"],
    }


def main(names: list[str], out: Path = Path("runs/default_budget")) -> None:
    """Every budget on every task, seed 0."""
    libraries = f"torch {version('torch')}, Python {platform.python_version()}"
    print(f"{libraries}, {platform.machine()}, one thread, {datetime.now(UTC):%F}\n")
    print("| task | method | budget | KL | conservative score of the selected | how many | raw: unique | diversity |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names or list(TASKS):
        for method, budgets in (SLOW if name in LIBRARIES else BUDGETS).items():
            for budget in budgets:
                f = figures(TASKS[name], method, budget, out)
                print(
                    f"| {name} | {method} | {budget:g} | {f['kl']:.2f} | {f['score']:+.2f} | {f['filled']} "
                    f"| {f['unique']:.2f} | {f['diversity']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])
