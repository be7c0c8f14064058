"""Two chains whose path KLs and laws can be known: letters in turn, and normal numbers."""

from __future__ import annotations

import math
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import (
    CategoricalTransition,
    Condition,
    GaussianTransition,
    Potential,
    Predict,
    Process,
    Space,
    Tokens,
)


class InTurn(Process):
    """Letters from the first to the last, one a step: a design tells its path, so that its path KL is its own.

    A state is one-hot where a letter stands and 0 where none stands yet; ``out`` are logits. Without noise, every
    letter is the most likely one.
    """

    transition_type = CategoricalTransition
    guided_through_state = False

    def __init__(self, space: Tokens, noisy: bool = True) -> None:
        self.space: Tokens = space
        self.steps, self.noisy = space.length, noisy

    def with_steps(self, n: int) -> Self:
        if n != self.steps:
            raise UnsupportedError(f"{self.steps} letters take {self.steps} steps, not {n}", fix="leave the steps")
        return self

    @property
    def tunable(self) -> bool:
        return self.noisy

    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        return torch.zeros(n, *self.space.event_shape, device=generator.device)

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> CategoricalTransition:
        if not self.noisy:
            out = torch.where(out == out.amax(-1, keepdim=True), 0.0, -torch.inf)
        active = torch.arange(self.steps, device=x.device) == k
        return CategoricalTransition(torch.log_softmax(out, -1), x, active.expand(len(x), -1))

    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        drawn = torch.arange(self.steps, device=x.device) < k
        return torch.where(drawn[:, None], x, out.softmax(-1))

    def guided(
        self, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential, level: float
    ) -> CategoricalTransition:
        with torch.enable_grad():
            guess = self.denoised(out, x, k).detach().requires_grad_()
            (direction,) = torch.autograd.grad(potential(guess).sum(), guess)
        return self.transition(out, x, k).tilt(level * direction)

    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        return x

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        """−log p of the design, estimated at the letter of one step."""
        k = torch.randint(self.steps, (len(x0),), generator=generator, device=x0.device)
        drawn = torch.arange(self.steps, device=x0.device) < k[:, None]
        log_p = predict(x0 * drawn[..., None], 1 - k / self.steps, condition).log_softmax(-1)
        rows = torch.arange(len(x0), device=x0.device)
        return -self.steps * (log_p * x0).sum(-1)[rows, k]


class Normals(Process):
    """DDPM (Ho et al. 2020) with ᾱ(t) = cos²(0.49·πt) and σ² = β; ``out`` is ε. Normal data stay normal.

    Without noise, the last step has none.
    """

    transition_type = GaussianTransition

    def __init__(self, space: Space, noisy: bool = True, steps: int = 4) -> None:
        self.space, self.noisy, self.steps = space, noisy, steps

    def with_steps(self, n: int) -> Self:
        return type(self)(self.space, self.noisy, n)

    @property
    def tunable(self) -> bool:
        return self.noisy

    @staticmethod
    def signal(t: float | Tensor) -> Tensor:
        """ᾱ(t)."""
        return torch.cos(0.49 * math.pi * torch.as_tensor(t)).square()

    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        return torch.randn(n, *self.space.event_shape, generator=generator, device=generator.device)

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> GaussianTransition:
        now, following = (self.signal(self.time(i)).to(x) for i in (k, k + 1))
        a = now / following
        still = not self.noisy and k == self.steps - 1
        mean = (x - (1 - a) / (1 - now).sqrt() * out) / a.sqrt()
        return GaussianTransition(mean, torch.zeros_like(a) if still else (1 - a).sqrt())

    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        signal = self.signal(self.time(k)).to(x)
        return (x - (1 - signal).sqrt() * out) / signal.sqrt()

    def guided(
        self, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential, level: float
    ) -> GaussianTransition:
        with torch.enable_grad():
            here = x if x.requires_grad else x.detach().requires_grad_()
            value = potential(self.denoised(out, here, k)).sum()
            (direction,) = torch.autograd.grad(value, here, retain_graph=True)
        return self.transition(out, x, k).tilt(level * direction)

    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        return x

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        k = torch.randint(self.steps, (len(x0),), generator=generator, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        signal = self.signal(1 - k / self.steps).reshape(-1, *[1] * (x0.ndim - 1))
        x = signal.sqrt() * x0 + (1 - signal).sqrt() * noise
        return (predict(x, 1 - k / self.steps, condition) - noise).square().flatten(1).sum(1)
