"""The weights of designs, against numbers worked out by hand and against the formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from braid_ddom.weights import weights
from torch import Tensor

from tests.checks import seeded


def by_formula(y: Tensor) -> np.ndarray:
    """20 equal-width bins, h = bin share, τ = |q_0.9(y − max y)| ≥ 1e-3; p ∝ softmax(right edge/τ)·h/(h + 1e-3);
    w = p/(h + 1e-7), cut to [0, 5]."""
    rewards = y.double().numpy()
    counts, edges = np.histogram(rewards, bins=20)
    h = counts / counts.sum()
    tau = max(abs(np.quantile(rewards - rewards.max(), 0.9)), 1e-3)
    logits = edges[1:] / tau
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    p = softmax * h / (h + 1e-3)
    p = p / p.sum()
    found = []
    for value in rewards:
        place = next(i for i in range(20) if value < edges[i + 1] or i == 19)
        found.append(min(max(p[place] / (h[place] + 1e-7), 0), 5))
    return np.array(found)


def test_a_worked_example() -> None:
    """y = 0, 1, 3, 4 in two bins: h = ½, ½; the 90 % quantile of y − 4 is −0.3, so that τ = 0.3 and
    p = e^(−2/0.3) : 1 = 0.0012710 : 0.9987290, as h/(h + 1e-3) is the same in both; w = 2·p."""
    found = weights(torch.tensor([0.0, 1.0, 3.0, 4.0]), bins=2)
    low, high = 0.00254203, 1.99745797
    torch.testing.assert_close(found, torch.tensor([low, low, high, high]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_they_are_the_formula(seed: int) -> None:
    """On a skew table, in whatever unit; the last table has gaps between its bins."""
    y = torch.randn(500, generator=seeded(seed)).exp() * (0.01, 1.0, 100.0, 1.0)[seed]
    if seed == 3:
        y = y.round()
    found = weights(y)
    torch.testing.assert_close(found.double(), torch.from_numpy(by_formula(y)), rtol=1e-5, atol=1e-9)
    assert float(found.max()) > 1 > float(found.min())


def test_ties_at_the_maximum_do_not_divide_by_zero() -> None:
    """The 90 % quantile is the maximum itself: τ is 1e-3, and only the maximum counts."""
    y = torch.cat([torch.linspace(0, 1, 50), torch.ones(10)])
    found = weights(y)
    torch.testing.assert_close(found.double(), torch.from_numpy(by_formula(y)), rtol=1e-5, atol=1e-9)
    assert bool((found[y > 0.95] > 1).all())
    assert float(found[y < 0.95].max()) < 1e-15


def test_what_is_rare_and_best_is_cut() -> None:
    y = torch.cat([torch.linspace(0, 1, 999), torch.tensor([3.0])])
    assert float(weights(y)[-1]) == 5
    assert float(weights(y, largest=2.0)[-1]) == 2
    assert float(weights(y, largest=1e9)[-1]) > 5


def test_a_smoother_share_counts_rare_bins_less() -> None:
    y = torch.cat([torch.linspace(0, 1, 999), torch.tensor([3.0])])
    some, none = (float(weights(y, largest=1e9, smoothing=k)[-1]) for k in (1e-2, 1e-9))
    assert some < 0.5 * none


def test_the_quantile_sets_the_temperature() -> None:
    """A lower quantile is farther from the maximum: hotter, so that the middle counts more."""
    y = torch.linspace(0, 1, 1000)
    hot, cold = (weights(y, quantile=q) for q in (0.5, 0.95))
    assert float(hot[500]) > 10 * float(cold[500])
