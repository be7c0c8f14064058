"""Do backbones draw what nature could have made? Held-out natural designs are the judge, on three libraries.

A fifth of each library is held out. Generators learn the rest and draw as many designs as were held out, at most 2,000.
Beside them: *independent letters*, drawn position by position with the training part's frequencies (the floor), and as
many of the training designs themselves (the ceiling, as good as a sample of this size can be).

    python benchmarks/naturalness.py run    # each cell in a process of its own; finished ones are kept in runs/
    python benchmarks/naturalness.py table  # prints Markdown from the finished cells
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from braid_discrete import MaskedSpec, UniformSpec
from braid_simplex import SimplexSpec
from braid_simplex.process import SimplexProcess
from braid_tasks import ShineDalgarnoSpec, UTRSpec, YeastPromoterSpec, utr, yeast_promoter
from braid_tasks.families import families
from torch import Tensor

from braid_core.experiment.metrics import novelty
from braid_core.experiment.naturalness import correlation
from braid_core.interfaces import Condition, LabelledDesigns, Log, Predict, Process, Streams, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import DenoiserSpec, PretrainingSpec
from braid_core.registry.spec import TaskSpec
from braid_core.tuning.rollout import rollout

CPU, OUT, SEED = torch.device("cpu"), Path("runs/naturalness"), 0
HELD_OUT, MOST, BLOCK = 0.2, 2_000, 512
SAMPLES = 20
"""How often floor and ceiling are drawn: their spread is that of any sample of this size."""
ASKED = 16_000
"""Designs, with repeats, over which a bound is averaged."""


@dataclass(frozen=True)
class Library:
    """A task's natural designs. ``near``: designs that differ in at most so many letters are one family.

    Families stay on one side of the split, unless designs are to be judged by their own ``siblings``.
    """

    task: TaskSpec
    near: int
    siblings: bool = False


LIBRARIES = {
    "UTR": Library(UTRSpec(), utr.NEAR),
    "yeast promoters, other families": Library(YeastPromoterSpec(), yeast_promoter.NEAR),
    "yeast promoters, the same families": Library(YeastPromoterSpec(), yeast_promoter.NEAR, siblings=True),
    "Shine–Dalgarno": Library(ShineDalgarnoSpec(), 0),
}
CONV = DenoiserSpec(kind="conv", width=64, depth=5)
BACKBONES: dict[str, PretrainingSpec] = {
    "masked": MaskedSpec(),
    "uniform": UniformSpec(),
    "simplex": SimplexSpec(),
    "masked, conv": MaskedSpec(network=CONV),
    "uniform, conv": UniformSpec(network=CONV),
    "simplex, conv": SimplexSpec(network=CONV),
}
QUICK = ("masked", "uniform", "simplex")
NEAR_COPIES = (*QUICK, "masked, conv")
CELLS = [
    ("Shine–Dalgarno", ("masked", "uniform", "simplex")),
    ("UTR", ("masked", "masked, conv", "uniform, conv", "simplex, conv")),
    ("yeast promoters, other families", NEAR_COPIES),
    ("yeast promoters, the same families", NEAR_COPIES),
]
FLOOR, CEILING = "independent letters", "training designs"


@dataclass(frozen=True)
class Parts:
    """What generators learn, what judges them, and how to draw from and score them."""

    space: Tokens
    training: Tensor
    held_out: Tensor
    near: int

    @property
    def draws(self) -> int:
        return min(len(self.held_out), MOST)


def parts(library: Library, seed: int) -> Parts:
    """The split: whole families on one side, unless siblings are to judge."""
    task = library.task.build(seed)
    x = task.unlabelled()
    grouped = bool(library.near) and not library.siblings
    group = families(x.argmax(-1), library.near) if grouped else torch.arange(len(x))
    designs = LabelledDesigns(x, torch.zeros(len(x)), group=group)
    training, held_out = designs.split(HELD_OUT, Streams(seed).get("held out"))
    assert isinstance(task.space, Tokens)
    return Parts(task.space, training.x, held_out.x, library.near)


def profile(x: Tensor) -> Tensor:
    """Frequencies of the letters at each position, ``(l, v)``; each counted once more than it occurs."""
    return (x.sum(0) + 1) / (len(x) + x.shape[-1])


def likeness(found: Parts, x: Tensor) -> dict[str, float]:
    """Of draws: 3-mer correlation with the held-out designs, share of copies of training designs, and of near ones."""
    letters = novelty(x, found.training, found.space) * found.space.length
    return {
        "r": correlation(x, found.held_out, found.space),
        "copies": float((letters < 0.5).double().mean()),
        "near": float((letters < found.near + 0.5).double().mean()),
    }


def reference(found: Parts, draw: Callable[[], Tensor]) -> dict[str, Any]:
    """The likeness of one sample, with the mean and the spread of the correlation over many of the same size."""
    r = torch.tensor([correlation(draw(), found.held_out, found.space) for _ in range(SAMPLES)])
    return likeness(found, draw()) | {"r": float(r.mean()), "spread": float(r.std())}


def references(name: str) -> dict[str, Any]:
    """Floor and ceiling of a library."""
    found, generator = parts(LIBRARIES[name], SEED), Streams(SEED).get("reference")
    frequencies = profile(found.training)

    def independent() -> Tensor:
        return found.space.one_hot(torch.multinomial(frequencies, found.draws, True, generator=generator).T)

    def training() -> Tensor:
        return found.training[torch.randperm(len(found.training), generator=generator)[: found.draws]]

    def nll(x: Tensor) -> float:
        return -float((x * frequencies.log()).sum((1, 2)).mean()) / found.space.length

    bounds = {"bound": nll(found.held_out), "training bound": nll(found.training)}
    size: dict[str, float] = {"training": len(found.training), "held out": len(found.held_out), "draws": found.draws}
    size["near"] = likeness(found, found.held_out[:: max(1, len(found.held_out) // MOST)])["near"]
    return {"size": size, FLOOR: reference(found, independent) | bounds, CEILING: reference(found, training)}


class Steps(Log):
    """How many steps a training took."""

    done = 0

    def step(self, done: int, total: int, **figures: float) -> None:
        self.done = done
        print(f"{done}/{total} {figures}", file=sys.stderr, flush=True)


class Counted:
    """A network's predictions, and of how many states it was asked."""

    def __init__(self, predict: Predict) -> None:
        self.predict, self.states = predict, 0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        self.states += len(x)
        return self.predict(x, t, condition)


