"""Do learned rewards get exploited, and does pessimism help? Predicted and true reward along the path KL.

On two complete landscapes an oracle is fitted to few or many labels, below one of two reward quantiles, clean or with
noise of one offline standard deviation; STRL and BRAID are tuned along rising budgets of path KL (each a hundred
steps), so that both are seen at equal KL. At each budget: 512 draws as they come, and the best 128 of 1,024 by the
method's own score. Rewards are in standard deviations of the whole landscape, above its mean.

    python benchmarks/over_optimisation.py run     # cells of a minute; finished ones stay in runs/over_optimisation
    python benchmarks/over_optimisation.py table   # prints Markdown, writes docs/benchmarks/over_optimisation.svg
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec
from braid_gp import GPSpec
from braid_strl import StrlSpec
from braid_tasks import ShineDalgarnoSpec, TFBind8Spec

from braid_core.experiment.designs import Drawing
from braid_core.interfaces import Backbone, Oracle, Problem, Sampler, Streams, Task, Tokens
from braid_core.registry.spec import OracleSpec
from braid_core.tuning.spec import FineTuningSpec

CPU, OUT = torch.device("cpu"), Path("runs/over_optimisation")
PICTURE = Path(__file__).parents[1] / "docs/benchmarks/over_optimisation.svg"
LANDSCAPES = {"TF-Bind-8": TFBind8Spec, "Shine–Dalgarno": ShineDalgarnoSpec}
METHODS: dict[str, type[StrlSpec] | type[BraidSpec]] = {"STRL": StrlSpec, "BRAID": BraidSpec}
ORACLES: dict[str, OracleSpec] = {"bootstrap": BootstrapSpec(), "gp": GPSpec()}
SIZES, CAPS, NOISES, SEEDS = (300, 1_000, 5_000), (0.5, 0.95), (0.0, 1.0), (0, 1, 2)
BUDGETS, DRAWS, POOL, DELIVERED = (0.5, 1.0, 2.0, 4.0), 512, 1024, 128
Cell = dict[str, Any]


@cache
def pretrained(name: str, seed: int) -> Backbone:
    """The backbone that all cells of a landscape and seed share; it has seen designs, no rewards."""
    task = LANDSCAPES[name]().build(seed)
    backbone = MaskedSpec().build(task.space, CPU)
    backbone.fit(task.unlabelled(), Streams(seed).get("backbone"))
    return backbone


@cache
def landscape(name: str) -> tuple[float, float]:
    """Mean and standard deviation of all true rewards."""
    task = LANDSCAPES[name]().build(0)
    assert isinstance(task.space, Tokens)
    v, length = len(task.space.alphabet), task.space.length
    codes = torch.arange(v**length)[:, None] // v ** torch.arange(length - 1, -1, -1) % v
    truth = task.truth(task.space.one_hot(codes))
    known = truth[truth.isfinite()]
    return float(known.mean()), float(known.std())


def look(sampler: Sampler, task: Task, oracle: Oracle, spec: FineTuningSpec, seed: int) -> Cell:
    """What is believed and true of a sampler's draws, and of the best by its own score."""
    method, streams = spec.build(), Streams(seed)
    raw = sampler.sample(DRAWS, streams.get("look"))
    assert raw.kl is not None
    best = Drawing(task.space, task.valid, streams, CPU, DELIVERED, POOL).columns(
        "", sampler.sample, lambda x: method.score(oracle.posterior(x))
    )[1]
    found: Cell = {"kl": float(raw.kl.sum(1).mean()), "filled": len(best.x)}
    for column, x in (("raw", raw.x), ("selected", best.x)):
        with torch.no_grad():
            posterior, truth = oracle.posterior(x), task.truth(x)
        known = truth.isfinite()
        parts = {"predicted": posterior.mean, "conservative": posterior.conservative(), "truth": truth}
        found[column] = {key: float(values[known].mean()) for key, values in parts.items()}
        found[column]["kept"] = float((truth >= posterior.conservative())[known].float().mean())
    return found


def cell(label: str, name: str, n: int, cap: float, noise: float, seed: int) -> Cell:
    """Both methods along the budgets, on one table and with one oracle."""
    task, streams = LANDSCAPES[name](n=n, cap=cap, noise=noise).build(seed), Streams(seed)
    data, oracle = task.offline(), ORACLES[label].build(task.space, CPU)
    oracle.fit(data, streams.get("oracle"))
    mean, std = landscape(name)
    found: Cell = {"mean": mean, "std": std, "offline": len(data), "offline_max": float(data.y.max())}
    for method, cls in METHODS.items():
        spec = cls(kl_budget=BUDGETS)
        sampler = spec.build().fit(Problem(data, pretrained(name, seed), oracle, streams))
        rungs = []
        for milestone in sampler.milestones:
            with sampler.at(milestone) as then:
                rungs.append(look(then, task, oracle, spec, seed))
        found[method] = [*rungs, look(sampler, task, oracle, spec, seed)]
    return found


