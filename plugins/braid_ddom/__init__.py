"""Objective ``ddom``: a conditional model, retrained on the offline table and asked for its best reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt

from braid_core.registry.spec import ObjectiveSpec

if TYPE_CHECKING:
    from braid_ddom.objective import Ddom


class DdomSpec(ObjectiveSpec):
    """DDOM (Krishnamoorthy et al., ICML 2023): the backbone's conditional twin learns designs given their rewards.

    The oracle takes no part but to score what is drawn. Weights are those of :func:`braid_ddom.weights.weights`.
    """

    type: str = "ddom"
    gamma: float = Field(2.0, ge=0, description="classifier-free guidance: (1 + gamma)·told − gamma·untold")
    target: float | None = Field(
        None, description="the reward that is asked for, in the task's units (default: the offline maximum)"
    )
    label_dropout: float = Field(0.15, ge=0, lt=1, description="share of the rewards hidden in training")
    bins: PositiveInt = Field(20, description="of equal width, by which designs are weighted")
    quantile: float = Field(
        0.9, gt=0, lt=1, description="of the rewards, whose distance from the maximum is the temperature of the weights"
    )
    least_temperature: PositiveFloat = Field(1e-3, description="where that distance is smaller, in the task's units")
    smoothing: PositiveFloat = Field(1e-3, description="share of the designs below which a bin counts for less")
    largest_weight: PositiveFloat = Field(5.0, description="larger weights are cut to it")

    def build(self) -> Ddom:
        from braid_ddom.objective import Ddom

        return Ddom(self)
