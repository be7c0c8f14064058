"""What can be estimated of the regret bound: how doubtful the designs are, and how far the data cover them.

Where |r̂ − r| ≤ ĝ, the tuned law p̂ is worse than any other law π by at most J(π) − J(p̂) ≤ 2·E_π[ĝ] (plus what tuning
left undone), and E_π[ĝ] ≤ √(C_π·E_off[ĝ²]) (Uehara et al. 2024, theorem 2). C_π itself needs densities that nobody
has; in feature space its counterpart is an eigenvalue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Oracle

BEST = 0.1
"""The share of the offline designs, the best, that are compared with: a law that the data support."""
BLOCK = 1024
RIDGE = 1e-6
"""Of the offline moments, relative to their mean eigenvalue: directions without data would give infinity."""


@torch.no_grad()
def regret(oracle: Oracle, data: LabelledDesigns, laws: Mapping[str, Tensor]) -> dict[str, Any]:
    """E_π[ĝ], in the rewards' unit, for samples of each law π and for the best tenth of the offline designs.

    ``offline``: √E_off[ĝ²]. ``concentrability``: C̄_π, for oracles with features and laws with designs.
    """
    top = data.y.topk(max(1, round(BEST * len(data)))).indices
    everything = {f"best {BEST:.0%} offline": data.x[top], **{name: x for name, x in laws.items() if len(x)}}
    found = {name: _ask(oracle, x) for name, x in everything.items()}
    penalty, phi = _ask(oracle, data.x)
    return {
        "penalty": {name: float(own.mean()) for name, (own, _) in found.items()},
        "offline": float(penalty.square().mean().sqrt()),
        "concentrability": {
            name: concentrability(own, phi) for name, (_, own) in found.items() if own is not None and phi is not None
        },
    }


def _ask(oracle: Oracle, x: Float[Tensor, " n *event"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n d"] | None]:
    """Penalties and features."""
    parts = [oracle.posterior(block) for block in torch.split(x, BLOCK)]
    features = [part.features for part in parts if part.features is not None]
    return torch.cat([part.penalty() for part in parts]), torch.cat(features) if features else None


def concentrability(law: Float[Tensor, "m d"], offline: Float[Tensor, "n d"]) -> float | None:
    """C̄_π = sup_k kᵀE_π[φφᵀ]k / kᵀE_off[φφᵀ]k: 1 where the data are the law's own, large where they do not cover it.

    None where the features of the data are all zero.
    """
    if not bool(offline.any()):
        return None
    own, other = (phi.double().T @ phi.double() / len(phi) for phi in (law, offline))
    other = other + RIDGE * other.diagonal().mean() * torch.eye(len(other), dtype=other.dtype, device=other.device)
    root = torch.linalg.cholesky(other)
    half = torch.linalg.solve_triangular(root, own, upper=False)
    return float(torch.linalg.eigvalsh(torch.linalg.solve_triangular(root, half.mT, upper=False))[-1])
