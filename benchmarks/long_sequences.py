"""Which network, and how many steps, for long sequences? Enhancers of 200 and 249 letters, on the packaged samples.

    python benchmarks/long_sequences.py     # prints Markdown; about twenty minutes on one core

Bounds are nats a letter of natural enhancers that were held out; 3-mers: correlation of their frequencies in 512 draws
with those of the same enhancers. No reward is looked at.
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product

import torch
from braid_discrete import MaskedSpec
from braid_tasks import EnhancerSpec

from braid_core.experiment.naturalness import correlation, letter_bound
from braid_core.interfaces import Streams
from braid_core.nets.spec import DenoiserSpec
from braid_core.tuning.rollout import rollout

CPU, STEPS, DRAWS = torch.device("cpu"), (64, 32, 16), 512
NETWORKS = {
    "mlp, 2 × 256": DenoiserSpec(kind="mlp"),
    "conv, 2 × 32": DenoiserSpec(kind="conv", width=32, depth=2),
    "conv, 3 × 32": DenoiserSpec(kind="conv", width=32, depth=3),
    "conv, 5 × 64": DenoiserSpec(kind="conv", width=64, depth=5),
}


def row(source: str, network: DenoiserSpec) -> str:
    """Train a network, ask it about enhancers that it has not seen, and draw with few steps and many."""
    task, start = EnhancerSpec(source=source).build(0), time.process_time()
    natural = task.natural()
    backbone = MaskedSpec(reveal="parallel", steps=STEPS[0], network=network).build(task.space, CPU)
    backbone.fit(task.unlabelled(), Streams(0).get("backbone"))
    cells = [f"{time.process_time() - start:.0f}"]
    bound = letter_bound(backbone, natural, Streams(0).get("bound"))
    cells.append("–" if bound is None else f"{bound:.4f}")
    for steps in STEPS:
        start = time.process_time()
        with torch.no_grad():
            path = rollout(backbone.process.with_steps(steps), backbone.predict, DRAWS, Streams(0).get("draws"))
        cells.append(f"{correlation(path.x, natural, task.space):.3f} ({time.process_time() - start:.1f} s)")
    return " | ".join(cells)


def main() -> None:
    """Both sources."""
    torch.set_num_threads(1)
    print(
        f"torch {version('torch')}, Python {platform.python_version()}, {platform.machine()}, one thread, seed 0, ",
        end="",
    )
    print(f"{datetime.now(UTC):%F}\n")
    print(f"| source | network | training, CPU s | bound | {' | '.join(f'3-mers, {n} steps' for n in STEPS)} |")
    print("|---|---|---|---|" + "---|" * len(STEPS))
    for source, (name, network) in product(("deepstarr", "lentimpra"), NETWORKS.items()):
        print(f"| {source} | {name} | {row(source, network)} |", flush=True)


if __name__ == "__main__":
    main()
