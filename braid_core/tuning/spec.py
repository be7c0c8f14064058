"""The options that every fine-tuning objective shares (light: no torch)."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from braid_core.registry.spec import ObjectiveSpec


class FineTuningSpec(ObjectiveSpec):
    """Options of the fine-tuning loop; an objective adds its name and its ``build``."""

    alpha: float = Field(
        0.1, ge=0, description="weight of the path KL, in standard deviations of the offline rewards per nat"
    )
    steps: PositiveInt = Field(400, description="optimiser steps")
    batch: PositiveInt = Field(256, description="designs drawn in each step")
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam, decayed to 0 along a cosine")
    clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    truncate: PositiveInt | None = Field(
        None, description="let gradients pass through the states of the last K steps only (default: all)"
    )
    checkpoint: bool = Field(False, description="recompute activations in the backward pass to save memory")
