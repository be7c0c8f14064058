"""The options that every fine-tuning objective shares (light: no torch)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from braid_core.registry.spec import ObjectiveSpec, Spec

BUDGET = 4.0
"""Nats: what `benchmarks/default_budget.py` finds to serve all tasks."""
AUTO = "auto"
PATHWISE = {"truncate": None, "checkpoint": "auto", "letter_gradient": "auto"}
"""Options of the gradient through the rollout, and their defaults."""


class PolicySpec(Spec):
    """A policy gradient with PPO's clipped ratio, not through the rollout: for scores that have no gradient."""

    updates: PositiveInt = Field(4, description="optimiser steps on each batch of paths; with 1 the ratio is always 1")
    ratio: PositiveFloat = Field(0.2, description="how far the probability ratio of a step may move and still pay")


class FineTuningSpec(ObjectiveSpec):
    """Options of the fine-tuning loop; an objective adds its name and its ``build``."""

    kl_budget: PositiveFloat | tuple[PositiveFloat, ...] | Literal["auto"] | None = Field(
        BUDGET,
        description="path KL to spend, in nats: alpha is steered to hold it; several rising budgets are visited in "
        "turn, each in an equal share of the steps: the frontier of reward against KL; 'auto' lets a run choose on its "
        "offline data",
    )
    alpha: float | None = Field(
        None,
        ge=0,
        description="weight of the path KL, in offline standard deviations of the reward per nat, in place of a budget",
    )
    steps: PositiveInt = Field(400, description="optimiser steps")
    batch: PositiveInt = Field(128, ge=2, description="designs drawn in each step")
    learning_rate: PositiveFloat = Field(
        1e-3, description="of Adam, after 20 steps of warm-up decayed to 0 along a cosine (once for each budget)"
    )
    clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of a running mean of the weights that is kept in their place"
    )
    milestones: NonNegativeInt = Field(
        8,
        description="earlier states to keep, evenly spaced, to see afterwards what tuning did (budgets: one for each)",
    )
    policy: PolicySpec | None = Field(
        None, description="options of a policy gradient, in place of the gradient through the rollout"
    )
    truncate: PositiveInt | None = Field(
        None, description="let gradients pass through the states of the last K steps only (default: all)"
    )
    checkpoint: bool | Literal["auto"] = Field(
        "auto",
        description="recompute activations in the backward pass: much less memory for 1.6 times the time; 'auto' does "
        "where they would take more than 4 GiB, on a GPU more than half of what is free",
    )
    letter_gradient: Literal["auto", "exact", "relaxed"] = Field(
        "auto",
        description="of the reward with respect to the letters of token designs: 'exact' scores every single "
        "substitution (length × (letters − 1) more oracle evaluations a design, without autograd), 'relaxed' "
        "differentiates the oracle between the letters (cheaper, but biased); 'auto' is exact up to 64 substitutions",
    )

    @model_validator(mode="before")
    @classmethod
    def _alpha_replaces_the_budget(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("alpha") is not None and "kl_budget" not in given:
            return {**given, "kl_budget": None}
        return given

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if (self.alpha is None) == (self.kl_budget is None):
            raise ValueError("give either `alpha` or `kl_budget`: each follows from the other")
        if self.kl_budget == ():
            raise ValueError("`kl_budget` lists no budget: give a number of nats, or several that rise")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError(f"the budgets {self.budgets} do not rise")
        if self.steps < len(self.budgets):
            raise ValueError(f"{self.steps} steps are too few for {len(self.budgets)} budgets")
        return self

    @model_validator(mode="after")
    def _options_apply(self) -> Self:
        idle = [name for name, default in PATHWISE.items() if self.policy and getattr(self, name) != default]
        if idle:
            raise ValueError(f"{', '.join(idle)}: of the gradient through the rollout, which `policy` replaces")
        return self

    @property
    def budgets(self) -> tuple[float, ...]:
        """The path KLs to visit in turn, in nats; none where alpha is given or a run is still to choose."""
        if self.kl_budget is None or isinstance(self.kl_budget, str):
            return ()
        return self.kl_budget if isinstance(self.kl_budget, tuple) else (self.kl_budget,)

    @property
    def shares(self) -> tuple[int, ...]:
        """The last step of each budget's share of the steps; of all of them where there is but one, or alpha."""
        n = max(1, len(self.budgets))
        return tuple(self.steps * (i + 1) // n for i in range(n))

    @property
    def kept(self) -> tuple[int, ...]:
        """The steps before the last one after which the weights are kept."""
        if len(self.budgets) > 1:
            return self.shares[:-1]
        n = self.milestones + 1
        return tuple(sorted({self.steps * i // n for i in range(1, n)} - {0}))
