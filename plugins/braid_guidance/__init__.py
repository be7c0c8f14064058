"""Objectives ``guidance`` and ``best-of-n``: inference-time methods, for which the pretrained model stays frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.registry.spec import ObjectiveSpec

if TYPE_CHECKING:
    from braid_guidance.best_of_n import BestOfN
    from braid_guidance.guided import GuidedSampling


class GuidanceSpec(ObjectiveSpec):
    """Each reverse step of the pretrained model is tilted along the gradient of what the oracle thinks of x̂0."""

    type: str = "guidance"
    level: float = Field(1.0, ge=0, description="how far each step is tilted; 0 draws from the pretrained model")
    potential: Literal["likelihood", "reward"] = Field(
        "likelihood",
        description="what is followed: 'likelihood' is log N(target; r̂(x̂0), noise²), 'reward' is r̂(x̂0) in standard "
        "deviations of the offline rewards",
    )
    target: float | None = Field(
        None, description="the reward that is aimed at, in the task's units (default: the offline maximum)"
    )
    noise: PositiveFloat | None = Field(
        None,
        description="standard deviation of the likelihood, in the task's units (default: the oracle's error on the "
        "designs held out from it)",
    )
    conservative: bool = Field(False, description="take r̂ − ĝ in place of r̂")

    @model_validator(mode="after")
    def _likelihood_options(self) -> Self:
        given = [name for name in ("target", "noise") if getattr(self, name) is not None]
        if given and self.potential == "reward":
            raise ValueError(f"`{given[0]}` has no meaning for potential = 'reward'")
        return self

    def build(self) -> GuidedSampling:
        from braid_guidance.guided import GuidedSampling

        return GuidedSampling(self)


class BestOfNSpec(ObjectiveSpec):
    """Every design is the best of n draws from the pretrained model by the conservative reward.

    By default a pool of 1,024 designs costs 51,200 draws, as many as fine-tuning looks at (400 steps of 128).
    """

    type: str = "best-of-n"
    n: PositiveInt = Field(50, description="draws from the pretrained model for each design")

    def build(self) -> BestOfN:
        from braid_guidance.best_of_n import BestOfN

        return BestOfN(self)
