"""Backbones ``masked`` and ``uniform``: discrete diffusion over tokens, by masks or by random letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.nets.spec import PretrainingSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_core.nets.backbone import NetworkBackbone


class MaskedSpec(PretrainingSpec):
    """Masked diffusion over tokens."""

    type: str = "masked"
    reveal: Literal["auto", "one", "parallel"] = Field(
        "auto",
        description="'one' reveals exactly one position a step, in random order (as many steps as letters; the tuned "
        "optimum is then exactly reachable); 'parallel' lets every masked position be revealed independently; 'auto': "
        "'one' up to 100 letters, and 16 parallel steps for longer designs",
    )
    steps: PositiveInt | None = Field(None, description="sampling steps of 'parallel' (default: the number of letters)")
    temperature: PositiveFloat | None = Field(
        None,
        description="gradients through letters: by default the second-order straight-through estimator; a number "
        "takes the Gumbel-softmax relaxation at this temperature (samples are the same)",
    )

    @model_validator(mode="after")
    def _steps_apply(self) -> Self:
        if self.steps is not None and self.reveal != "parallel":
            raise ValueError(
                "`steps` applies to reveal='parallel' only: say so; 'one' takes as many steps as there are letters"
            )
        return self

    def build(self, space: Space, device: torch.device) -> NetworkBackbone:
        from braid_discrete.backbone import masked

        return masked(self, space, device)


class UniformSpec(PretrainingSpec):
    """Uniform diffusion over tokens: noise is random letters, and any letter may change in any step."""

    type: str = "uniform"
    steps: PositiveInt | None = Field(
        None,
        description="sampling steps (default: twice the number of letters, at least 32); also the steps whose bound "
        "is trained. Letters are independent within a step: twice the steps, half the error",
    )
    temperature: PositiveFloat | None = Field(
        None,
        description="gradients through letters: by default the second-order straight-through estimator; a number "
        "takes the Gumbel-softmax relaxation at this temperature (samples are the same)",
    )

    def build(self, space: Space, device: torch.device) -> NetworkBackbone:
        from braid_discrete.backbone import uniform

        return uniform(self, space, device)
