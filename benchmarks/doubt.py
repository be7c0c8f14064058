"""Does the penalty know where the prediction is wrong? Every design of two landscapes, by distance to the data.

An oracle is fitted to n offline designs (the tasks' default caps); then r̂ and ĝ of *all* designs are compared with the
truth. Within a class of designs equally far from the data (letters that differ from the nearest one), the rank
correlation of ĝ with |r̂ − r| says whether the penalty knows more than the distance does.

    python benchmarks/doubt.py      # about ten minutes on two cores; writes docs/benchmarks/doubt.svg, prints Markdown
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from braid_bootstrap import BootstrapSpec
from braid_gp import GPSpec
from braid_rkhs import RKHSSpec
from braid_tasks import ShineDalgarnoSpec, TFBind8Spec
from scipy.stats import spearmanr
from torch import Tensor

from braid_core.experiment.calibration import Beliefs, beliefs
from braid_core.experiment.metrics import novelty
from braid_core.interfaces import Streams, Task, Tokens
from braid_core.registry.spec import OracleSpec

CPU, SEEDS, FEWEST = torch.device("cpu"), (0, 1, 2), 200
PICTURE = Path(__file__).parents[1] / "docs/benchmarks/doubt.svg"
LANDSCAPES = {"TF-Bind-8": TFBind8Spec, "Shine–Dalgarno": ShineDalgarnoSpec}
SIZES = (300, 1_000, 10_000)
ORACLES: dict[str, OracleSpec] = {
    "bootstrap": BootstrapSpec(),
    "gp": GPSpec(),
    "gp, learned": GPSpec(features="learned"),
    "rkhs, learned": RKHSSpec(),
    "rkhs, Nyström": RKHSSpec(features="nystroem"),
}
Ranks = dict[str, tuple[float, int]]


def landscape(task: Task) -> tuple[Tensor, Tensor]:
    """Every design that has a true reward, and the reward."""
    assert isinstance(task.space, Tokens)
    v, length = len(task.space.alphabet), task.space.length
    codes = torch.arange(v**length)[:, None] // v ** torch.arange(length - 1, -1, -1) % v
    x = task.space.one_hot(codes)
    truth = task.truth(x)
    return x[truth.isfinite()], truth[truth.isfinite()]


def ranks(believed: Beliefs, truth: Tensor, distance: Tensor) -> Ranks:
    """The rank correlation of penalty and error, and the number of designs, at each distance and over all."""
    error, found = (believed.mean - truth).abs(), {}
    for name, rows in {"all": distance > 0, **{str(d): distance == d for d in range(1, 10)}}.items():
        if int(rows.sum()) >= FEWEST:
            found[name] = float(spearmanr(believed.penalty[rows], error[rows]).statistic), int(rows.sum())
    return found


def measure(name: str, n: int) -> dict[str, list[Ranks]]:
    """What each oracle's penalty ranks, seed by seed."""
    found: dict[str, list[Ranks]] = {label: [] for label in ORACLES}
    for seed in SEEDS:
        task, streams = LANDSCAPES[name](n=n).build(seed), Streams(seed)
        data, (x, truth) = task.offline(), landscape(task)
        distance = (novelty(x, data.x, task.space) * task.space.event_shape[0]).round().long()
        for label, spec in ORACLES.items():
            oracle = spec.build(task.space, CPU)
            oracle.fit(data, streams.get("oracle"))
            found[label].append(ranks(beliefs(oracle, x), truth, distance))
    return found


def mean(found: list[Ranks], key: str) -> float | None:
    known = [entry[key][0] for entry in found if key in entry]
    return sum(known) / len(known) if len(known) == len(found) else None


def main() -> None:
    """Measure, print, draw."""
    torch.set_num_threads(1)
    matplotlib.rcParams.update({"svg.hashsalt": "braid", "font.size": 9})
    figure, axes = plt.subplots(len(LANDSCAPES), len(SIZES), figsize=(10, 6), sharey=True, layout="constrained")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "gpytorch", "scikit-learn"))
    print(f"{libraries}, Python {platform.python_version()}, {platform.machine()}, {datetime.now(UTC):%F}, 3 seeds\n")
    for row, name in enumerate(LANDSCAPES):
        for column, n in enumerate(SIZES):
            found = measure(name, n)
            keys = [key for key in map(str, range(1, 10)) if mean(found["gp"], key) is not None]
            counts = {key: round(sum(entry[key][1] for entry in found["gp"]) / len(SEEDS)) for key in keys}
            print(f"### {name}, n = {n:,}\n\n| oracle | all | {' | '.join(f'{k} ({counts[k]:,})' for k in keys)} |")
            print("|---" * (len(keys) + 2) + "|")
            for label, entries in found.items():
                values = [mean(entries, key) for key in ("all", *keys)]
                print(f"| {label} | {' | '.join('–' if v is None else f'{v:.2f}' for v in values)} |", flush=True)
                axes[row, column].plot([int(key) for key in keys], values[1:], "o-", label=label, markersize=3)
            print()
            axes[row, column].set_title(f"{name}, n = {n:,}", loc="left")
            axes[row, column].set_xticks([int(key) for key in keys])
            axes[row, column].axhline(0, color="grey", linewidth=0.6)
    for axis in axes[-1]:
        axis.set_xlabel("letters away from the nearest offline design")
    for axis in axes[:, 0]:
        axis.set_ylabel("rank correlation of ĝ and |r̂ − r|")
    axes[0, 0].legend(frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
