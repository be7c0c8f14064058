"""Objective ``braid``: doubly conservative fine-tuning (Uehara et al., NeurIPS 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braid_core.tuning.spec import FineTuningSpec

if TYPE_CHECKING:
    from braid_conservative.objective import Braid


class BraidSpec(FineTuningSpec):
    """Fine-tune on the conservative reward r̂ − ĝ, held to the pretrained model by the path KL."""

    type: str = "braid"

    def build(self) -> Braid:
        from braid_conservative.objective import Braid

        return Braid(self)
