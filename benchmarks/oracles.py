"""How good are the oracles, and is what they promise kept? Offline figures on four real data sets.

Each cell holds out a quarter of a data set, fits an oracle to the rest (the *offline* table of that cell: all of it, or
the designs below its 80 % reward quantile), makes its promise from this table alone, and looks at the held-out quarter:
what is like the table, what is better than anything in it, and the 5 % that the oracle likes best, which stand for what
a run delivers. Beside the promise stand the conservative reward at c = 1, and a constant below the prediction, chosen
in the same way.

    python benchmarks/oracles.py run      # each cell in a process of its own; finished ones are kept in runs/oracles
    python benchmarks/oracles.py table    # prints Markdown from the finished cells
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from braid_bootstrap import BootstrapSpec
from braid_gp import GPSpec
from braid_rkhs import RKHSSpec
from braid_tasks import ShineDalgarnoSpec, TFBind8Spec, UTRSpec, YeastPromoterSpec
from torch import Tensor

from braid_core.errors import DataError
from braid_core.experiment.calibration import LOWER, Calibration, rehearse, with_scale
from braid_core.experiment.promise import Promise, beliefs, judge
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State, Streams
from braid_core.nets.reward import RewardModel
from braid_core.nets.spec import NetworkSpec
from braid_core.registry.spec import OracleSpec, TaskSpec

CPU, OUT = torch.device("cpu"), Path("runs/oracles")
DATA: dict[str, TaskSpec] = {
    "TF-Bind-8": TFBind8Spec(cap=1),
    "Shine–Dalgarno": ShineDalgarnoSpec(cap=1),
    "UTR": UTRSpec(cap=1),
    "yeast promoters": YeastPromoterSpec(cap=1),
}
CELLS = ((LOWER, 1_000), (1.0, 1_000), (LOWER, 10_000), (LOWER, 0))  # reward quantile and size of the table; 0: all
SEEDS = (0, 1, 2)
HELD_OUT, LIKED = 0.25, 0.05
FIGURES = ("rmse", "spearman", "nll", "coverage", "width", "slack", "pinball")


@dataclass(frozen=True)
class Certain(Posterior):
    """One network has no doubts."""

    value: Tensor

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.value)

    def conservative(self) -> Tensor:
        return self.value


class Single(Oracle):
    """What everybody starts with: one network, and its word is taken."""

    def __init__(self, space: Space) -> None:
        self.space, self.model = space, RewardModel(NetworkSpec(), space, 1, CPU)

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log = Silent()) -> None:  # noqa: B008
        self.model.fit(data, generator, log)

    def posterior(self, x: Tensor) -> Certain:
        return Certain(self.model.predict(x)[0])

    def state(self) -> State:
        return self.model.state()

    def load_state(self, state: State) -> None:
        self.model.load_state(state)


class SingleSpec(OracleSpec):
    """The single network as an oracle."""

    type: str = "single"

    def build(self, space: Space, device: torch.device) -> Single:
        return Single(space)


ORACLES: dict[str, OracleSpec] = {
    "single": SingleSpec(),
    "bootstrap": BootstrapSpec(),
    "gp": GPSpec(),
    "gp, learned": GPSpec(features="learned"),
    "rkhs, learned": RKHSSpec(),
    "rkhs, Nyström": RKHSSpec(features="nystroem"),
}


def tables(
    data: LabelledDesigns, quantile: float, n: int, streams: Streams
) -> tuple[LabelledDesigns, LabelledDesigns, float]:
    """The offline table of a cell, the designs held out, and the reward below which the table lies."""
    rest, held_out = data.split(HELD_OUT, streams.get("outer"))
    cap = float(rest.y.quantile(quantile))
    offline = rest.take((rest.y <= cap).nonzero().flatten())
    if n >= len(offline):
        raise DataError(f"{len(offline)} designs are not more than {n}")
    return (offline.split(n / len(offline), streams.get("size"))[1] if n else offline), held_out, cap


def peak() -> float:
    """The largest memory of this process since the last :func:`forget_peak`, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def pace(oracle: Oracle, x: Tensor, gradient: bool, seconds: float = 1.0) -> float:
    """Designs a CPU second in batches of 128, with the gradient of the conservative score or without."""
    batch, done, start = x[torch.arange(128) % len(x)].clone().requires_grad_(gradient), 0, time.process_time()
    while time.process_time() - start < seconds:
        with torch.set_grad_enabled(gradient):
            score = oracle.posterior(batch).conservative()
            if gradient:
                torch.autograd.grad(score.sum(), batch)
        done += len(batch)
    return done / (time.process_time() - start)