@torch.no_grad()
def sample(process: Process, predict: Predict, n: int, seed: int) -> Tensor:
    """``n`` designs, some hundred at once."""
    generator = Streams(seed).get("draw")
    sizes = [min(BLOCK, n - first) for first in range(0, n, BLOCK)]
    return torch.cat([rollout(process, predict, size, generator).x for size in sizes])


@torch.no_grad()
def bound(backbone: NetworkBackbone, x: Tensor) -> tuple[float, float]:
    """The negative evidence bound in nats a letter, and its standard error over repeated draws of the noise."""
    process, generator = backbone.process, Streams(SEED).get("bound")
    loss = process.bound if isinstance(process, SimplexProcess) else process.loss
    x = x[torch.randperm(len(x), generator=generator)[:MOST]]
    repeats = max(8, ASKED // len(x))
    # Stratified over all designs of a repeat, so repeats are independent and blocks are not wanted.
    means = [float(loss(backbone.predict, x, generator).mean()) / x.shape[1] for _ in range(repeats)]
    values = torch.tensor(means, dtype=torch.float64)
    return float(values.mean()), float(values.std() / math.sqrt(repeats))


def cell(name: str, label: str) -> dict[str, Any]:
    """All figures of one backbone on one library."""
    torch.set_num_threads(1)
    found = parts(LIBRARIES[name], SEED)
    backbone, steps = BACKBONES[label].build(found.space, CPU), Steps()
    assert isinstance(backbone, NetworkBackbone)
    start = time.process_time()
    backbone.fit(found.training, Streams(SEED).get("backbone"), log=steps)
    seconds = {"training": time.process_time() - start}
    predict = Counted(backbone.predict)
    start = time.process_time()
    x = sample(backbone.process, predict, found.draws, SEED)
    seconds["each"] = (time.process_time() - start) / found.draws
    held, error = bound(backbone, found.held_out)
    known, _ = bound(backbone, found.training)
    return {
        "seconds": seconds,
        "steps": steps.done,
        "evaluations": predict.states / found.draws,
        "bound": held,
        "error": error,
        "training bound": known,
        "weights": sum(p.numel() for p in backbone.net.parameters()),
    } | likeness(found, x)


def stored(name: str, label: str) -> Path:
    return OUT / f"{name}-{label}.json".replace(" ", "_")


def run() -> None:
    """Every cell that is not there yet, the quick ones first."""
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = [(name, "references") for name, _ in CELLS]
    wanted += [(name, label) for name, labels in CELLS for label in labels]
    for name, label in sorted(wanted, key=lambda one: one[1] not in ("references", *QUICK)):
        path = stored(name, label)
        if path.exists():
            continue
        start = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "cell", name, label], capture_output=True, text=True)
        if done.returncode:
            print(f"{path.name}: {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        path.write_text(done.stdout)
        print(f"{path.name}: {time.monotonic() - start:.0f} s", flush=True)


def table() -> None:
    """Markdown of the finished cells."""
    print(
        f"torch {version('torch')}, Python {platform.python_version()}, {platform.machine()}, {datetime.now(UTC):%F}\n"
    )
    for name, labels in CELLS:
        if stored(name, "references").exists():
            print_library(name, labels)


def load(name: str, label: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stored(name, label).read_text())
    return found


def print_library(name: str, labels: tuple[str, ...]) -> None:
    known = load(name, "references")
    size, near = known["size"], LIBRARIES[name].near
    print(f"## {name}\n")
    kin = f" ({size['near']:.0%} of them within {near} letters of a training design)" if near else ""
    print(f"{size['training']:,} training designs, {size['held out']:,} held out{kin}, {size['draws']:,} draws.\n")
    heads = ["3-mer r", "nats a letter, held out", "training", "copies", f"within {near} letters" if near else ""]
    heads += ["training, CPU s (steps)", "sampling, CPU ms a design", "evaluations a design"]
    heads = [head for head in heads if head]
    print(f"| generator | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    rows = {label: known[label] for label in (CEILING, FLOOR)}
    rows |= {label: load(name, label) for label in labels if stored(name, label).exists()}
    for label, row in rows.items():
        spread = f" ± {row['spread']:.3f}" if "spread" in row else ""
        cells = [
            f"{row['r']:.3f}{spread}",
            *(f"{row[b]:.3f}" if b in row else "–" for b in ("bound", "training bound")),
        ]
        cells += [f"{row['copies']:.1%}", *([f"{row['near']:.1%}"] if near else [])]
        if "seconds" in row:
            cells += [f"{row['seconds']['training']:.0f} ({row['steps']:,})", f"{1000 * row['seconds']['each']:.2g}"]
            cells += [f"{row['evaluations']:.0f}"]
        else:
            cells += ["–"] * 3
        print(f"| {label} | {' | '.join(cells)} |")
    errors = [row["error"] for row in rows.values() if "error" in row]
    if errors:
        print(f"\nStandard error of a held-out bound from its noise: at most {max(errors):.4f}.")
    print(flush=True)


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["table"]
    if command == "cell":
        name, label = rest
        print(json.dumps(references(name) if label == "references" else cell(name, label)))
    else:
        {"run": run, "table": table}[command]()
