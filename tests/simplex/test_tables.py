"""The tables, against the law they were made from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from braid_simplex.jacobi import Jacobi
from braid_simplex.tables import Tables, stationary
from scipy.stats import beta, kstest
from torch import Tensor

from tests.checks import seeded

LAWS = [Jacobi(1, b, 2 / (1 + b)) for b in (3.0, 2.0, 1.0)]
TAU = [0.05, 0.4, 3.0]
TABLES = Tables(LAWS, TAU)


def exact(v: np.ndarray, stick: int, time: int, start: int) -> np.ndarray:
    """ρ at ``v``, rising, without a table."""
    return LAWS[stick].log_ratio(np.arcsin(np.sqrt(v)), np.array([TAU[time]]), start)[0]


@pytest.mark.parametrize("time", range(len(TAU)))
@pytest.mark.parametrize("stick", range(3))
def test_ratios_and_slopes_are_those_of_the_law(stick: int, time: int) -> None:
    """Where a stick is likely to be; the slope is the score's, by finite differences of the log density."""
    v = np.linspace(0.003, 0.997, 400)
    h = 1e-5
    found = TABLES.evidence(torch.tensor(v, dtype=torch.float64)[:, None, None].expand(-1, 1, 3), time)
    for start, value, slope in ((0, found.zero, found.zero_slope), (1, found.one, found.one_slope)):
        rho = exact(v, stick, time, start)
        likely = rho > rho.max() - 12
        difference = (exact(v + h, stick, time, start) - exact(v - h, stick, time, start)) / (2 * h)
        np.testing.assert_allclose(value[:, 0, stick].numpy()[likely], rho[likely], atol=2e-3)
        scale = np.abs(difference[likely]).max()
        np.testing.assert_allclose(slope[:, 0, stick].numpy()[likely], difference[likely], atol=3e-3 * scale)


def test_gradients_are_the_next_slope() -> None:
    v = torch.linspace(0.01, 0.99, 60, dtype=torch.float64)[:, None, None].repeat(1, 1, 3).requires_grad_()
    for time in range(1, len(TAU)):
        here = TABLES.evidence(v, time)
        for start, value, slope in ((0, here.zero, here.zero_slope), (1, here.one, here.one_slope)):
            (first,) = torch.autograd.grad(value.sum(), v, retain_graph=True)
            torch.testing.assert_close(first, slope.detach())
            (second,) = torch.autograd.grad(slope.sum(), v, retain_graph=True)
            beside = [
                getattr(TABLES.evidence(v.detach() + d, time), f"{('zero', 'one')[start]}_slope")
                for d in (-0.004, 0.004)
            ]
            difference = (beside[1] - beside[0]) / 0.008
            assert float((second - difference)[2:-2].abs().max()) < 0.03 * float(difference.abs().max())


def test_every_row_has_its_own_time() -> None:
    v = torch.rand(3, 2, 3, generator=seeded())
    together = TABLES.evidence(v, torch.arange(3)).letters()
    alone = [TABLES.evidence(v[i : i + 1], i).letters() for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_letters_put_the_sticks_together() -> None:
    """Sticks before the letter start at 0, its own at 1, later ones tell nothing."""
    e = TABLES.evidence(torch.rand(5, 2, 3, generator=seeded()), 1)
    z, o = e.zero, e.one
    expected = [o[..., 0], z[..., 0] + o[..., 1], z[..., 0] + z[..., 1] + o[..., 2], z.sum(-1)]
    torch.testing.assert_close(e.letters(), torch.stack(expected, -1))
    slopes = [e.slope(one) for one in torch.eye(4).expand(5, 2, 4, 4).unbind(2)]
    zero = torch.zeros_like(z[..., 0])
    for letter, found in enumerate(slopes):
        rows = [e.zero_slope[..., i] if i < letter else e.one_slope[..., i] if i == letter else zero for i in range(3)]
        torch.testing.assert_close(found, torch.stack(rows, -1))


@pytest.mark.parametrize("time", range(len(TAU)))
@pytest.mark.parametrize("letter", range(4))
def test_samples_have_the_law(letter: int, time: int) -> None:
    n = 4000
    u = torch.rand((n, 1, 3), generator=seeded(letter))
    v = TABLES.sample(torch.full((n, 1), letter), torch.full((n,), time), u)[:, 0].double().numpy()
    grid = np.sin(np.linspace(0, np.pi / 2, 4001)) ** 2
    for stick in range(3):
        known = np.zeros_like(grid) if stick > letter else exact(grid, stick, time, int(stick == letter))
        density = np.exp(known) * beta.pdf(grid, 1, LAWS[stick].b)
        whole = np.concatenate([[0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
        assert kstest(v[:, stick], lambda at, whole=whole: np.interp(at, grid, whole)).pvalue > 1e-3


def test_the_stationary_law_is_beta() -> None:
    u = torch.rand(5000, 1, generator=seeded())
    for i, b in enumerate((3.0, 2.0, 1.0)):
        assert kstest(stationary(u, torch.tensor([b]))[:, 0].numpy(), beta(1, b).cdf).pvalue > 1e-3, i


def test_the_divergence_is_the_mean_log_ratio() -> None:
    """KL(p_τ(· | v0) ‖ w), from samples."""
    n = 20_000
    u = torch.rand((n, 1, 3), generator=seeded())

    def divergence(letter: int) -> Tensor:
        v = TABLES.sample(torch.full((n, 1), letter), torch.full((n,), 1), u)
        return TABLES.evidence(v, 1).letters()[:, 0, letter]

    for letter in range(4):
        found = divergence(letter)
        expected = TABLES.divergence[1, :letter, 0].sum() + (TABLES.divergence[1, letter, 1] if letter < 3 else 0)
        assert abs(float(found.mean() - expected)) < 5 * float(found.std()) / n**0.5