def cell(name: str, quantile: float, n: int, label: str, seed: int) -> dict[str, Any]:
    """All figures of one oracle on one table."""
    torch.set_num_threads(1)
    task, streams, spec = DATA[name].build(seed), Streams(seed), ORACLES[label]
    offline, held_out, cap = tables(task.offline(), quantile, n, streams)
    oracle = with_scale(spec, 1.0).build(task.space, CPU)
    forget_peak()
    before, start = peak(), time.process_time()
    oracle.fit(offline, streams.get("oracle"))
    found: dict[str, Any] = {"seconds": time.process_time() - start, "memory": peak() - before, "offline": len(offline)}
    found |= {"pace": pace(oracle, held_out.x, False), "pace_gradient": pace(oracle, held_out.x, True)}

    rehearsals = [rehearse(spec, offline, q, task.space, CPU, streams, Silent()) for q in (LOWER, 1.0)]
    plain = [replace(r, beliefs=replace(r.beliefs, penalty=torch.ones_like(r.y))) for r in rehearsals]
    found["offset"] = max(0.0, *(r.needs(0.0) for r in plain))
    promise = Calibration(*rehearsals).promise()
    assert promise is not None
    found["scale"] = None if label == "single" else promise.scale
    believed, y = beliefs(oracle, held_out.x), held_out.y
    liked = torch.zeros_like(y, dtype=torch.bool)
    liked[believed.mean.topk(round(LIKED * len(y))).indices] = True
    found["unit"] = offline.std
    parts = {"like the table": y <= cap, "better": y > cap, "liked": liked}
    for part, rows in parts.items():
        if bool(rows.any()):
            constant = replace(believed, penalty=torch.ones_like(y)).take(rows)
            some = believed.take(rows)
            found[part] = {"constant": judge(constant, y[rows], Promise(found["offset"]))}
            if found["scale"] is not None:
                bounds = {"c = 1": Promise(1.0), "promised": promise}
                found[part] |= {name: judge(some, y[rows], bound) for name, bound in bounds.items()}
    return found


def run() -> None:
    """Every cell that is not there yet, the quick and small ones first."""
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, (quantile, n), (name, label) in product(SEEDS, CELLS, product(DATA, ORACLES)):
        path = OUT / f"{name}-{quantile}-{n or 'all'}-{label}-{seed}.json".replace(" ", "_")
        if path.exists() or (seed and n != 1_000):
            continue
        command = [sys.executable, __file__, "cell", name, str(quantile), str(n), label, str(seed)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            print(f"{path.name}: {last}", flush=True)
            continue
        path.write_text(done.stdout)
        print(f"{path.name}: {json.loads(done.stdout)['seconds']:.1f} s", flush=True)


def table() -> None:
    """Markdown of the finished cells: means over seeds, rewards in standard deviations of the offline table."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "gpytorch", "scikit-learn"))
    print(
        f"{libraries}, Python {platform.python_version()}, {platform.machine()}, one thread, {datetime.now(UTC):%F}\n"
    )
    for name in DATA:
        print(f"## {name}\n")
        for quantile, n in CELLS:
            found = {label: load(name, quantile, n, label) for label in ORACLES}
            known = {label: cells for label, cells in found.items() if cells}
            if known:
                print_size(quantile, known)


def load(name: str, quantile: float, n: int, label: str) -> list[dict[str, Any]]:
    pattern = f"{name}-{quantile}-{n or 'all'}-{label}-[0-9].json".replace(" ", "_")
    return [json.loads(path.read_text()) for path in sorted(OUT.glob(pattern))]


def mean(cells: list[dict[str, Any]], *path: str, unit: bool = False) -> str:
    """The mean over cells of the figure at ``path``, in the cell's unit if it is a reward."""
    values = []
    for found in cells:
        value: Any = found
        for key in path:
            value = value.get(key) if value else None  # nothing is better than a table that is not cut
        if value is not None:
            values.append(value / (found["unit"] if unit else 1))
    if not values:
        return "–"
    size = sum(values) / len(values)
    return f"{size:,.0f}" if abs(size) >= 100 else f"{size:.1f}" if abs(size) >= 10 else f"{size:.2f}"


def print_size(quantile: float, known: dict[str, list[dict[str, Any]]]) -> None:
    cells = next(iter(known.values()))
    cut = "not cut" if quantile == 1 else f"the lower {quantile:.0%}"
    print(f"### {cells[0]['offline']:,} designs, {cut}, {len(cells)} seed(s)\n")
    print("| oracle | fit, CPU s | MB | designs/s | with gradient | RMSE | ρ | NLL | RMSE better | ρ better |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for label, cells in known.items():
        cost = [mean(cells, key) for key in ("seconds", "memory", "pace", "pace_gradient")]
        bound = "constant"  # figures of the mean are the same for all bounds
        like = [mean(cells, "like the table", bound, key, unit=key == "rmse") for key in ("rmse", "spearman", "nll")]
        better = [mean(cells, "better", bound, key, unit=key == "rmse") for key in ("rmse", "spearman")]
        print(f"| {label} | {' | '.join(cost + like + better)} |")
    print(
        "\n| oracle | bound | scale | coverage, width: like the table | better | liked | slack liked | pinball liked |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for label, cells in known.items():
        for bound, scale in (
            ("c = 1", "–"),
            ("promised", mean(cells, "scale")),
            ("constant", mean(cells, "offset", unit=True)),
        ):
            if all(bound in found["liked"] for found in cells):
                pairs = [
                    f"{mean(cells, part, bound, 'coverage')}, {mean(cells, part, bound, 'width', unit=True)}"
                    for part in ("like the table", "better", "liked")
                ]
                rest = [mean(cells, "liked", bound, key, unit=True) for key in ("slack", "pinball")]
                print(f"| {label} | {bound} | {scale} | {' | '.join(pairs + rest)} |")
    print(flush=True)


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["table"]
    if command == "cell":
        name, quantile, n, label, seed = rest
        print(json.dumps(cell(name, float(quantile), int(n), label, int(seed))))
    else:
        {"run": run, "table": table}[command]()
