"""What does a GPU change? Steps, draws and oracles on the processor and on CUDA, in one process.

Untrained networks: their weights do not change the time. Of each case: milliseconds a tuning step (batch 128, STRL by a
bootstrap oracle of five networks), milliseconds a training step, designs drawn a second (1,024 at once), and how
often a tuning step makes the processor wait for the GPU.

    python benchmarks/device.py backbones   # prints Markdown; without a GPU only the processor's rows
    python benchmarks/device.py oracles
    python benchmarks/device.py agreement   # the same weights and designs on both: how far apart? (needs both)
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import torch
from braid_strl import StrlSpec
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import (
    Images,
    LabelledDesigns,
    Oracle,
    Silent,
    Space,
    State,
    Stateful,
    Streams,
    Tokens,
    Vectors,
)
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.training import Schedule, train
from braid_core.registry.spec import BackboneSpec, OracleSpec, component
from braid_core.tuning.estimators import Estimator, estimator
from braid_core.tuning.price import price
from braid_core.tuning.rollout import rollout

BATCH, DRAWN, LABELS, STEPS = 128, 1024, 2000, 10
DNA8, DNA50, DNA200 = Tokens("ACGT", 8, ("reverse_complement",)), Tokens("ACGT", 50), Tokens("ACGT", 200)
CASES: dict[str, tuple[Space, dict[str, Any]]] = {
    "masked, 8 letters": (DNA8, {"type": "masked"}),
    "masked, 50 letters": (DNA50, {"type": "masked"}),
    "masked, 200 letters": (DNA200, {"type": "masked"}),
    "uniform, 8 letters": (DNA8, {"type": "uniform"}),
    "simplex, 8 letters": (DNA8, {"type": "simplex"}),
    "gaussian, 8 numbers": (Vectors(8), {"type": "gaussian"}),
    "gaussian, 14 × 14 pixels": (Images(1, 14, 14), {"type": "gaussian", "steps": 20}),
}
LARGE: dict[str, tuple[Space, dict[str, Any]]] = {
    "masked, 200 letters, `paper`": (
        DNA200,
        {"type": "masked", "reveal": "parallel", "steps": 64, "network": {"preset": "paper"}},
    ),
    "gaussian, 28 × 28 pixels, `paper`": (
        Images(1, 28, 28),
        {"type": "gaussian", "steps": 20, "network": {"preset": "paper"}},
    ),
}
"""Only on a GPU: on a processor one step takes a minute."""
ORACLES: dict[str, dict[str, Any]] = {
    "bootstrap": {"type": "bootstrap"},
    "rkhs": {"type": "rkhs"},
    "gp": {"type": "gp"},
}


@dataclass(frozen=True)
class Place:
    """A device, and how its clock is read."""

    device: torch.device

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], rounds: int) -> float:
        """Of the median round, wall clock, after one to warm up."""
        work()
        found = []
        for _ in range(rounds):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - start)
        return median(found)

    def waits(self, work: Callable[[], object]) -> int | None:
        """How often the processor waits for the GPU, as torch counts it."""
        if self.device.type != "cuda":
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                torch.ones(1, device=self.device).item()  # one that must be counted
                before = _counted(caught)
                work()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        if not before:
            raise RuntimeError("torch does not tell of waiting")
        return _counted(caught) - before


def _counted(caught: Sequence[warnings.WarningMessage]) -> int:
    return sum("called a synchronizing" in str(one.message) for one in caught)


def built(kind: str, options: dict[str, Any], space: Space, device: torch.device) -> Any:
    spec = component(kind, options)
    assert isinstance(spec, BackboneSpec | OracleSpec)
    return spec.build(space, device)


def table_of(space: Space, device: torch.device, n: int = LABELS) -> LabelledDesigns:
    """Designs and a linear reward: the same on every device."""
    x = space.random(n, Streams(0).get("table"))
    weights = torch.randn(x[0].numel(), generator=Streams(0).get("weights"))
    reward = x.flatten(1) @ weights / weights.norm()
    return LabelledDesigns(x.to(device), reward.to(device))


def tuner(backbone: NetworkBackbone, oracle: Oracle, unit: float) -> Estimator:
    spec = StrlSpec(batch=BATCH)
    return estimator(spec, backbone.tunable(), oracle, lambda x: oracle.posterior(x).mean / unit, price(spec))


def trainer(backbone: NetworkBackbone, space: Space, batch: int) -> Callable[[], object]:
    """Some training steps of what every backbone's training is made of, without its validations."""
    place = backbone.device
    data, generator = space.random(LABELS, Streams(0).get("data", place)), Streams(0).get("fit", place)
    parameters = list(backbone.net.requires_grad_(True).parameters())

    def loss(_: Tensor) -> Tensor:
        x = data[torch.randint(len(data), (batch,), generator=generator, device=place)]
        return backbone.process.loss(backbone.predict, x, generator).mean()[None]

    return lambda: train(
        parameters, loss, lambda _: torch.zeros(1, device=place), Schedule(STEPS, 2e-3, STEPS), Silent()
    )


