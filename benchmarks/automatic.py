"""Is what a run chooses on offline data a good choice? Beside a fixed grid, in hindsight: by the true reward.

Of the budget of path KL, and of the scale c of the penalty. Nothing is chosen by what this prints.

    python benchmarks/automatic.py budget    # prints Markdown; finished stages stay in runs/automatic
    python benchmarks/automatic.py scale
    python benchmarks/automatic.py scale 1   # seed 1 alone: two processes can share the work
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from braid_core import RunSpec, run

OUT = Path("runs/automatic")
BUDGETS, SCALES = (1.0, 2.0, 4.0, 8.0), (0.25, 1.0, 4.0, 16.0)
ORACLES = ("bootstrap", "rkhs")
TASKS: dict[str, Any] = {
    "TF-Bind-8": "tf-bind-8",
    "TF-Bind-8, 300 noisy labels, cap 95 %": {"type": "tf-bind-8", "n": 300, "cap": 0.95, "noise": 1.0},
    "Shine–Dalgarno": "shine-dalgarno",
    "motif": "motif",
    "manifold": "manifold",
}
SEEDS, ASKED = (0, 1), 128


class Found(NamedTuple):
    """The selected designs' median true reward (offline standard deviations above the offline mean), how many there
    are, and what was chosen for the run."""

    reward: float
    n: int
    budget: float | None
    c: float


def tuned(task: Any, objective: dict[str, Any], oracle: dict[str, Any], seed: int) -> Found:
    """One run."""
    backbone = "gaussian" if task == "manifold" else "masked"
    spec = RunSpec(task=task, backbone=backbone, objective=objective, oracle=oracle, seed=seed)
    found = json.loads((run(spec, OUT) / "results.json").read_text())
    row = next(r for r in found["rows"] if (r["method"], r["column"]) == (found["label"], "selected"))
    offline, chosen = found["task"]["offline"], found["selection"]
    reward = (row["truth"]["q50"] - offline["mean"]) / offline["std"]
    return Found(reward, row["n"], chosen and chosen["chosen"], found["oracle"]["c"])


def told(found: Found) -> str:
    return f"{found.reward:.2f}" + ("" if found.n >= ASKED else f" ({found.n})")


def print_row(head: str, grid: Sequence[Found], auto: Found, taken: float | None) -> None:
    full = [one.reward for one in grid if one.n >= ASKED]
    loses = f"{max(full) - auto.reward:+.2f}" if full else "–"
    print(f"| {head} | {' | '.join(map(told, grid))} | {taken:g} | {told(auto)} | {loses} |", flush=True)


def budget(seeds: Sequence[int]) -> None:
    """A row for each task and seed."""
    print("| task | seed | " + " | ".join(f"{one:g} nats" for one in BUDGETS) + " | auto takes | and gets | loses |")
    print("|---|---|" + "---|" * (len(BUDGETS) + 3))
    for seed, (name, task) in product(seeds, TASKS.items()):
        every = [
            tuned(task, {"type": "braid", "kl_budget": one}, {"type": "bootstrap"}, seed) for one in (*BUDGETS, "auto")
        ]
        print_row(f"{name} | {seed}", every[:-1], every[-1], every[-1].budget)


def scale(seeds: Sequence[int]) -> None:
    """A row for each task, oracle and seed; without a penalty: STRL."""
    print(
        "| task | oracle | seed | none | "
        + " | ".join(f"c = {c:g}" for c in SCALES)
        + " | auto takes | and gets | loses |"
    )
    print("|---|---|---|" + "---|" * (len(SCALES) + 4))
    for seed, (name, task), oracle in product(seeds, TASKS.items(), ORACLES):
        none = tuned(task, {"type": "strl"}, {"type": oracle}, seed)
        every = [tuned(task, {"type": "braid"}, {"type": oracle, "c": c}, seed) for c in (*SCALES, "auto")]
        print_row(f"{name} | {oracle} | {seed}", [none, *every[:-1]], every[-1], every[-1].c)


def main(what: str, *seeds: str) -> None:
    """``budget`` or ``scale``, of these seeds or of all."""
    libraries = f"torch {version('torch')}, Python {platform.python_version()}"
    print(f"{libraries}, {platform.machine()}, one thread, {datetime.now(UTC):%F}\n")
    {"budget": budget, "scale": scale}[what]([int(seed) for seed in seeds] or SEEDS)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["scale"])
