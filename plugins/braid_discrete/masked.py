"""The absorbing chain over tokens (MDLM: Sahoo et al. 2024), linear schedule α_t = 1 − t.

A state is one-hot over the letters and, as the last channel, the mask: ``(b, l, v + 1)``. All positions start
masked. ``out`` is the network's letter logits ``(b, l, v)``; masked positions are revealed from it, revealed ones
never change. The optimal network does not depend on time (Ou et al. 2024), so the rates are the process's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Predict, Tokens, Transition
from braid_core.interfaces.process import stratified
from braid_core.interfaces.transition import categorical_kl, gumbel, log_softmax, softmax, straight_through
from braid_discrete.process import TokenProcess


@dataclass(frozen=True)
class RevealOne(Transition):
    """Reveals exactly one masked position: a position from ``positions``, then its letter from ``letters``.

    Both are normalised log probabilities; ``positions`` is -inf where a letter stands already.
    """

    letters: Float[Tensor, "b l v"]
    positions: Float[Tensor, "b l"]
    current: Float[Tensor, "b l s"]
    temperature: float | None = None

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        # For the choice of the position, and then of the letter that it gets.
        b, length, states = x.shape
        return gumbel(torch.Size((b, length + states - 1)), generator)

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        length = self.positions.shape[1]
        place = (self.positions + noise[:, :length]).argmax(1)
        rows = torch.arange(len(place), device=place.device)
        letter = straight_through(self.letters[rows, place], noise[:, length:], self.temperature)
        chosen = F.one_hot(place, length).bool()
        return torch.where(chosen[..., None], F.pad(letter, (0, 1))[:, None], self.current)

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        changed = x.argmax(-1) != self.current.argmax(-1)
        # selected, not multiplied: an impossible letter elsewhere would give -inf·0 = NaN
        joint = self.positions + torch.where(x[..., :-1] > 0.5, self.letters, 0.0).sum(-1)
        one = (changed.sum(1) == 1).to(x.dtype).log()
        return torch.where(changed, joint, 0.0).sum(1) + one

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        # Expectation over the position, not the KL at the sampled one: same mean, less variance.
        share = self.positions.exp()
        order = categorical_kl(self.positions, reference.positions)
        letters = categorical_kl(self.letters, reference.letters)
        return order + torch.where(share > 0, share * letters, 0.0).sum(1)

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        # Revealing a position also takes its mask away, which is worth direction[mask] less.
        scores = self.letters + direction[..., :-1]
        evidence = scores.logsumexp(-1) - direction[..., -1]
        positions = torch.log_softmax(self.positions + evidence, 1)
        return type(self)(log_softmax(scores), positions, self.current, self.temperature)


@dataclass(frozen=True)
class RevealEach(Transition):
    """Reveals each masked position with log probability ``reveal`` (-inf where a letter stands), independently.

    A categorical over letters and mask, factored into a coin and a letter: the coin does not depend on the network,
    so the surrogate gradient is taken of the letter alone, and only where it is revealed. (Relaxing letters and mask
    together halves the gradient as steps get short.)
    """

    letters: Float[Tensor, "b l v"]
    reveal: Float[Tensor, "b l"]
    current: Float[Tensor, "b l s"]
    temperature: float | None = None

    @staticmethod
    def noise(x: Float[Tensor, " b *state"], generator: torch.Generator) -> Tensor:
        # The mask's own channel carries the coin.
        return gumbel(x.shape, generator)

    @property
    def _stay(self) -> Float[Tensor, "b l"]:
        return torch.log(-torch.expm1(self.reveal))

    def rsample(self, noise: Tensor) -> Float[Tensor, " b *state"]:
        letter = straight_through(self.letters, noise[..., :-1], self.temperature)
        return torch.where(_shown(noise, self.reveal)[..., None], F.pad(letter, (0, 1)), self.current)

    def log_prob(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b"]:
        revealed = self.reveal + torch.where(x[..., :-1] > 0.5, self.letters, 0.0).sum(-1)
        open_now = torch.where(_masked(x), self._stay, revealed)
        kept = (x.argmax(-1) == self.current.argmax(-1)).to(x.dtype).log()
        return torch.where(_masked(self.current), open_now, kept).sum(1)

    def kl(self, reference: Self) -> Float[Tensor, " b"]:
        coin, other = (torch.stack([step.reveal, step._stay], -1) for step in (self, reference))
        rate, letters = self.reveal.exp(), categorical_kl(self.letters, reference.letters)
        return (categorical_kl(coin, other) + torch.where(rate > 0, rate * letters, 0.0)).sum(1)

    def tilt(self, direction: Float[Tensor, " b *state"]) -> Self:
        # Revealing a position also takes its mask away, which is worth direction[mask] less.
        scores = self.letters + direction[..., :-1]
        evidence = scores.logsumexp(-1) - direction[..., -1]
        reveal = torch.log_softmax(torch.stack([self.reveal + evidence, self._stay], -1), -1)[..., 0]
        return type(self)(log_softmax(scores), reveal, self.current, self.temperature)


class _MaskedProcess(TokenProcess):
    """What both ways of revealing share."""

    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        x = torch.zeros(n, self.space.length, len(self.space.alphabet) + 1, device=generator.device)
        x[..., -1] = 1
        return x

    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        return torch.where(_masked(x)[..., None], softmax(out), x[..., :-1])

    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        return x[..., :-1]

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        """The negative evidence bound in nats: L·E_m[mean cross-entropy over m random masked positions].

        m is uniform on 1..L. This is ∫ (1/t)·E[Σ cross-entropy] dt with the integral over t done exactly, since
        ∫ t^(m−1)(1−t)^(L−m)·C(L,m) dt = 1/m: the weight 1/t and its variance are gone. m is stratified over the
        batch in random order, so that the bound of each design is unbiased wherever it stands; the network sees the
        masked share m/L as its time.
        """
        n, length, device = len(x0), self.space.length, x0.device
        m = stratified(n, length, generator) + 1
        order = torch.rand(n, length, generator=generator, device=device).argsort(1)
        masked = order < m[:, None]
        mask = F.one_hot(torch.tensor(len(self.space.alphabet), device=device), len(self.space.alphabet) + 1)
        x = torch.where(masked[..., None], mask.to(x0.dtype), F.pad(x0, (0, 1)))
        logits = log_softmax(predict(x, m / length, condition))
        # selected, not multiplied: a network may call other letters impossible, and -inf·0 is NaN
        cross_entropy = -torch.where(x0 > 0, logits, 0.0).sum(-1)
        return torch.where(masked, cross_entropy, 0.0).sum(1) * length / m


class OneByOne(_MaskedProcess):
    """One position a step, in uniformly random order: any distribution over designs is exactly reachable."""

    transition_type = RevealOne

    def __init__(self, space: Tokens, temperature: float | None = None) -> None:
        super().__init__(space, space.length, temperature)

    def with_steps(self, n: int) -> Self:
        if n != self.steps:
            raise UnsupportedError(
                f"one position a step takes {self.steps} steps, not {n}",
                fix='use reveal = "parallel" for other numbers',
            )
        return self

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> RevealOne:
        masked = _masked(x)
        uniform = masked.to(x.dtype).log() - masked.sum(1, keepdim=True).to(x.dtype).log()
        return RevealOne(log_softmax(out), uniform, x, self.temperature)


class Parallel(_MaskedProcess):
    """Every masked position is revealed independently with the schedule's rate; fewer or more steps at will."""

    transition_type = RevealEach

    def with_steps(self, n: int) -> Self:
        return type(self)(self.space, n, self.temperature)

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> RevealEach:
        return RevealEach(log_softmax(out), self._reveal(x, k), x, self.temperature)

    def _reveal(self, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, "b l"]:
        # (α_s − α_t)/(1 − α_t) with t = 1 − k/T and s = t − 1/T; 1 in the last step
        return (_masked(x).to(x.dtype) / (self.steps - k)).log()

    def moving(self, x: Float[Tensor, " b *state"], noise: Tensor, k: int) -> Bool[Tensor, " b"]:
        # The coin is in the noise and its rate is the process's own, so it falls before the network is asked.
        return _shown(noise, self._reveal(x, k)).any(1)


def _shown(noise: Float[Tensor, "b l s"], reveal: Float[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
    """Where the coin says that the letter is revealed."""
    log_uniform = -torch.exp(-noise[..., -1])  # a Gumbel number is -log(-log of a uniform one)
    return log_uniform <= reveal


def _masked(x: Float[Tensor, "b l s"]) -> Bool[Tensor, "b l"]:
    return x[..., -1] > 0.5