def case(space: Space, options: dict[str, Any], place: Place, rounds: int) -> dict[str, float | int | None]:
    """All figures of one backbone on one device."""
    device, data = place.device, table_of(space, place.device)
    oracle = built("oracle", {"type": "bootstrap", "network": {"train_steps": 20}}, space, device)
    oracle.fit(data, Streams(0).get("oracle", device))
    backbone = built("backbone", options, space, device)
    gradient, generator = tuner(backbone, oracle, data.unit), Streams(0).get("tuning", device)
    found: dict[str, float | int | None] = {
        "tune": 1e3 * place.seconds(lambda: gradient.backward(generator), rounds),
        "waits": place.waits(lambda: gradient.backward(generator)),
        "draw": DRAWN / place.seconds(lambda: drawn(backbone, generator), rounds),
    }
    found["train"] = 1e3 * place.seconds(trainer(backbone, space, 64), rounds) / STEPS
    return found


@torch.no_grad()
def drawn(backbone: NetworkBackbone, generator: torch.Generator) -> object:
    return rollout(backbone.process, backbone.predict, DRAWN, generator)


def oracle_row(options: dict[str, Any], n: int, place: Place) -> tuple[float, float]:
    """Seconds of a fit on ``n`` designs of 50 letters, and milliseconds of 1,024 conservative scores with gradient."""
    device, data = place.device, table_of(DNA50, place.device, n)
    oracle = built("oracle", options, DNA50, device)
    place.wait()
    start = time.perf_counter()
    oracle.fit(data, Streams(0).get("oracle", device))
    place.wait()
    fit = time.perf_counter() - start
    x = data.x[:DRAWN].clone().requires_grad_()

    def ask() -> object:
        return torch.autograd.grad(oracle.posterior(x).conservative().sum(), x)

    return fit, 1e3 * place.seconds(ask, 5)


def places() -> list[Place]:
    names = ["cpu", "cuda:0"] if torch.cuda.is_available() else ["cpu"]
    return [Place(torch.device(name)) for name in names]


def head() -> None:
    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    libraries = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    print(f"{libraries}, {cores}{card}, {datetime.now(UTC):%F}\n", flush=True)


def told(figures: dict[str, float | int | None]) -> str:
    waits = "–" if figures["waits"] is None else f"{figures['waits']}"
    return f"{figures['tune']:.1f} | {figures['train']:.2f} | {figures['draw']:,.0f} | {waits}"


def backbones() -> None:
    """Every case on every device."""
    head()
    print("| backbone | device | ms a tuning step | ms a training step | designs/s | waits a tuning step |")
    print("|---|---|---|---|---|---|")
    for name, (space, options) in (CASES | (LARGE if torch.cuda.is_available() else {})).items():
        for place in places():
            if name in LARGE and place.device.type == "cpu":
                continue
            figures = case(space, options, place, 5 if place.device.type == "cuda" else 3)
            print(f"| {name} | {place.device} | {told(figures)} |", flush=True)


def oracles() -> None:
    """Every oracle on every device."""
    head()
    print("| oracle | labels | device | seconds to fit | ms for 1,024 scores with gradient |\n|---|---|---|---|---|")
    for name, options in ORACLES.items():
        for n in (1000, 10_000):
            for place in places():
                fit, ask = oracle_row(options, n, place)
                print(f"| {name} | {n:,} | {place.device} | {fit:.2f} | {ask:.1f} |", flush=True)


def moved(part: Stateful, other: Stateful, device: torch.device) -> None:
    """Give ``other``, on ``device``, what ``part`` has learned."""
    state = part.state()
    other.load_state(State({name: tensor.to(device) for name, tensor in state.tensors.items()}, state.meta))


@torch.no_grad()
def agreement() -> None:
    """The relative difference of the vectors that both devices compute: of oracles and log probabilities."""
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU to agree with")
    head()
    print("| what | difference of the vectors, relative |\n|---|---|")
    cpu, gpu = (place.device for place in places())
    generator = Streams(0).get("weights")
    for name, options in ORACLES.items():
        here, there = (built("oracle", options, DNA50, device) for device in (cpu, gpu))
        data = table_of(DNA50, cpu, 500)
        with torch.enable_grad():
            here.fit(data, Streams(0).get("oracle"))
        moved(here, there, gpu)
        a, b = here.posterior(data.x), there.posterior(data.x.to(gpu))
        print(f"| {name}, mean | {apart(a.mean, b.mean):.1e} |")
        print(f"| {name}, conservative | {apart(a.conservative(), b.conservative()):.1e} |")
    for name, (space, options) in CASES.items():
        here, there = (built("backbone", options, space, device) for device in (cpu, gpu))
        for weight in here.net.parameters():  # away from the start, where the last layer says next to nothing
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
        moved(here, there, gpu)
        path = rollout(here.process, here.predict, 64, Streams(0).get("draw"), record=True)
        assert path.states is not None
        a, b = (log_probability(one, path.states.to(one.device)) for one in (here, there))
        print(f"| {name}, log probability of a path | {apart(a, b):.1e} |")


def log_probability(backbone: NetworkBackbone, states: Float[Tensor, "t1 b *state"]) -> Float[Tensor, " b"]:
    """Of paths whose states are given."""
    total = torch.zeros(states.shape[1], device=states.device)
    for k in range(len(states) - 1):
        t = torch.full_like(total, backbone.process.time(k))
        step = backbone.process.transition(backbone.predict(states[k], t, None), states[k], k)
        total += step.log_prob(states[k + 1])
    return total


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b.cpu()).norm() / a.norm())


if __name__ == "__main__":
    {"backbones": backbones, "oracles": oracles, "agreement": agreement}[(sys.argv[1:] or ["backbones"])[0]]()
