"""Shrinking a measured landscape towards its own neighbourhoods, so that noise does not pass for the truth.

Empirical Bayes after Efron & Morris (JASA 68, 117-130, 1973): a measurement yᵢ ~ N(fᵢ, vᵢ) of known variance, and a
prior fᵢ ~ N(mᵢ, τ²) whose mean is the average of the designs that differ in one letter and whose variance is estimated
by moments, E[(yᵢ − mᵢ)²] = τ² + vᵢ, separately at different heights mᵢ: peaks are rough where plains are flat.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

CLASSES = 20
"""Into how many equally large classes of mᵢ the landscape is divided to estimate τ²."""


def neighbour_mean(y: Float[Tensor, " b"], alphabet: int, length: int) -> Float[Tensor, " b"]:
    """mᵢ: the mean reward of the measured designs one letter away; NaN where none of them is measured.

    ``y`` holds all ``alphabet ** length`` designs in the order of their codes, NaN where not measured.
    """
    shape = (alphabet,) * length
    total, count = (_over_neighbours(part.reshape(shape)).flatten() for part in (y.nan_to_num(0), (~y.isnan()).to(y)))
    return total / count


def _over_neighbours(table: Float[Tensor, " *letters"]) -> Float[Tensor, " *letters"]:
    """Sums over all entries that differ in exactly one index."""
    return sum((table.sum(axis, keepdim=True) - table for axis in range(table.ndim)), torch.zeros_like(table))


def prior_variance(
    y: Float[Tensor, " n"], variance: Float[Tensor, " n"], mean: Float[Tensor, " n"], classes: int
) -> Float[Tensor, " n"]:
    """τ² of each entry: the mean excess of (y − m)² over the noise in its class of equal m, at least 0."""
    label = torch.empty(len(y), dtype=torch.long)
    label[mean.argsort(stable=True)] = torch.arange(len(y)) * classes // len(y)
    excess = torch.zeros(classes, dtype=y.dtype).index_add(0, label, (y - mean) ** 2 - variance)
    return (excess / label.bincount(minlength=classes)).clamp_min(0)[label]


def posterior_mean(
    y: Float[Tensor, " b"], variance: Float[Tensor, " b"], alphabet: int, length: int, classes: int = CLASSES
) -> Float[Tensor, " b"]:
    """m + τ²/(τ² + v)·(y − m) for every measured design, NaN for the others; see the module for the model.

    A design without measured neighbours keeps its measurement: nothing is known that it could be shrunk towards.
    """
    mean = neighbour_mean(y, alphabet, length)
    known = (~y.isnan() & ~mean.isnan()).nonzero().flatten()
    y_k, v_k, m_k = y[known], variance[known], mean[known]
    tau2 = prior_variance(y_k, v_k, m_k, classes)
    shrunk = y.clone()
    shrunk[known] = m_k + tau2 / (tau2 + v_k) * (y_k - m_k)
    return shrunk
