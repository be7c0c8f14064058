"""How fast is `masked` on 200 letters, and what share of the processor's matrix product does it use?

The size of public masked diffusion for DNA: 200 letters and convolutions, the preset for processors and the paper's.
Floating-point operations are counted by torch; the peak is the best square product of float32 matrices in the same
process, on one thread.

    python benchmarks/throughput.py run      # each preset in a process of its own; finished ones are kept in runs/
    python benchmarks/throughput.py table    # prints Markdown from the finished ones
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from braid_discrete import MaskedSpec
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from braid_core.interfaces import Condition, Silent, Streams, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import DenoiserSpec
from braid_core.nets.training import Schedule, train
from braid_core.tuning.rollout import rollout

CPU, OUT, SPACE = torch.device("cpu"), Path("runs/throughput"), Tokens("ACGT", 200)
SIDE, TOP = 2048, 8


@dataclass(frozen=True)
class Amount:
    """How much is timed: training steps of ``batch``, designs drawn at once, and how often both."""

    steps: int
    batch: int
    drawn: int
    rounds: int


PRESETS = {"small": Amount(20, 64, 64, 3), "paper": Amount(2, 64, 4, 1)}
MODES: dict[str, dict[str, Any]] = {
    "parallel, 64 steps": {"reveal": "parallel", "steps": 64},
    "parallel, 200 steps": {"reveal": "parallel", "steps": 200},
    "one at a time": {"reveal": "one"},
}


def backbone_of(preset: str, **options: Any) -> NetworkBackbone:
    """The backbone of a preset, untrained: what is drawn does not matter to the time. Small is 5 x 64 here."""
    size = {"width": 64, "depth": 5} if preset == "small" else {}
    network = DenoiserSpec.model_validate({"preset": preset, **size})
    spec = MaskedSpec.model_validate({"network": network, "reveal": "one", **options})
    return spec.build(SPACE, CPU)


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of the median round, the first one not counted where there are several."""
    times = []
    for _ in range(rounds + (rounds > 1)):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times[-rounds:])


def peak() -> float:
    """Floating-point operations a second of a square product in float32, the best of ten."""
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    best = min(seconds_of(lambda: a @ b, 1) for _ in range(10))
    return 2 * SIDE**3 / best


def trainer(backbone: NetworkBackbone, batch: int) -> Callable[[int], None]:
    """What trains for some steps: the loop of every backbone, with nothing to validate."""
    data, generator = SPACE.random(1_000, Streams(0).get("data")), Streams(0).get("fit")
    parameters = list(backbone.net.requires_grad_(True).parameters())

    def loss() -> Tensor:
        x = data[torch.randint(len(data), (batch,), generator=generator)]
        return backbone.process.loss(backbone.predict, x, generator).mean()[None]

    def steps(n: int) -> None:
        train(parameters, loss, lambda _: torch.zeros(1), Schedule(n, 2e-3, n, ema=0.99), Silent())

    return steps


class Drawer:
    """Draws ``n`` designs a call, and counts of how many states the network was asked in the last one."""

    def __init__(self, backbone: NetworkBackbone, n: int) -> None:
        self.backbone, self.n, self.asked = backbone, n, 0

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        self.asked += len(x)
        return self.backbone.predict(x, t, condition)

    @torch.no_grad()
    def __call__(self) -> None:
        self.asked = 0
        rollout(self.backbone.process, self.predict, self.n, Streams(0).get("draw"))


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of products and convolutions, counted as they are called."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def operators(work: Callable[[], object]) -> dict[str, Any]:
    """Share of the processor's time that each operator takes by itself, and how often it is called."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: [event.self_cpu_time_total / total, event.count] for event in events[:TOP]}


def cell(preset: str) -> dict[str, Any]:
    """All figures of one preset."""
    torch.set_num_threads(1)
    amount, backbone = PRESETS[preset], backbone_of(preset)
    found: dict[str, Any] = {"peak": peak(), "weights": sum(p.numel() for p in backbone.net.parameters())}
    steps = trainer(backbone, amount.batch)
    found["forward"] = operations(lambda: backbone.predict(torch.zeros(1, 200, 5), torch.ones(1)))
    found["step"] = operations(lambda: steps(1)) / amount.batch
    seconds = seconds_of(lambda: steps(amount.steps), amount.rounds) / (amount.steps * amount.batch)
    found["training"] = {"designs": 1 / seconds, "flops": found["step"] / seconds}
    found["training profile"] = operators(lambda: steps(max(1, amount.steps // 4)))
    found["sampling"] = {}
    for mode, options in MODES.items():
        draw = Drawer(backbone_of(preset, **options), amount.drawn)
        each = seconds_of(draw, amount.rounds) / amount.drawn
        asked = draw.asked / amount.drawn
        found["sampling"][mode] = {"designs": 1 / each, "asked": asked, "flops": asked * found["forward"] / each}
    if preset == "small":
        draw = Drawer(backbone_of(preset, **MODES["parallel, 64 steps"]), amount.drawn)
        found["sampling profile"] = operators(draw)
    found["peak after"] = peak()
    return found


def run() -> None:
    """Every preset that is not there yet."""
    OUT.mkdir(parents=True, exist_ok=True)
    for preset in PRESETS:
        path = OUT / f"{preset}.json"
        if not path.exists():
            done = subprocess.run([sys.executable, __file__, "cell", preset], stdout=subprocess.PIPE, check=True)
            path.write_bytes(done.stdout)


def table() -> None:
    """Markdown of the finished presets."""
    made = f"torch {version('torch')}, Python {platform.python_version()}, {platform.machine()}"
    print(f"{made}, one thread, {datetime.now(UTC):%F}\n")
    for preset in PRESETS:
        path = OUT / f"{preset}.json"
        if path.exists():
            print_preset(preset, json.loads(path.read_text()))


def print_preset(preset: str, found: dict[str, Any]) -> None:
    peak, amount = max(found["peak"], found["peak after"]), PRESETS[preset]
    print(f"## `{preset}`\n")
    print(
        f"{found['weights']:,} weights. {found['forward'] / 1e9:.3g} GFLOP a prediction, {found['step'] / 1e9:.3g} a "
        f"design of a training step. Peak: {found['peak'] / 1e9:.0f} GFLOP/s before, {found['peak after'] / 1e9:.0f} "
        "after.\n"
    )
    print("| what | predictions a design | designs/s | GFLOP/s | share of the peak |\n|---|---|---|---|---|")
    rows = {f"training, {amount.batch} at once": found["training"]}
    rows |= {f"sampling, {mode}, {amount.drawn} at once": row for mode, row in found["sampling"].items()}
    for name, row in rows.items():
        asked = f"{row['asked']:.1f}" if "asked" in row else "–"
        speed = f"{row['flops'] / 1e9:.1f} | {row['flops'] / peak:.0%}"
        print(f"| {name} | {asked} | {row['designs']:.3g} | {speed} |")
    for name in ("training profile", "sampling profile"):
        if name in found:
            print(f"\n| operator, {name.split()[0]} | share of the time, by itself | calls |\n|---|---|---|")
            for operator, (share, count) in found[name].items():
                print(f"| `{operator}` | {share:.1%} | {count:,} |")
    print(flush=True)


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["table"]
    if command == "cell":
        print(json.dumps(cell(rest[0])))
    else:
        {"run": run, "table": table}[command]()
