"""Oracle ``knn``: trust what lies near the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt

from braid_core.registry.spec import ScaledOracleSpec

if TYPE_CHECKING:
    import torch

    from braid_core.interfaces import Space
    from braid_example_knn.oracle import KnnOracle


class KnnSpec(ScaledOracleSpec):
    """Kernel-smoothed nearest neighbours: no training, and doubt that grows with the distance to the data."""

    type: str = "knn"
    neighbours: PositiveInt = Field(10, description="measured designs that a prediction looks at (k)")
    bandwidth: PositiveFloat = Field(1.0, description="width of the kernel, in typical distances between designs")

    def build(self, space: Space, device: torch.device) -> KnnOracle:
        from braid_example_knn.oracle import KnnOracle

        return KnnOracle(self, space, device)
