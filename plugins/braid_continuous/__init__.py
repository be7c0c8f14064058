"""Backbone ``gaussian``: variance-preserving diffusion (DDPM, DDIM) of vectors and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from braid_core.nets.spec import PretrainingSpec

if TYPE_CHECKING:
    import torch

    from braid_continuous.backbone import GaussianBackbone
    from braid_core.interfaces import Space


class GaussianSpec(PretrainingSpec):
    """Gaussian diffusion of vectors and images, in whatever units they come."""

    type: str = "gaussian"
    steps: int = Field(50, ge=1, le=1000, description="sampling steps, spaced evenly over the 1,000 training times")
    prediction: Literal["epsilon", "x0", "v"] = Field(
        "v",
        description="what the network predicts: the noise, the design, or a mixture that is well scaled at all times",
    )
    schedule: Literal["linear", "cosine"] = Field(
        "cosine", description="'linear' betas 1e-4 … 0.02 (Ho et al. 2020) or 'cosine' (Nichol & Dhariwal 2021)"
    )
    eta: float = Field(
        1.0, ge=0, le=1, description="noise of a step: 1 is DDPM, 0 deterministic DDIM, which cannot be tuned or guided"
    )
    variance: Literal["small", "large"] = Field(
        "small", description="of a DDPM step: 'small' is the posterior's, 'large' is beta; 'large' needs eta = 1"
    )
    last_noise: float = Field(
        0.5,
        ge=0,
        le=1,
        description="noise of the last step, as a share of the noise that is left before it; 0 is what other libraries "
        "do, and cannot be tuned: the path KL would be infinite",
    )
    clip: bool = Field(False, description="hold predicted images within the range of the training images")

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        if self.variance == "large" and self.eta != 1:
            raise ValueError(f"variance = 'large' has no meaning for eta = {self.eta}")
        if self.prediction == "epsilon" and self.schedule == "cosine" and not self.clip:
            raise ValueError(
                "prediction = 'epsilon' and schedule = 'cosine' need clip = true: the first step divides the network's "
                "error by a signal near 0; take prediction = 'v' or schedule = 'linear'"
            )
        return self

    def build(self, space: Space, device: torch.device) -> GaussianBackbone:
        from braid_continuous.backbone import gaussian

        return gaussian(self, space, device)
