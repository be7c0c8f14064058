"""Shrinkage on numbers worked by hand, and on a landscape whose truth is known."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from braid_tasks.shrinkage import neighbour_mean, posterior_mean, prior_variance

NAN = torch.nan


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_mean_of_neighbours_by_hand() -> None:
    # two letters over {A, B}: AA AB BA BB; AA's neighbours are AB and BA
    assert neighbour_mean(doubles(1, 2, 4, 8), 2, 2).tolist() == [3, 4.5, 4.5, 3]
    # AB is missing: its neighbours count the others only, and it has a mean itself
    assert neighbour_mean(doubles(1, NAN, 4, 8), 2, 2).tolist() == [4, 4.5, 4.5, 4]
    assert neighbour_mean(doubles(1, NAN, NAN, 8), 2, 2).isnan().tolist() == [True, False, False, True]


def test_neighbours_are_those_with_one_other_letter() -> None:
    y = torch.randn(27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words = list(product(range(3), repeat=3))
    for k, mean in enumerate(neighbour_mean(y, 3, 3).tolist()):
        near = [float(y[i]) for i, w in enumerate(words) if sum(a != b for a, b in zip(w, words[k], strict=True)) == 1]
        assert len(near) == 6
        assert mean == pytest.approx(sum(near) / 6)


def test_the_prior_variance_by_hand() -> None:
    y, mean = doubles(1, 3, 2, 10, 20, 12), doubles(2, 2, 2, 11, 16, 11)
    # lower class: squares 1, 1, 0 less 0.5 each: mean 1/6; upper: 1, 16, 1 less 1, 2, 3: mean 4
    found = prior_variance(y, doubles(0.5, 0.5, 0.5, 1, 2, 3), mean, classes=2)
    assert found.tolist() == pytest.approx([1 / 6] * 3 + [4] * 3)
    # noise larger than all deviations: nothing is left for the prior
    assert prior_variance(y, torch.full_like(y, 20.0), mean, classes=2).tolist() == [0] * 6


def test_the_posterior_mean_by_hand() -> None:
    y, variance = doubles(1, 2, 4, 8), doubles(1, 1, 2, 4)
    # residuals −2, −2.5, −.5, 5 about 3, 4.5, 4.5, 3; τ² = (4 + 6.25 + .25 + 25 − 8)/4 = 6.875
    tau2 = 6.875
    expected = [3 - 2 * tau2 / (tau2 + 1), 4.5 - 2.5 * tau2 / (tau2 + 1)]
    expected += [4.5 - 0.5 * tau2 / (tau2 + 2), 3 + 5 * tau2 / (tau2 + 4)]
    assert posterior_mean(y, variance, 2, 2, classes=1).tolist() == pytest.approx(expected)


def test_what_is_missing_stays_missing_and_what_is_alone_stays_as_it_is() -> None:
    y, variance = doubles(1, NAN, 4, NAN, 9, NAN, 6, NAN, 7), doubles(1, NAN, 1, NAN, 1, NAN, 1, NAN, 1)
    # three letters: code 4 (BB) has neighbours 1, 3, 5, 7, none of them measured
    shrunk = posterior_mean(y, variance, 3, 2, classes=1)
    assert torch.equal(shrunk.isnan(), y.isnan())
    assert shrunk[4] == 9


def test_shrinkage_brings_a_noisy_landscape_closer_to_its_truth() -> None:
    """A plain with one smooth peak, measured once or three times: mean squared error against the noise-free one."""
    generator = torch.Generator().manual_seed(1)
    letters = torch.tensor(list(product(range(4), repeat=6)))
    truth = 4 * torch.exp(-(letters != 2).sum(1).double() / 1.5)
    variance = torch.tensor([0.02, 0.06], dtype=torch.float64)[torch.randint(2, (len(truth),), generator=generator)]
    y = truth + variance.sqrt() * torch.randn(len(truth), generator=generator, dtype=torch.float64)
    shrunk = posterior_mean(y, variance, 4, 6)
    error, raw = (shrunk - truth) ** 2, (y - truth) ** 2
    assert error.mean() < 0.3 * raw.mean()
    # also where designers look: at the highest measurements, and for those with the larger error more so
    top = y.argsort(descending=True)[:128]
    gain = [
        float(error[top][rows].mean() / raw[top][rows].mean()) for rows in (variance[top] < 0.05, variance[top] > 0.05)
    ]
    assert gain[1] < gain[0] < 1


def test_a_higher_variance_means_more_shrinkage() -> None:
    y = torch.zeros(4**4, dtype=torch.float64)
    y[100] = 3
    y[::7] += 0.5
    kept = []
    for v in (0.01, 0.05, 0.2):
        variance = torch.full_like(y, 0.01)
        variance[100] = v
        kept.append(float(posterior_mean(y, variance, 4, 4, classes=1)[100]))
    assert all(a > b for a, b in pairwise(kept))
