"""The options of reward networks, shared by every oracle that trains one (light: no torch)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.registry.spec import Spec


class NetworkSpec(Spec):
    """A reward network and its training: a perceptron, or convolutions followed by one."""

    kind: Literal["auto", "mlp", "conv"] = Field(
        "auto",
        description="'mlp' on the flattened design, 'conv' for sequences and images; 'auto' is 'conv' for images and "
        "for sequences of more than 16 letters",
    )
    width: PositiveInt = Field(128, description="units per hidden layer")
    depth: PositiveInt | None = Field(
        None, description="hidden layers (default 2), or convolutions (default 4) before the one hidden layer"
    )
    channels: PositiveInt | None = Field(None, description="of each convolution (default 16); only with 'conv'")
    train_steps: PositiveInt = Field(1200, description="at most so many optimiser steps; stops early by validation")
    batch: PositiveInt = Field(128, description="designs a step, for each network")
    learning_rate: PositiveFloat = Field(5e-3, description="of Adam, decayed to 0 along a cosine")
    weight_decay: float = Field(1e-4, ge=0)

    @model_validator(mode="after")
    def _channels_need_convolutions(self) -> Self:
        if self.channels is not None and self.kind == "mlp":
            raise ValueError("`channels` has no meaning for kind = 'mlp'")
        return self
