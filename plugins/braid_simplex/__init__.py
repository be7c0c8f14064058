"""Backbone ``simplex``: Dirichlet diffusion (DDSM) of DNA, RNA and proteins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from braid_core.nets.spec import PretrainingSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_simplex.backbone import SimplexBackbone


class SimplexSpec(PretrainingSpec):
    """Jacobi diffusion of each letter on its simplex, in stick-breaking coordinates (Avdeyev et al. 2023)."""

    type: str = "simplex"
    steps: int = Field(25, ge=2, le=1000, description="sampling steps, the drawing of the letters included")
    horizon: PositiveFloat = Field(4.0, description="time of the diffusion at which it counts as forgotten")
    end: PositiveFloat = Field(
        0.5,
        description="time of the diffusion at which every position draws its letter: 0.3 is more exact for letters "
        "that depend on each other closely, up to 1 gives steadier gradients to fine-tuning",
    )
    warp: float = Field(2.0, ge=1, description="1 spaces the steps evenly; more makes them shorter towards the data")
    speed: Annotated[float, Field(gt=0)] | Literal["balanced"] = Field(
        "balanced",
        description="of the sticks: 'balanced' lets all forget at the same rate, a number is the same for all",
    )
    objective: Literal["cross_entropy", "bound"] = Field(
        "cross_entropy", description="what pretraining minimises: the letters' cross-entropy, or the evidence bound"
    )
    temperature: PositiveFloat | None = Field(
        None,
        description="gradients through letters: by default the second-order straight-through estimator; a number "
        "takes the Gumbel-softmax relaxation at this temperature (samples are the same)",
    )

    @model_validator(mode="after")
    def _end_before_horizon(self) -> Self:
        if self.end >= self.horizon:
            raise ValueError(f"end = {self.end} must come before horizon = {self.horizon}")
        return self

    def build(self, space: Space, device: torch.device) -> SimplexBackbone:
        from braid_simplex.backbone import simplex

        return simplex(self, space, device)
