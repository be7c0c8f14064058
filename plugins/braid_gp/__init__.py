"""Oracle ``gp``: a Gaussian process, exact where it can be and sparse above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from braid_core.nets.spec import NetworkSpec
from braid_core.registry.spec import ScaledOracleSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_gp.oracle import GPOracle


class GPSpec(ScaledOracleSpec):
    """A Gaussian process on the design, or on features that a reward network has learned; mean − c·std."""

    type: str = "gp"
    features: Literal["design", "learned"] = Field(
        "design", description="what the kernel compares: designs, or the last hidden layer of a reward network"
    )
    kernel: Literal["rbf", "matern"] = Field("rbf", description="squared exponential, or Matérn with ν = 5/2")
    exact: PositiveInt = Field(2000, description="up to so many designs the posterior is exact")
    inducing: PositiveInt = Field(512, description="inducing designs of the sparse posterior above")
    network: NetworkSpec | None = Field(None, description="with features = 'learned': the reward network")

    @model_validator(mode="after")
    def _a_network_needs_learned_features(self) -> Self:
        if self.network is not None and self.features != "learned":
            raise ValueError("`network` has no meaning for features = 'design'")
        return self

    def build(self, space: Space, device: torch.device) -> GPOracle:
        from braid_gp.oracle import GPOracle

        return GPOracle(self, space, device)
