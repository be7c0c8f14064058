"""One reverse step as a distribution: sampled differentiably, scored, compared with another, tilted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


class Transition(ABC):
    """p(x_{k+1} | x_k) for a batch of states.

    Randomness comes in from outside: :meth:`noise` is drawn before the network runs, so that gradient
    checkpointing, which runs the network twice, sees the same numbers both times.
    """

    @staticmethod
    @abstractmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        """The random numbers that one step from ``x`` consumes; needs no network output."""

    @abstractmethod
    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        """The next state as a function of ``noise`` through which gradients flow (straight-through for letters)."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        """Log probability (or density) of the next state ``x``, summed over dimensions, in nats."""

    @abstractmethod
    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        """KL(self ‖ reference), summed over dimensions, in nats: exact, or an upper bound that the class states."""

    @abstractmethod
    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        """The distribution proportional to p(x)·exp(direction·x)."""


@dataclass(frozen=True)
class GaussianTransition(Transition):
    """Normal(mean, std²), independent over dimensions; ``std`` broadcasts against ``mean``.

    A step with ``std = 0`` can be sampled, but has no density and no KL: ``log_prob`` and ``kl`` are NaN or infinite.
    Tuning refuses such chains.
    """

    mean: Float[Tensor, " b *state"]
    std: Float[Tensor, "..."]

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        return self.mean + self.std * noise

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        z = (x - self.mean) / self.std
        log_scale = self.std.log() + 0.5 * math.log(2 * math.pi)
        return (-0.5 * z.square() - log_scale).flatten(1).sum(1)

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        # equal σ (the usual case: only the drift is tuned) leaves ‖μ − μ_pre‖²/(2σ²), Girsanov discretised
        ratio = (self.std / reference.std).square()
        distance = ((self.mean - reference.mean) / reference.std).square()
        return (0.5 * (distance + ratio - 1 - ratio.log())).flatten(1).sum(1)

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        return type(self)(self.mean + self.std.square() * direction, self.std)


SHORT = 16
"""Letters; for fewer, torch's own kernel along the last dimension takes ten times as long on a processor."""


def log_softmax(logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
    """Normalised log probabilities of letters, the last dimension."""
    return _along_letters(torch.log_softmax, logits)


def softmax(logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
    """Probabilities of letters, the last dimension."""
    return _along_letters(torch.softmax, logits)


def _along_letters(normalise: Callable[[Tensor, int], Tensor], logits: Tensor) -> Tensor:
    if logits.shape[-1] >= SHORT or logits.ndim < 2 or logits.device.type != "cpu":
        return normalise(logits, -1)
    # Letters first in memory: the kernel then runs along the rows, eight or sixteen at once.
    return normalise(logits.movedim(-1, 0).contiguous(), 0).movedim(0, -1)


def gumbel(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Standard Gumbel numbers; the uniform is clamped, since log(-log 0) would be infinite."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))


def straight_through(
    logits: Float[Tensor, "*b v"], noise: Float[Tensor, "*b v"], temperature: float | None
) -> Float[Tensor, "*b v"]:
    """A one-hot sample of Categorical(logits) by the Gumbel-max trick, with a surrogate gradient.

    The forward value is exact; the gradient is biased. ``temperature = None`` takes the second-order estimator
    (ReinMax: Liu et al., NeurIPS 2023, algorithm 2), unbiased for functions that are quadratic between letters;
    a number takes that of the Gumbel-softmax relaxation at this temperature (Jang et al. 2017).
    """
    scores = logits + noise
    hard = F.one_hot(scores.argmax(-1), logits.shape[-1]).to(logits.dtype)
    if not logits.requires_grad:
        return hard
    soft = _second_order(logits, hard) if temperature is None else softmax(scores / temperature)
    return hard + (soft - soft.detach())  # in this order the forward value is one-hot to the last bit


def _second_order(logits: Float[Tensor, "*b v"], hard: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
    """2·π₁ − ½·π₀, where π₀ = softmax(logits) and π₁ has the value (hard + π₀)/2 but the gradient of a softmax."""
    p0 = softmax(logits)
    middle = ((p0 + hard) / 2).detach().log()
    # Impossible letters (logit -inf) stay impossible; -inf − (-inf) would be NaN.
    finite = torch.where(logits > -torch.inf, logits, 0.0)
    p1 = softmax(middle - finite.detach() + finite)
    return 2 * p1 - p0 / 2


@dataclass(frozen=True)
class CategoricalTransition(Transition):
    """Independent categorical letters; positions where ``active`` is false keep their ``current`` value.

    ``logits`` are normalised (log-softmax) and may be -inf for letters that cannot follow. ``current`` carries the
    gradient of earlier steps through the positions that stay.
    """

    logits: Float[Tensor, "b l v"]
    current: Float[Tensor, "b l v"]
    active: Bool[Tensor, "b l"]
    temperature: float | None = None

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        return gumbel(x.shape, generator)

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        sample = straight_through(self.logits, noise, self.temperature)
        return torch.where(self.active[..., None], sample, self.current)

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        taken = self.logits.gather(-1, x.argmax(-1, keepdim=True)).squeeze(-1)
        kept = (x.argmax(-1) == self.current.argmax(-1)).to(taken.dtype).log()
        return torch.where(self.active, taken, kept).sum(1)

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        return torch.where(self.active, categorical_kl(self.logits, reference.logits), 0.0).sum(1)

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        logits = log_softmax(self.logits + direction)
        return type(self)(logits, self.current, self.active, self.temperature)


def categorical_kl(p: Float[Tensor, "*b v"], q: Float[Tensor, "*b v"]) -> Float[Tensor, " *b"]:
    """KL between normalised log probabilities over the last dimension, in nats; 0·log 0 = 0.

    Impossible letters are replaced *before* the product: a ``where`` after it would still give NaN gradients.
    """
    possible = p != -torch.inf  # not `>`: NaN stays NaN
    p_safe = torch.where(possible, p, 0.0)
    difference = torch.where(possible, p_safe - q, 0.0)
    return torch.where(possible, p_safe.exp() * difference, 0.0).sum(-1)
