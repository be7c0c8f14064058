"""The uniform chain over tokens (D3PM: Austin et al. 2021; UDLM: Schiff et al. 2024), linear schedule α_t = 1 − t.

A state is one-hot letters ``(b, l, v)``. Forward, each position keeps its letter with probability α_t and is a
uniform letter otherwise; all letters may change until the end, so early mistakes can be repaired. Backward, step
k → k + 1 goes from t = 1 − k/T to s = t − 1/T, hence α_t = k/T and α_s = (k + 1)/T.

``out`` is letter logits ``(b, l, v)`` of x0 *before the position's own letter is looked at*: that letter's evidence
q(x_t | x0) is known in closed form and comes in here. This is the sum over x0 in eq. 4 of Austin et al., and x_θ of
Schiff et al. A network that knows nothing (all logits equal) is then the exact reverse of uniform designs at every t;
were ``out`` p(x0 | x_t) itself, it would have to learn to copy its input ever more exactly as t → 0. The logits must be
finite: a letter that was drawn earlier, or at the start, cannot be impossible.

At t = 1 the state says nothing about x0, so a trained chain forgets its random start in the first step: the optimum
of tuning is then that of a constant start (``ExactChain.best_value``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import Condition, Predict, Transition
from braid_core.interfaces.process import stratified
from braid_core.interfaces.transition import categorical_kl, gumbel, log_softmax, softmax, straight_through
from braid_discrete.process import TokenProcess


@dataclass(frozen=True)
class Resample(Transition):
    """Independent letters p(y | x) ∝ q(y)·(1 + ``weight``·[y = x]), with q = exp(``letters``), normalised.

    A categorical that prefers the ``current`` letter x, factored into a coin and a letter: with probability
    1/(1 + weight·q(x)) a letter is drawn from q, else x stays and passes its gradient on. (Relaxed as one categorical
    almost nothing passes a letter that stays, and the gradient of the reward vanishes as steps get short.) ``letters``
    must be finite: a letter that was drawn earlier cannot be impossible.
    """

    letters: Float[Tensor, "b l v"]
    current: Float[Tensor, "b l v"]
    weight: float
    temperature: float | None = None

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        # two more channels, for the coin
        return gumbel(torch.Size((*x.shape[:-1], x.shape[-1] + 2)), generator)

    @property
    def logits(self) -> Float[Tensor, "b l v"]:
        """The categorical: log p(y | x)."""
        return log_softmax(self.letters + self.current * math.log1p(self.weight))

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        letter = straight_through(self.letters, noise[..., :-2], self.temperature)
        if self.weight == 0:
            return letter
        odds = ((self.letters + math.log(self.weight)) * self.current).sum(-1)  # of staying
        sides = F.logsigmoid(torch.stack([-odds, odds], -1))
        coin = straight_through(sides, noise[..., -2:], self.temperature)[..., :1]
        # The coin's gradient asks what the drawn letter would be worth, also where it is not taken.
        return self.current + coin * (letter - self.current)

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        return (self.logits * x).sum((1, 2))

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        """The divergence of the two categoricals; both steps start from the same letters with the same weight.

        Written for each letter that may stand there, then selected by x: linear in x, so that its gradient is the true
        difference between letters. The entropy of relaxed letters would spoil it.
        """
        stay, other = self.weight * self.letters.exp(), self.weight * reference.letters.exp()
        drawn = categorical_kl(self.letters, reference.letters)[..., None]
        mean = (drawn + stay * (self.letters - reference.letters)) / (1 + stay)
        return ((mean - torch.log1p(stay) + torch.log1p(other)) * self.current).sum((1, 2))

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        letters = log_softmax(self.letters + direction)
        return type(self)(letters, self.current, self.weight, self.temperature)


class Uniform(TokenProcess):
    """Every position may change in every step; positions are independent within a step."""

    transition_type = Resample

    def with_steps(self, n: int) -> Self:
        return type(self)(self.space, n, self.temperature)

    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        # All letters alike, a pad too: not `space.random`, which draws valid designs.
        length, v = self.space.event_shape
        return F.one_hot(torch.randint(v, (n, length), generator=generator, device=generator.device), v).float()

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Resample:
        """p(x_s | x_t = x) ∝ q(x_t | x_s)·Σ_x0 q(x_s | x0)·p(x0) (Austin et al. 2021, eq. 4).

        q(x_t | x_s) is 1 + v·k times as large where the letters agree: a = α_t/α_s = k/(k + 1), and v·a/(1 − a) = v·k.
        """
        earlier = self._earlier(log_softmax(out), k)
        return Resample(earlier, x, float(out.shape[-1] * k), self.temperature)

    def _earlier(self, letters: Float[Tensor, "b l v"], k: Int[Tensor, " k"] | int) -> Float[Tensor, "b l v"]:
        """log q(x_s), where x0 has log probabilities ``letters``."""
        survives, noise = _mixture(self.steps, letters.shape[-1], letters.device, letters.dtype)[k].unbind(-3)
        return torch.logaddexp(letters + survives, noise)

    def _posterior(
        self, x0: Float[Tensor, "b l v"], x: Float[Tensor, "b l v"], k: Int[Tensor, " k"]
    ) -> Float[Tensor, "b l v"]:
        """q(x_s | x_t = x, x0) ∝ q(x_s | x0)·q(x_t | x_s), both times a constant."""
        k, v = k.to(x0.dtype)[:, None, None], x0.shape[-1]
        joint = ((k + 1) * x0 + (self.steps - k - 1) / v) * (1 + v * k * x)
        return joint / joint.sum(-1, keepdim=True)

    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        # q(x_t | x0) is 1 + v·α_t/(1 − α_t) times as large where x0 is the letter that stands there.
        return softmax(out + x * math.log1p(out.shape[-1] * k / (self.steps - k)))

    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        return x

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        """The negative evidence bound of this very chain, in nats: Σ_k KL(q(x_s | x_t, x0) ‖ p(x_s | x_t)) at one step.

        The step is uniform on 0..T − 1 with weight T, stratified over the batch in random order, so that the bound of
        each design is unbiased wherever it stands. There is no prior term, since α_1 = 0. The sum bounds −log p of
        the chain that is sampled; the integral over t (Schiff et al. 2024) bounds that only as T → ∞.

        Counted is the difference to the chain of equal logits, whose sum is known: it is the exact reverse of uniform
        designs, so L·ln v. Same mean and gradient; without it letters that jump late weigh log T times as much.
        A single value can be negative.
        """
        k = stratified(len(x0), self.steps, generator)
        x = self._noised(x0, k, generator)
        length, v = self.space.event_shape
        letters = log_softmax(predict(x, 1 - k / self.steps, condition))
        evidence = x * torch.log1p(v * k.to(x.dtype))[:, None, None]
        step = log_softmax(self._earlier(letters, k) + evidence)
        even = log_softmax(evidence)  # equal letters stay equal, whichever were kept
        posterior = self._posterior(x0, x, k)
        difference = (posterior * (even - step)).masked_fill(posterior <= 0, 0.0).sum(-1)
        return length * math.log(v) + self.steps * difference.sum(1)

    def _noised(
        self, x0: Float[Tensor, "b l v"], k: Int[Tensor, " b"], generator: torch.Generator
    ) -> Float[Tensor, "b l v"]:
        """x_t from q(x_t | x0) at the start of step k: letters survive with probability α_t = k/T."""
        survives = torch.rand(x0.shape[:-1], generator=generator, device=x0.device) < (k / self.steps)[:, None]
        return torch.where(survives[..., None], x0, self.prior(len(x0), generator))


@cache
def _mixture(steps: int, v: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "steps 2 1 1"]:
    """log α_s and log((1 − α_s)/v), -inf in the last step; made once, since a copy to a device waits for it."""
    k = torch.arange(steps, dtype=torch.float64)
    shares = torch.stack([(k + 1) / steps, (steps - k - 1) / (steps * v)], 1)
    return shares.log().to(device, dtype)[..., None, None]
