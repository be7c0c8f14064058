"""Oracle ``bootstrap``: an ensemble, each member on its own resample of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from braid_core.registry.spec import OracleSpec

if TYPE_CHECKING:
    import torch

    from braid_bootstrap.oracle import BootstrapOracle
    from braid_core.interfaces import Space


class BootstrapSpec(OracleSpec):
    """M networks on with-replacement resamples; the conservative reward is their minimum (c = 1, bound = 'min')."""

    type: str = "bootstrap"
    members: int = Field(5, ge=2, description="networks in the ensemble (M)")
    bound: Literal["min", "std"] = Field(
        "min", description="the penalty: c·(mean − minimum over members), or c·(standard deviation over members)"
    )
    c: PositiveFloat = Field(1.0, description="scale of the penalty")
    width: PositiveInt = Field(128, description="units per hidden layer")
    depth: PositiveInt = Field(2, description="hidden layers")
    train_steps: PositiveInt = Field(1200, description="at most so many optimiser steps; stops early by validation")
    batch: PositiveInt = 256
    learning_rate: PositiveFloat = 5e-3
    weight_decay: float = Field(1e-4, ge=0)

    def build(self, space: Space, device: torch.device) -> BootstrapOracle:
        from braid_bootstrap.oracle import BootstrapOracle

        return BootstrapOracle(self, space, device)
