"""What a nat of path KL costs: a given alpha, or the one at which a budget is spent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.tuning.spec import AUTO, FineTuningSpec


class Price(ABC):
    """Alpha, in standard deviations of the offline rewards per nat, from step to step."""

    @abstractmethod
    def next(self, score: Float[Tensor, " b"], kl: Float[Tensor, " b"], steps: int = 1) -> Float[Tensor, ""]:
        """Alpha for the next ``steps`` optimiser steps.

        ``score`` (in offline standard deviations) and ``kl`` (path KL, nats) are those of freshly drawn designs.
        """


@final
class FixedPrice(Price):
    """The same alpha all along."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def next(self, score: Float[Tensor, " b"], kl: Float[Tensor, " b"], steps: int = 1) -> Float[Tensor, ""]:
        return kl.new_full((), self.alpha)


@final
class BudgetPrice(Price):
    """Steers alpha so that the path KL comes to ``budgets``, one after the other; ``ends``: the last step of each.

    A small tilt exp(s/α) of the pretrained law costs KL = Var(s)/(2α²) nats (second order of the cumulant generating
    function), so log α = log sd(s) − ½ log(2·KL) is where to start, and the KL answers a change of log α with twice
    the change in its logarithm, once tuning has followed. A proportional and integral correction of the smoothed
    log(KL/target) does the rest. The target rises from the last budget's over the first fifth of each share: an alpha
    that fits the end would let the KL overshoot before the controller has felt it.
    """

    RISE, SMOOTH, PROPORTIONAL, INTEGRAL, MOST = 0.2, 0.5, 2.0, 0.06, 2.0
    FLAT = 0.01
    """Offline standard deviations: a score that varies less says nothing, and alpha must not follow it to 0."""
    FARTHEST = 5.0
    """The integral's limit, a factor of e⁵: a budget that cannot be reached must not spoil the next one."""

    def __init__(self, budgets: tuple[float, ...], ends: tuple[int, ...]) -> None:
        self.budgets, self.ends = (0.0, *budgets), (0, *ends)
        self.step = 0
        self.spread: Tensor | None = None
        self.kl = self.integral = torch.zeros(())

    def target(self) -> float:
        """The path KL wanted now, in nats."""
        rung = max(i for i, end in enumerate(self.ends[:-1]) if end <= self.step)
        share = self.ends[rung + 1] - self.ends[rung]
        done = min(1.0, (self.step - self.ends[rung]) / (self.RISE * share))
        low, high = self.budgets[rung], self.budgets[rung + 1]
        return max(low + done * (high - low), high / 20)

    @torch.no_grad()
    def next(self, score: Float[Tensor, " b"], kl: Float[Tensor, " b"], steps: int = 1) -> Float[Tensor, ""]:
        # Of the pretrained model's designs, or of the first ones of which the score says anything.
        spread = score.std().clamp(min=self.FLAT)
        self.spread = spread if self.spread is None else torch.where(self.spread > self.FLAT, self.spread, spread)
        target = self.target()
        self.step += steps
        self.kl = torch.lerp(self.kl.to(kl), kl.mean(), 1 - (1 - self.SMOOTH) ** steps)
        error = (self.kl / target).clamp(min=1e-6).log().clamp(-self.MOST, self.MOST)
        integral = self.integral.to(kl) + steps * self.INTEGRAL * error
        self.integral = integral.clamp(-self.FARTHEST, self.FARTHEST)
        first: Tensor = self.spread / (2 * target) ** 0.5
        return first * (self.PROPORTIONAL * error + self.integral).exp()


def price(spec: FineTuningSpec) -> Price:
    """What ``spec`` asks for. Raises :class:`SpecError` for ``kl_budget = "auto"``, which a run replaces."""
    if spec.kl_budget == AUTO:
        raise SpecError(
            "kl_budget = 'auto' has to be chosen before tuning starts",
            where=f"objective {spec.type!r}",
            why="it is chosen by a run, which rehearses the method on a part of the offline data",
            fix="use it in a RunSpec, or give a number of nats",
        )
    return FixedPrice(spec.alpha) if spec.alpha is not None else BudgetPrice(spec.budgets, spec.shares)
