"""Stand-ins with known answers: a Gaussian chain with the exact score, an oracle that is a formula, a listening log."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    GaussianTransition,
    LabelledDesigns,
    Log,
    Oracle,
    Posterior,
    Potential,
    Predict,
    Problem,
    Process,
    Silent,
    Space,
    State,
    Streams,
    Tunable,
    Vectors,
)


class GaussianChain(Process):
    """DDPM over vectors (Ho et al. 2020) with ᾱ(t) = cos²(0.99·πt/2); ``out`` is ε; σ² = β, the choice that is exact
    for data of unit variance. ``noiseless_end`` makes a chain that cannot be tuned."""

    transition_type = GaussianTransition

    def __init__(self, dim: int, steps: int, dtype: torch.dtype = torch.float32, noiseless_end: bool = False) -> None:
        self.space: Vectors = Vectors(dim)
        self.steps, self.dtype, self.noiseless_end = steps, dtype, noiseless_end

    def with_steps(self, n: int) -> Self:
        return type(self)(self.space.dim, n, self.dtype, self.noiseless_end)

    @property
    def tunable(self) -> bool:
        return not self.noiseless_end

    @staticmethod
    def signal(t: Tensor) -> Tensor:
        """ᾱ(t)."""
        return torch.cos(0.495 * math.pi * t).square()

    def _signal(self, k: int) -> Tensor:
        return self.signal(torch.tensor(self.time(k), dtype=self.dtype))

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.space.dim, generator=generator, dtype=self.dtype)

    def transition(self, out: Tensor, x: Tensor, k: int) -> GaussianTransition:
        now, following = self._signal(k), self._signal(k + 1)
        a = now / following
        mean = (x - (1 - a) / (1 - now).sqrt() * out) / a.sqrt()
        last = self.noiseless_end and k == self.steps - 1
        return GaussianTransition(mean, torch.zeros_like(a) if last else (1 - a).sqrt())

    def denoised(self, out: Tensor, x: Tensor, k: int) -> Tensor:
        signal = self._signal(k)
        return (x - (1 - signal).sqrt() * out) / signal.sqrt()

    def guided(self, out: Tensor, x: Tensor, k: int, potential: Potential, level: float) -> GaussianTransition:
        with torch.enable_grad():
            here = x if x.requires_grad else x.detach().requires_grad_()
            value = potential(self.denoised(out, here, k)).sum()
            (direction,) = torch.autograd.grad(value, here, retain_graph=True)
        return self.transition(out, x, k).tilt(level * direction)

    def finish(self, x: Tensor) -> Tensor:
        return x

    def loss(
        self, predict: Predict, x0: Tensor, generator: torch.Generator, condition: Condition | None = None
    ) -> Tensor:
        k = torch.randint(self.steps, (len(x0),), generator=generator)
        t = (1 - k / self.steps).to(self.dtype)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        signal = self.signal(t)[:, None]
        x = signal.sqrt() * x0 + (1 - signal).sqrt() * noise
        return (predict(x, t, condition) - noise).square().sum(1)


class GaussianBackbone(Backbone):
    """The exact ε of N(mean, std²), plus a shift and a gain (times the state) per step, which fine-tuning may move."""

    def __init__(
        self, chain: GaussianChain, mean: float = 0.0, std: float = 1.0, tuned: tuple[str, ...] = ("shift", "gain")
    ) -> None:
        self.process: Process = chain
        self.chain, self.tuned, self.device = chain, tuned, torch.device("cpu")
        size = (chain.steps, chain.space.dim)
        self.net = nn.ParameterDict({name: torch.zeros(size, dtype=chain.dtype) for name in ("shift", "gain")})
        self.net.requires_grad_(False)
        self.mean = torch.full((chain.space.dim,), mean, dtype=chain.dtype)
        self.std = torch.tensor(std, dtype=chain.dtype)

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        signal = self.chain.signal(t.to(x.dtype))[:, None]
        exact = (1 - signal).sqrt() * (x - signal.sqrt() * self.mean) / (signal * self.std.square() + 1 - signal)
        k = ((1 - t) * self.chain.steps).round().long()
        return exact + self.net["shift"][k] + self.net["gain"][k] * x

    def fit(
        self,
        designs: Tensor,
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Tensor | None = None,
        log: Log = Silent(),  # noqa: B008
    ) -> None:
        weights = torch.ones(len(designs)) if weights is None else weights
        share = (weights / weights.sum())[:, None]
        self.mean = (share * designs).sum(0)
        self.std = (share * (designs - self.mean).square()).sum(0).mean().sqrt()

    def fresh(self, condition: ConditionSpec | None) -> Self:
        return type(self)(self.chain, tuned=self.tuned)

    def _copy(self) -> Self:
        twin = self.fresh(None)
        twin.load_state(self.state())
        return twin

    def tunable(self) -> Tunable:
        tuned = self._copy()
        parameters = [tuned.net[name].requires_grad_() for name in self.tuned]
        return Tunable(tuned, self._copy().predict, parameters)

    def state(self) -> State:
        learned = {name: p.detach().clone() for name, p in self.net.items()}
        return State({**learned, "mean": self.mean.clone(), "std": self.std.clone()})

    def load_state(self, state: State) -> None:
        self.net.load_state_dict({name: state.tensors[name] for name in self.net})
        self.net.requires_grad_(False)
        self.mean, self.std = state.tensors["mean"], state.tensors["std"]


@dataclass(frozen=True)
class FormulaPosterior(Posterior):
    """A given mean and penalty."""

    r: Tensor
    g: Tensor

    @property
    def mean(self) -> Tensor:
        return self.r

    @property
    def std(self) -> Tensor:
        return self.g

    def conservative(self) -> Tensor:
        return self.r - self.g


def nothing(x: Tensor) -> Tensor:
    """No penalty."""
    return torch.zeros(len(x), dtype=x.dtype)


class FormulaOracle(Oracle):
    """Mean and penalty by formulas, times a parameter that nobody may change."""

    def __init__(self, mean: Callable[[Tensor], Tensor], penalty: Callable[[Tensor], Tensor] = nothing) -> None:
        self.formulas, self.parameter = (mean, penalty), nn.Parameter(torch.ones(()))

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log = Silent()) -> None:  # noqa: B008
        raise NotImplementedError

    def posterior(self, x: Tensor) -> FormulaPosterior:
        mean, penalty = self.formulas
        return FormulaPosterior(self.parameter * mean(x), self.parameter * penalty(x))

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        pass


class Heard(Log):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, dict[str, float]]] = []

    def step(self, done: int, total: int, **figures: float) -> None:
        self.steps.append((done, total, figures))


class Counted:
    """A prediction that counts its calls."""

    def __init__(self, predict: Predict) -> None:
        self.predict, self.calls = predict, 0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        self.calls += 1
        return self.predict(x, t, condition)


def problem(pretrained: Backbone, oracle: Oracle, unit: float = 1.0, seed: int = 0, log: Log | None = None) -> Problem:
    """A problem whose offline rewards have the standard deviation ``unit``."""
    space: Space = pretrained.process.space
    oracle.space = space
    y = torch.tensor([-1.0, 1.0]) * unit / 2**0.5
    x = space.random(2, torch.Generator().manual_seed(seed))
    return Problem(LabelledDesigns(x, y), pretrained, oracle, Streams(seed), log or Silent())
