"""A correct backbone in closed form: independent entries of known mean and spread, on a Gaussian or a masked chain."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import torch
from braid_discrete.masked import Parallel
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.errors import UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    GaussianTransition,
    Log,
    Potential,
    Predict,
    Process,
    Silent,
    Space,
    State,
    Tokens,
    Tunable,
)
from braid_core.nets.backbone import load_weights
from braid_core.nets.examples import check_designs, examples
from braid_core.registry.spec import BackboneSpec

LEAST = 0.1  # of a spread, or of the probability of a letter


class NormalChain(Process):
    """DDPM (Ho et al. 2020) with ᾱ(t) = cos²(0.49·πt) and σ² = β; ``out`` is ε. Letters are the largest entries."""

    transition_type: type[GaussianTransition] = GaussianTransition

    def __init__(self, space: Space, steps: int = 4) -> None:
        self.space, self.steps = space, steps

    def with_steps(self, n: int) -> Self:
        return type(self)(self.space, n)

    @staticmethod
    def signal(t: float | Tensor) -> Tensor:
        """ᾱ(t)."""
        return torch.cos(0.49 * math.pi * torch.as_tensor(t)).square()

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, *self.space.event_shape, generator=generator)

    def transition(self, out: Tensor, x: Tensor, k: int) -> GaussianTransition:
        now, following = self.signal(self.time(k)), self.signal(self.time(k + 1))
        a = now / following
        return self.transition_type((x - (1 - a) / (1 - now).sqrt() * out) / a.sqrt(), (1 - a).sqrt())

    def denoised(self, out: Tensor, x: Tensor, k: int) -> Tensor:
        signal = self.signal(self.time(k))
        return (x - (1 - signal).sqrt() * out) / signal.sqrt()

    def direction(self, out: Tensor, x: Tensor, k: int, potential: Potential) -> Tensor:
        """∇potential(x̂0) at the state."""
        with torch.enable_grad():
            value = potential(self.denoised(out, x, k)).sum()
            return torch.autograd.grad(value, x, retain_graph=True)[0]

    def guided(self, out: Tensor, x: Tensor, k: int, potential: Potential, level: float) -> GaussianTransition:
        return self.transition(out, x, k).tilt(level * self.direction(out, x, k, potential))

    def finish(self, x: Tensor) -> Tensor:
        if not isinstance(self.space, Tokens):
            return x
        soft = x.softmax(-1)
        hard = F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)
        return hard + (soft - soft.detach())

    def loss(
        self, predict: Predict, x0: Tensor, generator: torch.Generator, condition: Condition | None = None
    ) -> Tensor:
        t = (1 + torch.randint(self.steps, (len(x0),), generator=generator)) / self.steps
        noise = torch.randn(x0.shape, generator=generator)
        signal = self.signal(t).reshape(-1, *[1] * (x0.ndim - 1))
        x = signal.sqrt() * x0 + (1 - signal).sqrt() * noise
        return (predict(x, t, condition) - noise).square().flatten(1).sum(1)


class MaskedChain(Parallel):
    """The shipped chain of parallel unmasking, in twice as many steps as there are letters."""

    def __init__(self, space: Tokens, steps: int | None = None, temperature: float | None = None) -> None:
        super().__init__(space, steps or 2 * space.length, temperature)


class Moments(Backbone):
    """Mean and spread of each entry: of all designs, and by least squares as a line along a scalar condition.

    On a Gaussian chain it says the exact ε of these normals, on a masked one the means as probabilities of letters.
    """

    chain: ClassVar[type[Process]] = NormalChain
    device = torch.device("cpu")

    def __init__(self, space: Space, condition: ConditionSpec | None = None) -> None:
        self.process: Process = self.chain(space)  # type: ignore[call-arg]
        self.condition = condition
        size = space.event_shape
        start = {"mean": torch.zeros(size), "slope": torch.zeros(size), "level": torch.zeros(size)}
        spread = {"std": torch.ones(()), "told_std": torch.ones(())}
        self.net = nn.ParameterDict({**start, **spread}).requires_grad_(False)

    def moments(self, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """(mean, spread) for each row, or for all."""
        mean, std = self.net["mean"][None], self.net["std"]
        if condition is None:
            return mean, std
        null = condition.null.reshape(-1, *[1] * (mean.ndim - 1))
        value = torch.where(condition.null, 0.0, condition.values[:, 0]).reshape(null.shape)
        line = self.net["level"] + self.net["slope"] * value
        return torch.where(null, mean, line), torch.where(null, std, self.net["told_std"])

    def check(self, condition: Condition | None, n: int) -> None:
        told = None if condition is None else tuple(condition.values.shape)
        if told != (None if self.condition is None else (n, 1)):
            raise UnsupportedError(f"conditions {told} for {n} designs")

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        self.check(condition, len(x))
        mean, std = self.moments(condition)
        if not isinstance(self.process, NormalChain):
            return mean.clamp(min=LEAST).log().expand(len(x), -1, -1)
        signal = self.process.signal(t).reshape(-1, *[1] * (x.ndim - 1))
        return (1 - signal).sqrt() * (x - signal.sqrt() * mean) / (signal * std.square() + 1 - signal)

    def fit(
        self,
        designs: Tensor,
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Tensor | None = None,
        log: Log = Silent(),  # noqa: B008
    ) -> None:
        check_designs(designs, self.process.space)
        self.check(conditions, len(designs))
        data = examples(designs, conditions, weights, self.device)
        share = data.weights / data.weights.sum()
        mean = torch.einsum("n,n...->...", share, data.x)
        learned = {"mean": mean, "std": self.spread(data.x - mean, share)}
        if data.condition is not None:
            value = data.condition.values[:, 0] - share @ data.condition.values[:, 0]
            slope = torch.einsum("n,n...->...", share * value, data.x) / (share @ value.square())
            learned["slope"] = slope
            learned["level"] = mean - slope * (share @ data.condition.values[:, 0])
            line = learned["level"] + torch.einsum("n,...->n...", data.condition.values[:, 0], slope)
            learned["told_std"] = self.spread(data.x - line, share)
        for name, value in learned.items():
            self.net[name].copy_(value)

    @staticmethod
    def spread(rest: Tensor, share: Tensor) -> Tensor:
        """The root mean square of all entries."""
        return (share @ rest.square().flatten(1).mean(1)).sqrt().clamp(min=LEAST)

    def fresh(self, condition: ConditionSpec | None) -> Self:
        return type(self)(self.process.space, condition)

    def copy(self) -> Self:
        """One more of the same."""
        twin = self.fresh(self.condition)
        for name, value in self.net.items():
            twin.net[name].copy_(value)
        return twin

    def tunable(self) -> Tunable:
        tuned = self.copy()
        tuned.net.requires_grad_()
        return Tunable(tuned, self.copy().predict, list(tuned.net.parameters()))

    def learned(self) -> dict[str, Tensor]:
        """All that was learned, as it is."""
        return dict(self.net.state_dict())

    def state(self) -> State:
        return State({name: value.detach().clone() for name, value in self.learned().items()})

    def load_state(self, state: State) -> None:
        """Raises a :class:`StoreError` for the state of another space."""
        load_weights(self.net, state.tensors)


class MomentsSpec(BackboneSpec):
    """The correct backbone."""

    type: str = "moments"

    def build(self, space: Space, device: torch.device) -> Any:
        return Moments(space)
