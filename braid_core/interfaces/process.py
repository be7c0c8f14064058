"""A generative chain without weights: from noise at k = 0 to a design after ``steps`` steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.interfaces.condition import Condition
from braid_core.interfaces.space import Space
from braid_core.interfaces.transition import Transition

Predict = Callable[[Tensor, Tensor, Condition | None], Tensor]
"""A network: ``predict(x: "b *state", t: "b", condition) -> out``; ``out`` is additive (logits, ε, x0, v, score)."""

Potential = Callable[[Tensor], Tensor]
"""What guidance follows: ``potential(x: "b *event") -> "b"``."""


def stratified(n: int, parts: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """``n`` random indices of ``parts`` equal parts of an interval, for losses: one from each nth of it.

    They come in random order and share one offset, so that each is uniform by itself.
    """
    start = torch.rand((), generator=generator, device=generator.device)
    strata = torch.randperm(n, generator=generator, device=generator.device)
    return ((strata + start) / n * parts).long().clamp(max=parts - 1)


class Process(ABC):
    """The chain's mathematics. It never calls a network: it is handed ``out``, the prediction at ``(x, time(k))``.

    Time runs from 1 (noise) to 0 (data) and is what the network sees, so that :meth:`with_steps` needs no new
    weights.
    """

    space: Space
    steps: int
    transition_type: type[Transition]
    """The class whose ``noise`` the rollout draws before it calls the network.

    Steps may be of other classes too, if this one's ``noise`` has the shape and the law that all of them consume.
    """
    guided_through_state: bool = True
    """Whether :meth:`guided` differentiates with respect to the state, and so through the network; else the rollout
    asks the network without gradients."""

    @abstractmethod
    def with_steps(self, n: int) -> Self:
        """The same chain in ``n`` steps."""

    def time(self, k: int) -> float:
        """The time at which the network is asked for step ``k``."""
        return 1 - k / self.steps

    @property
    def tunable(self) -> bool:
        """Whether every step has noise; without it the path KL is infinite and tuning refuses the chain."""
        return True

    @abstractmethod
    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        """``n`` start states, on the generator's device."""

    @abstractmethod
    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Transition:
        """p(x_{k+1} | x_k = x), from the network's output at ``(x, time(k))``."""

    def moving(self, x: Float[Tensor, " b *state"], noise: Tensor, k: int) -> Bool[Tensor, " b"] | None:
        """The states that step k with this noise changes, whatever the network says of them; ``None``: maybe all.

        Where only designs are wanted, the network is spared the others.
        """
        return None

    @abstractmethod
    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        """x̂0: the expected design, given the state; relaxed for letters."""

    @abstractmethod
    def guided(
        self, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential, level: float
    ) -> Transition:
        """The step tilted along ``level`` times the gradient of ``potential(x̂0)``.

        Continuous chains differentiate with respect to the state, through the network if ``x`` requires a
        gradient; token chains with respect to the letters of x̂0, leaving the rate of unmasking as it is.
        """

    @abstractmethod
    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        """The design in the last state: hard forward, soft backward."""

    @abstractmethod
    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        """A negative evidence bound (or its usual surrogate) per design, so that designs can be weighted."""

    def bound(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"] | None:
        """A negative evidence bound in nats per design, in expectation; ``None`` where there is none."""
        return None