def settings() -> Iterator[tuple[Path, tuple[str, str, int, float, float, int]]]:
    for seed, oracle, name, n, cap, noise in product(SEEDS, ORACLES, LANDSCAPES, SIZES, CAPS, NOISES):
        yield OUT / f"{oracle}-{name}-{n}-{cap}-{noise}-{seed}.json", (oracle, name, n, cap, noise, seed)


def run() -> None:
    """Every cell that is not there yet."""
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for path, setting in settings():
        if not path.exists():
            start = time.process_time()
            path.write_text(json.dumps(cell(*setting)))
            print(f"{path.name}: {time.process_time() - start:.0f} s", flush=True)


def load(*setting: str | float) -> list[Cell]:
    """The finished cells of an oracle, landscape, size, cap and noise: one for each seed."""
    return [json.loads(path.read_text()) for path, known in settings() if path.exists() and known[:5] == setting]


def figure(cells: list[Cell], method: str, rung: int, column: str, key: str) -> list[float]:
    """One figure, of each seed, in standard deviations of the landscape; rewards above its mean."""
    values = [(cell[method][rung][column][key], cell) for cell in cells]
    return [value if key == "kept" else (value - cell["mean"]) / cell["std"] for value, cell in values]


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def table() -> None:
    """Markdown and the picture, from the finished cells."""
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {datetime.now(UTC):%F}\n")
    head = " | ".join(f"{method}: KL, true, gap, kept" for method in METHODS)
    for oracle, (column, rung) in product(ORACLES, (("raw", -1), ("selected", 2), ("selected", -1))):
        print(f"### {oracle}: {column}, at {BUDGETS[rung]:g} nats\n")
        print(f"| landscape | n | cap | noise | seeds | {head} | BRAID − STRL |")
        print("|---|---|---|---|---|---|---|---|")
        for setting in product(LANDSCAPES, SIZES, CAPS, NOISES):
            cells = load(oracle, *setting)
            if cells:
                print_row(setting, cells, rung, column)
        print()
    draw()


def print_row(setting: tuple[str, int, float, float], cells: list[Cell], rung: int, column: str) -> None:
    parts = []
    for method in METHODS:
        true, predicted, kept = (
            average(figure(cells, method, rung, column, key)) for key in ("truth", "predicted", "kept")
        )
        kl, filled = (average([cell[method][rung][key] for cell in cells]) for key in ("kl", "filled"))
        short = f", {filled:.0f} designs" if column == "selected" and filled < DELIVERED else ""
        parts.append(f"{kl:.1f}, {true:.2f}, {predicted - true:+.2f}, {kept:.2f}{short}")
    strl, braid = (figure(cells, method, rung, column, "truth") for method in ("STRL", "BRAID"))
    differences = torch.tensor(braid) - torch.tensor(strl)
    spread = f" ± {float(differences.std()):.2f}" if len(cells) > 1 else ""
    name, n, cap, noise = setting
    difference = f"{float(differences.mean()):+.2f}{spread}"
    print(f"| {name} | {n:,} | {cap:.0%} | {noise:g} | {len(cells)} | {' | '.join(parts)} | {difference} |")


def draw() -> None:
    """Predicted (dashed) and true (drawn out) reward of the designs selected with the bootstrap, along the KL."""
    colours = {"STRL": "#c1553b", "BRAID": "#2a6f97"}
    columns = list(product(CAPS, NOISES))
    size = (len(LANDSCAPES) * len(SIZES), len(columns))
    picture, axes = plt.subplots(*size, figsize=(10, 13), sharex=True, sharey="row", layout="constrained")
    for i, (name, n) in enumerate(product(LANDSCAPES, SIZES)):
        for j, (cap, noise) in enumerate(columns):
            cells, axis = load("bootstrap", name, n, cap, noise), axes[i, j]
            axis.axhline(0, color="#bbbbbb", linewidth=0.6)
            if i == 0:
                axis.set_title(f"below the {cap:.0%} quantile,\n{'noisy' if noise else 'clean'} labels", fontsize=9)
            if j == 0:
                axis.set_ylabel(f"{name}\n{n:,} labels", fontsize=9)
            for method, colour in colours.items():
                for key, style in (("truth", "-"), ("predicted", "--")):
                    known = [rung for rung in range(len(BUDGETS)) if cells]
                    x = [average([cell[method][rung]["kl"] for cell in cells]) for rung in known]
                    y = [average(figure(cells, method, rung, "selected", key)) for rung in known]
                    label = f"{method}, {'true' if key == 'truth' else 'predicted'}"
                    axis.plot(x, y, style, color=colour, marker=".", linewidth=1.3, label=label)
            axis.set_xscale("log", base=2)
            axis.set_xticks(BUDGETS, [f"{b:g}" for b in BUDGETS], fontsize=8)
            axis.tick_params(axis="y", labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    picture.supxlabel("path KL to the pretrained model, nats", fontsize=9)
    picture.supylabel("mean reward of the best 128 of 1,024 draws, landscape standard deviations", fontsize=9)
    picture.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    {"run": run, "table": table}[(sys.argv[1:] or ["table"])[0]]()
