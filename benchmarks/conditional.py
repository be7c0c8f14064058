"""Does a generator that is told a reward make designs with that reward? Judged by the complete landscape of TF-Bind-8.

The default `masked` backbone, told rewards, learns four fifths of all 8-mers (both strands on one side), a tenth of the
rewards hidden. It is then asked for low, middle and high ones, with and without classifier-free guidance.

    python benchmarks/conditional.py          # prints Markdown; about half a minute

This judges a generator on a landscape of which it was shown most, good designs included. Nothing is selected from what
it draws, and no method of design is compared.
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from braid_discrete import MaskedSpec
from braid_tasks import TFBind8Spec
from torch import Tensor

from braid_core.experiment.metrics import distinct, novelty
from braid_core.interfaces import Condition, ConditionSpec, Streams
from braid_core.tuning.classifier_free import classifier_free
from braid_core.tuning.rollout import rollout

CPU, SEED, N, HELD_OUT = torch.device("cpu"), 0, 2_000, 0.2
ASKED = {"low": 0.1, "middle": 0.5, "high": 0.9, "highest": 0.99}
"""Quantiles of the training rewards."""
GAMMAS = (0.0, 2.0)


def main() -> None:
    torch.set_num_threads(1)
    task, streams = TFBind8Spec(cap=1).build(SEED), Streams(SEED)
    training, held_out = task.offline().split(HELD_OUT, streams.get("held out"))
    mean, unit = training.y.mean(), training.y.std()

    def told(y: Tensor) -> Condition:
        return Condition(((y - mean) / unit)[:, None], torch.zeros(len(y), dtype=torch.bool))

    backbone = MaskedSpec().build(task.space, CPU).fresh(ConditionSpec("scalar", 1))
    start = time.process_time()
    backbone.fit(training.x, streams.get("backbone"), conditions=told(training.y))
    seconds = time.process_time() - start

    def row(name: str, y: Tensor | None, gamma: float) -> None:
        condition = Condition(torch.zeros(N, 1), torch.ones(N, dtype=torch.bool)) if y is None else told(y.expand(N))
        with torch.no_grad():
            predict = classifier_free(backbone.predict, gamma)
            x = rollout(backbone.process, predict, N, streams.get("draw"), condition=condition).x
        truth, new = task.truth(x), novelty(x, training.x, task.space) > 0
        figures = [f"{truth.mean():.3f}", f"{truth.std():.3f}", f"{(~new).double().mean():.0%}"]
        figures += [f"{truth[new].mean():.3f}" if bool(new.any()) else "–", f"{len(distinct(x, task.space)):,}"]
        print(f"| {name} | {'–' if y is None else f'{y:.3f}'} | {gamma:g} | {' | '.join(figures)} |", flush=True)

    print(f"{len(training):,} training designs: rewards of {mean:.3f}, sd {unit:.3f}. {seconds:.0f} s of training.\n")
    print("| asked for | E-score | γ | mean of the draws | sd | copies | mean of the others | distinct molecules |")
    print("|---|---|---|---|---|---|---|---|")
    row("nothing", None, 0.0)
    for gamma in GAMMAS:
        for name, share in ASKED.items():
            row(name, training.y.quantile(share), gamma)
    made = f"torch {version('torch')}, {datetime.now(UTC):%F}, {platform.machine()}"
    print(f"\nHeld out: {len(held_out):,}. Python {platform.python_version()}, {made}, one thread")


if __name__ == "__main__":
    main()
