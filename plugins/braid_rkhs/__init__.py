"""Oracle ``rkhs``: a bonus from the covariance of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.nets.spec import NetworkSpec
from braid_core.registry.spec import ScaledOracleSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_rkhs.oracle import RKHSOracle


class RKHSSpec(ScaledOracleSpec):
    """The penalty c·√(φᵀ(Σφφᵀ + λI)⁻¹φ) in standard deviations of the rewards, φ from a reward network or a kernel."""

    type: str = "rkhs"
    features: Literal["learned", "nystroem", "fourier"] = Field(
        "learned",
        description="the last hidden layer of a reward network, or features of a Gaussian kernel: Nyström, or random "
        "Fourier",
    )
    lam: PositiveFloat = Field(1.0, description="ridge (λ), in features with a mean squared norm of 1")
    components: PositiveInt | None = Field(
        None,
        description="kernel features (default 512; with 'nystroem' at most as many as designs); not with 'learned'",
    )
    bandwidth: PositiveFloat | None = Field(
        None,
        description="of the kernel, in typical distances between designs; chosen on held-out designs if it is not "
        "given; not with 'learned'",
    )
    network: NetworkSpec | None = Field(None, description="with features = 'learned': the reward network")

    @model_validator(mode="after")
    def _options_apply(self) -> Self:
        learned = self.features == "learned"
        foreign = ("components", "bandwidth") if learned else ("network",)
        for name in foreign:
            if getattr(self, name) is not None:
                raise ValueError(f"`{name}` has no meaning for features = {self.features!r}")
        return self

    def build(self, space: Space, device: torch.device) -> RKHSOracle:
        from braid_rkhs.oracle import RKHSOracle

        return RKHSOracle(self, space, device)
