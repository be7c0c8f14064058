"""Backbone ``masked``: absorbing (masked) discrete diffusion over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.registry.spec import BackboneSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_discrete.backbone import MaskedBackbone


class MaskedSpec(BackboneSpec):
    """Masked diffusion with an MLP over all letters: meant for short sequences (up to about 100 letters)."""

    type: str = "masked"
    reveal: Literal["one", "parallel"] = Field(
        "one",
        description="'one' reveals exactly one position a step, in random order (as many steps as letters; the tuned "
        "optimum is then exactly reachable); 'parallel' lets every masked position be revealed independently",
    )
    steps: PositiveInt | None = Field(None, description="sampling steps of 'parallel' (default: the number of letters)")
    width: PositiveInt = Field(256, description="units per hidden layer")
    depth: PositiveInt = Field(2, description="hidden layers")
    train_steps: PositiveInt = Field(2000, description="at most so many optimiser steps; stops early by validation")
    batch: PositiveInt = 512
    learning_rate: PositiveFloat = 2e-3
    temperature: PositiveFloat | None = Field(
        None,
        description="gradients through letters: by default the second-order straight-through estimator; a number "
        "takes the Gumbel-softmax relaxation at this temperature (samples are the same)",
    )

    @model_validator(mode="after")
    def _steps_apply(self) -> Self:
        if self.steps is not None and self.reveal == "one":
            raise ValueError(
                "`steps` applies to reveal='parallel' only: 'one' takes as many steps as there are letters"
            )
        return self

    def build(self, space: Space, device: torch.device) -> MaskedBackbone:
        from braid_discrete.backbone import MaskedBackbone

        return MaskedBackbone(self, space, device)
