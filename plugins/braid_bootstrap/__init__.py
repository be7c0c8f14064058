"""Oracle ``bootstrap``: an ensemble, each member on its own resample of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from braid_core.nets.spec import NetworkSpec
from braid_core.registry.spec import ScaledOracleSpec

if TYPE_CHECKING:
    import torch

    from braid_bootstrap.oracle import BootstrapOracle
    from braid_core.interfaces import Space


class BootstrapSpec(ScaledOracleSpec):
    """M networks on with-replacement resamples; the conservative reward is their minimum (c = 1, bound = 'min')."""

    type: str = "bootstrap"
    members: int = Field(5, ge=2, description="networks in the ensemble (M)")
    bound: Literal["min", "std"] = Field(
        "min", description="the penalty: c·(mean − minimum over members), or c·(standard deviation over members)"
    )
    network: NetworkSpec = Field(NetworkSpec(), description="of each member")

    def build(self, space: Space, device: torch.device) -> BootstrapOracle:
        from braid_bootstrap.oracle import BootstrapOracle

        return BootstrapOracle(self, space, device)
