"""How much of the data is left at each time: ᾱ on the grid of 1,000 training times."""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TIMES = 1000
"""The network is trained at the times i/TIMES, i = 1 … TIMES; time 0 is the data."""

ScheduleName = Literal["linear", "cosine"]


@cache
def signals(schedule: ScheduleName) -> Float[Tensor, " times_and_data"]:
    """ᾱ at the times i/TIMES, i = 0 … TIMES, in float64; ᾱ(0) = 1."""
    betas = torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64) if schedule == "linear" else _cosine_betas()
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


@cache
def noising(schedule: ScheduleName, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "3 times_and_data"]:
    """√ᾱ, √(1 − ᾱ) and ᾱ/(1 − ᾱ) at these times, for the loss; made once, since a copy to a device waits for it."""
    signal = signals(schedule)  # roots are taken in float64, and only then rounded
    return torch.stack([signal.sqrt(), (1 - signal).sqrt(), signal / (1 - signal).clamp(min=1e-12)]).to(device, dtype)


def _cosine_betas() -> Float[Tensor, " times"]:
    """Nichol & Dhariwal 2021, eq. 17: ᾱ ∝ cos²(½π·(t + s)/(1 + s)) with s = .008, each β at most .999."""
    t = torch.linspace(0, 1, TIMES + 1, dtype=torch.float64)
    signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
