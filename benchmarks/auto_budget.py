"""Is the budget that a run chooses on offline data a good one? Beside a fixed grid, in hindsight: by the true reward.

Nothing is chosen by what this prints.

python benchmarks/auto_budget.py     # prints Markdown; finished stages stay in runs/auto_budget
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from braid_core import RunSpec, run

GRID = (1.0, 2.0, 4.0, 8.0)
TASKS: dict[str, Any] = {
    "TF-Bind-8": "tf-bind-8",
    "TF-Bind-8, 300 noisy labels, cap 95 %": {"type": "tf-bind-8", "n": 300, "cap": 0.95, "noise": 1.0},
    "Shine–Dalgarno": "shine-dalgarno",
    "motif": "motif",
}
SEEDS = (0, 1)


def tuned(task: Any, budget: float | str, seed: int, out: Path) -> tuple[float, float, int]:
    """The budget, the selected designs' median true reward (offline standard deviations above the offline mean), and
    how many there are."""
    spec = RunSpec(task=task, objective={"type": "braid", "kl_budget": budget}, seed=seed)
    found = json.loads((run(spec, out) / "results.json").read_text())
    row = next(r for r in found["rows"] if (r["method"], r["column"]) == (found["label"], "selected"))
    offline, chosen = found["task"]["offline"], found["selection"]
    taken = float(budget) if chosen is None else chosen["chosen"]
    return taken, (row["truth"]["q50"] - offline["mean"]) / offline["std"], row["n"]


def main(out: Path = Path("runs/auto_budget")) -> None:
    """A row for each task and seed."""
    libraries = f"torch {version('torch')}, Python {platform.python_version()}"
    print(f"{libraries}, {platform.machine()}, one thread, {datetime.now(UTC):%F}\n")
    print("| task | seed | " + " | ".join(f"{budget:g} nats" for budget in GRID) + " | auto takes | and gets | loses |")
    print("|---|---|" + "---|" * (len(GRID) + 3))
    for seed, (name, task) in product(SEEDS, TASKS.items()):
        grid = [tuned(task, budget, seed, out) for budget in GRID]
        taken, reward, filled = tuned(task, "auto", seed, out)
        cells = [f"{value:.2f}" + ("" if n >= 128 else f" ({n})") for _, value, n in grid]
        best = max(value for _, value, n in grid if n >= 128)
        got = f"{reward:.2f}" + ("" if filled >= 128 else f" ({filled})")
        print(f"| {name} | {seed} | {' | '.join(cells)} | {taken:g} | {got} | {best - reward:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
