"""What does a tuning step cost? Seconds and peak memory over the number of steps of the chain.

`masked` on 50 letters with a convolutional network of 5 x 64, a linear reward, 32 designs a step: gradients through the
whole rollout, with checkpointing, truncated to the last eight steps, and by the policy gradient. Each cell is a process
of its own: two steps to warm up, then three (one where they are long). Memory is the peak above what the
process held before tuning.

    python benchmarks/tuning_cost.py            # prints Markdown; about five minutes on two cores
    python benchmarks/tuning_cost.py profile    # the operators of a step at T = 64
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from braid_discrete import MaskedSpec
from braid_strl import StrlSpec

from braid_core.interfaces import Tokens, Tunable
from braid_core.nets.spec import DenoiserSpec
from braid_core.tuning.estimators import Estimator, Pathwise, Policy
from braid_core.tuning.price import FixedPrice
from braid_core.tuning.spec import PolicySpec

CPU, SPACE, BATCH = torch.device("cpu"), Tokens("ACGT", 50), 32
LENGTHS = (16, 64, 256)
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "checkpointed": {"checkpoint": True},
    "truncated to 8": {"truncate": 8},
    "truncated, checkpointed": {"truncate": 8, "checkpoint": True},
    "policy gradient": {"policy": PolicySpec(updates=1)},
}


def peak() -> float:
    """The largest memory of this process so far, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def prepare(length: int, way: str) -> tuple[Estimator, Tunable]:
    """An estimator on an untrained network: the cost does not depend on the weights."""
    torch.set_num_threads(1)
    backbone = MaskedSpec(reveal="parallel", steps=length, network=DenoiserSpec(kind="conv", width=64, depth=5)).build(
        SPACE, CPU
    )
    weight, opened = torch.randn(50, 4), backbone.tunable()
    spec = StrlSpec(batch=BATCH, **WAYS[way])
    pieces = (spec, opened, lambda x: (x * weight).sum((1, 2)), FixedPrice(0.2))
    return (Policy(*pieces, spec.policy) if spec.policy else Pathwise(*pieces)), opened


def step(estimator: Estimator, opened: Tunable, generator: torch.Generator) -> None:
    for parameter in opened.parameters:
        parameter.grad = None
    estimator.backward(generator)


def cell(length: int, way: str) -> dict[str, float]:
    """Seconds of CPU a step, and MB."""
    estimator, opened = prepare(length, way)
    generator, before = torch.Generator().manual_seed(0), peak()
    for _ in range(2):
        step(estimator, opened, generator)
    repeats, start = 3 if length < 256 else 1, time.process_time()
    for _ in range(repeats):
        step(estimator, opened, generator)
    return {"seconds": (time.process_time() - start) / repeats, "memory": peak() - before}


def table() -> None:
    """Every cell, and how memory grows."""
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {datetime.now(UTC):%F}\n")
    lengths = " | ".join(f"T = {length}: CPU s, MB" for length in LENGTHS)
    print(f"| gradient | {lengths} | memory, T = {LENGTHS[-1]} over T = {LENGTHS[0]} |\n|---|---|---|---|---|")
    for way in WAYS:
        found = []
        for length in LENGTHS:
            command = [sys.executable, __file__, "cell", str(length), way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout))
        shown = " | ".join(f"{one['seconds']:.2f}, {one['memory']:.0f}" for one in found)
        print(f"| {way} | {shown} | {found[-1]['memory'] / found[0]['memory']:.1f} |", flush=True)


def profile() -> None:
    """The operators that a step of the full gradient spends its time in."""
    estimator, opened = prepare(64, "full")
    generator = torch.Generator().manual_seed(0)
    step(estimator, opened, generator)
    with torch.profiler.profile() as found:
        step(estimator, opened, generator)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=40))


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["table"]
    if command == "cell":
        print(json.dumps(cell(int(rest[0]), rest[1])))
    else:
        {"table": table, "profile": profile}[command]()
