"""The options that tasks share whose offline designs are the worse ones (light: no torch)."""

from __future__ import annotations

from pydantic import Field

from braid_core.registry.spec import TaskSpec


class CappedSpec(TaskSpec):
    """What tasks share whose offline designs are the measured ones below a reward quantile."""

    cap: float = Field(0.5, gt=0, le=1, description="Reward quantile at or below which designs are offline.")
    n: int | None = Field(
        None, ge=4, description="Size of a random subsample of the offline designs. Without it all are used."
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of noise added to the offline labels, in standard deviations of the offline "
        "rewards below the cap. Methods are not told its size.",
    )
