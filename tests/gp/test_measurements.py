"""Tables as the Gaussian process reads them, by hand."""

from __future__ import annotations

import pytest
import torch
from braid_gp.measurements import Measurements, measured
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Vectors

PLACES = torch.tensor([[0.0], [1.0], [2.0]])


def read(rows: list[int], y: list[float], variance: list[float] | None = None) -> tuple[Tensor, Measurements]:
    """The table of the places ``rows``; designs come back in their order."""
    known = None if variance is None else torch.tensor(variance).float()
    table = LabelledDesigns(PLACES[rows], torch.tensor(y).float(), known)
    x, data = measured(table, Vectors(1))
    order = x[:, 0].argsort()
    return x[order], data.take(order)


def test_repeats_are_averaged_and_their_scatter_kept() -> None:
    """Averages 2, 3, 7 have mean 4 and variance 7; scatter (−1)² + 1² + 0² = 2."""
    x, data = read([0, 1, 0, 2, 1], [1, 3, 3, 7, 3])
    assert torch.equal(x, PLACES)
    assert data.location == 4
    assert float(data.scale) == pytest.approx(7**0.5)
    assert data.y.tolist() == pytest.approx([-2 / 7**0.5, -1 / 7**0.5, 3 / 7**0.5])
    assert data.share.tolist() == [0.5, 0.5, 1]
    assert data.share.dtype == torch.float64
    assert data.known.tolist() == [0, 0, 0]
    assert data.extra == 2
    assert data.within == pytest.approx(2 / 7)
    assert data.noise(0.5).tolist() == [0.25, 0.25, 0.5]
    assert float(data.measurement(0.5)) == pytest.approx(3.5)


def test_repeats_that_agree_are_copies() -> None:
    _, data = read([0, 1, 0, 2, 1], [2, 3, 2, 7, 3])
    assert data.share.tolist() == [1, 1, 1]
    assert (data.extra, data.within) == (0, 0)


def test_given_variances_are_kept_beside_the_noise() -> None:
    """Averages of variance 1/(1/2 + 1/2) = 1, 3 and 5; y = 2, 3, 7 has variance 7; their median as given is 2."""
    _, data = read([0, 0, 1, 2], [1, 3, 3, 7], [2, 2, 3, 5])
    assert data.known.tolist() == pytest.approx([1 / 7, 3 / 7, 5 / 7])
    assert data.share.tolist() == [1, 1, 1]
    assert data.noise(0.1).tolist() == pytest.approx([0.1 + 1 / 7, 0.1 + 3 / 7, 0.1 + 5 / 7])
    assert float(data.measurement(0.1)) == pytest.approx(0.7 + 2)


def test_rewards_far_from_zero_keep_their_scatter() -> None:
    """In single precision the sums of squares would drown it."""
    _, near = read([0, 1, 0, 2], [1, 3, 3, 7])
    _, far = read([0, 1, 0, 2], [4097, 4099, 4099, 4103])
    assert far.within == pytest.approx(near.within, rel=1e-9)


def test_what_teaches_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 design(.|\n)*more different designs"):
        read([0, 0], [1, 2])
    with pytest.raises(DataError, match="all rewards are equal"):
        read([0, 1, 1], [2, 1, 3])


def test_constant_rewards_are_refused_whatever_averages_round_to() -> None:
    """Weighted averages of equal numbers need not be equal."""
    with pytest.raises(DataError, match="all rewards are equal"):
        read([0, 0, 0, 1, 2, 2], [0.1] * 6, [0.3, 0.7, 0.9, 1, 0.2, 0.6])
    with pytest.raises(DataError, match="all rewards are equal"):
        read([0, 1, 2], [0, 0, 0])
