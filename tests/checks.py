"""What numerical tests share: seeds, finite differences, agreement of samples with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.stats import chisquare
from torch import Tensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agrees(samples: Tensor, probabilities: Tensor) -> bool:
    """Whether the category numbers in ``samples`` were drawn from ``probabilities`` (chi-square, p > 0.001)."""
    counts = torch.bincount(samples, minlength=len(probabilities))
    possible = probabilities > 0
    if bool(counts[~possible].any()):
        return False
    expected = probabilities[possible].double()
    expected = expected / expected.sum() * len(samples)
    return bool(chisquare(counts[possible].numpy(), expected.detach().numpy()).pvalue > 1e-3)


def slopes(value: Callable[[], Tensor], parameters: Sequence[Tensor], step: float = 1e-5) -> list[Tensor]:
    """Central finite differences of ``value()`` with respect to every entry of ``parameters``."""
    gradients = []
    with torch.no_grad():
        for parameter in parameters:
            gradient = torch.zeros_like(parameter)
            for i in range(parameter.numel()):
                entry, slope = parameter.view(-1)[i : i + 1], gradient.view(-1)
                kept = entry.clone()
                entry += step
                above = value()
                entry.copy_(kept - step)
                slope[i] = (above - value()) / (2 * step)
                entry.copy_(kept)
            gradients.append(gradient)
    return gradients


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
