"""STRL: BRAID's loop with ĝ = 0."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Posterior
from braid_core.tuning.finetune import FineTuning


class Strl(FineTuning):
    """Maximises E[r̂] − α·KL: the same loop, so that a difference to BRAID is due to pessimism alone."""

    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        return posterior.mean
