"""How much each measured design counts: the good ones more, and the frequent ones less."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-7


def weights(
    y: Float[Tensor, " n"],
    *,
    bins: int = 20,
    quantile: float = 0.9,
    least_temperature: float = 1e-3,
    smoothing: float = 1e-3,
    largest: float = 5.0,
) -> Float[Tensor, " n"]:
    """The weight of designs with rewards ``y``, in the units of the data (Krishnamoorthy et al. 2023, their code).

    Bins of equal width from the least to the largest y, with h the share of the designs in a bin and τ the distance
    of a high ``quantile`` from the maximum: p ∝ softmax(right edges/τ)·h/(h + smoothing) is where the model should
    learn, and w = p/(h + 1e-7), cut to ``largest``, takes it there. The y must not all be equal.
    """
    rewards = y.double()
    top = rewards.max()
    edges = torch.linspace(0, 1, bins + 1, device=y.device, dtype=torch.float64) * (top - rewards.min()) + rewards.min()
    place = torch.bucketize(rewards, edges[1:], right=True).clamp(max=bins - 1)  # the maximum is in the last bin
    share = torch.bincount(place, minlength=bins) / len(y)
    temperature = torch.quantile(rewards - top, quantile).abs().clamp(min=least_temperature)
    wanted = torch.softmax(edges[1:] / temperature, 0) * share / (share + smoothing)
    wanted = wanted / wanted.sum()
    return (wanted / (share + TINY)).clamp(max=largest)[place].to(y.dtype)
