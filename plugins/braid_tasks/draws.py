"""What computed landscapes are drawn from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, " ..."]:
    """Standard normal values in double precision: rewards are computed from them, and rounded once."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)
