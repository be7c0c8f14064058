"""BRAID: conservative in the reward and in the designs."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Posterior
from braid_core.tuning.finetune import FineTuning


class Braid(FineTuning):
    """Maximises E[r̂ − ĝ] − α·KL; its optimum is p* ∝ p_pre·exp((r̂ − ĝ)/α)."""

    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        return posterior.conservative()
