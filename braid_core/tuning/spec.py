"""The options that every fine-tuning objective shares (light: no torch)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from braid_core.registry.spec import ObjectiveSpec


class FineTuningSpec(ObjectiveSpec):
    """Options of the fine-tuning loop; an objective adds its name and its ``build``."""

    alpha: float = Field(
        0.2, ge=0, description="weight of the path KL, in standard deviations of the offline rewards per nat"
    )
    steps: PositiveInt = Field(400, description="optimiser steps")
    batch: PositiveInt = Field(128, description="designs drawn in each step")
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam, decayed to 0 along a cosine")
    clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    truncate: PositiveInt | None = Field(
        None, description="let gradients pass through the states of the last K steps only (default: all)"
    )
    checkpoint: bool = Field(False, description="recompute activations in the backward pass to save memory")
    letter_gradient: Literal["auto", "exact", "relaxed"] = Field(
        "auto",
        description="of the reward with respect to the letters of token designs: 'exact' scores every single "
        "substitution (length × (letters − 1) more oracle evaluations a design, without autograd), 'relaxed' "
        "differentiates the oracle between the letters (cheaper, but biased); 'auto' is exact up to 256 substitutions",
    )
