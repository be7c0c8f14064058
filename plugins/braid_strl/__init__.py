"""Objective ``strl``: standard fine-tuning on the learned reward, the ablation without pessimism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braid_core.tuning.spec import FineTuningSpec

if TYPE_CHECKING:
    from braid_strl.objective import Strl


class StrlSpec(FineTuningSpec):
    """Fine-tune on the expected reward r̂ alone; everything else is as in ``braid``."""

    type: str = "strl"

    def build(self) -> Strl:
        from braid_strl.objective import Strl

        return Strl(self)
