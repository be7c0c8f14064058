"""What guidance follows on token chains: the letters of x̂0, not the state, whose noise has no gradient."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Potential, Process


def direction(
    process: Process, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential
) -> Float[Tensor, " b *event"]:
    """∂potential/∂x̂0 at the relaxed x̂0; no gradient flows through it."""
    with torch.enable_grad():
        x0 = process.denoised(out, x, k).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(potential(x0).sum(), x0)
    return gradient
