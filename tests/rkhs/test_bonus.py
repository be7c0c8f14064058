"""The bonus: by hand, against the kernel form, and how it follows the number of measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from braid_rkhs import covariance
from braid_rkhs.covariance import Ridge, moments
from braid_rkhs.features import Features
from braid_rkhs.oracle import RKHSOracle, _weighted
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Space, State, Vectors
from tests.checks import seeded
from tests.rkhs.tables import (
    KERNELS,
    KINDS,
    SPACE,
    SPACES,
    data,
    fitted,
    gamma_of,
    kernel,
    landmarks,
    own_kernel,
    relaxed,
    scaled,
)

LAM = 0.3
close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-10}


class Plain(Features):
    """φ(x) = x, and a memory of how many designs came at once."""

    def __init__(self) -> None:
        self.most = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.most = max(self.most, len(x))
        return x

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        pass


def square(oracle: RKHSOracle, x: Tensor) -> Tensor:
    """The squared bonus of standardised rewards."""
    return (oracle.posterior(x).penalty() / oracle.c / oracle.scale).square()


def repeated(table: LabelledDesigns, times: Tensor) -> LabelledDesigns:
    return table.take(torch.arange(len(table)).repeat_interleave(times))


def counts(n: int) -> Tensor:
    return torch.randint(1, 6, (n,), generator=seeded(2))


def test_by_hand() -> None:
    """e₁ measured three times and e₂ once, λ = 1: A = diag(4, 2).

    Centred, the copies of a lone design would count for nothing; divided by n, A would be diag(7/4, 5/4).
    """
    x = torch.eye(2).double()
    found = moments(Plain(), x, torch.tensor([3.0, 1.0]), torch.tensor([1.0, -2.0]))
    ridge = Ridge.fitted(found, lam=1.0)
    asked, residual = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]]).double(), torch.zeros(4).double()
    expected = torch.tensor([1 / 4, 1 / 2, 3 / 4, 0]).double().sqrt()
    torch.testing.assert_close(ridge.bonus(asked, residual), expected, **close)
    torch.testing.assert_close(ridge.mean(asked), torch.tensor([3 / 4, -1, -1 / 4, 0]).double(), **close)
    torch.testing.assert_close(ridge.bonus(asked, residual + 2), (expected.square() + 2).sqrt(), **close)


def test_features_have_a_mean_square_of_one() -> None:
    """A table of designs ten times as large, all else equal, has the same bonus: λ keeps its meaning."""
    x, weight, y = torch.randn(50, 3, generator=seeded()).double(), torch.ones(50), torch.randn(50)
    one, ten = (Ridge.fitted(moments(Plain(), factor * x, weight, y), LAM) for factor in (1, 10))
    none = torch.zeros(50).double()
    torch.testing.assert_close(ten.bonus(10 * x, none), one.bonus(x, none), **close)
    unit = one.constants.at(torch.float64)["unit"]
    assert float((unit * x).square().sum(1).mean()) == pytest.approx(1)
    a = (unit * x).T @ (unit * x) + LAM * torch.eye(3).double()
    torch.testing.assert_close(one.bonus(x, none), (unit * x * ((unit * x) @ a.inverse())).sum(1).sqrt(), **close)


@pytest.mark.parametrize("space", SPACES, ids=["plain", "stranded"])
def test_with_all_designs_as_landmarks_it_is_the_exact_kernel_form(space: Space) -> None:
    """λ·ĝ² = k(x, x) − k(x)ᵀ(K + λW⁻¹)⁻¹k(x) at every x, and r̂ is kernel ridge regression; W holds the counts."""
    table, w = data(40, dtype=torch.float64), counts(40)
    oracle = fitted("nystroem", repeated(table, w), space, lam=LAM, components=40)
    gamma = gamma_of(oracle)
    unit = w.sum() / (w * own_kernel(space, table.x, gamma)).sum()
    asked = torch.cat([table.x, relaxed(30), 3 * relaxed(10) - 1])
    k, own = unit * kernel(space, asked, table.x, gamma), unit * own_kernel(space, asked, gamma)
    a = unit * kernel(space, table.x, table.x, gamma) + LAM * torch.diag(1 / w.double())
    torch.testing.assert_close(LAM * square(oracle, asked), own - (k * torch.linalg.solve(a, k.T).T).sum(1), **close)
    target = (table.y - oracle.location) / oracle.scale
    expected = oracle.location + oracle.scale * (k @ torch.linalg.solve(a, target))
    torch.testing.assert_close(oracle.posterior(asked).mean, expected, **close)


@pytest.mark.parametrize("space", SPACES, ids=["plain", "stranded"])
def test_with_fewer_landmarks_it_is_the_projected_process(space: Space) -> None:
    """λ·ĝ² = k(x, x) − q(x, x) + λ k_Z(x)ᵀ(λK_ZZ + K_ZX W K_XZ)⁻¹k_Z(x), q the part that Z spans (DTC)."""
    table, w = data(60, dtype=torch.float64), counts(60)
    oracle = fitted("nystroem", repeated(table, w), space, lam=LAM, components=15)
    gamma, z = gamma_of(oracle), landmarks(oracle)
    unit = w.sum() / (w * own_kernel(space, table.x, gamma)).sum()
    asked = torch.cat([table.x, relaxed(30)])
    k, kzz, kzx = (unit * kernel(space, *pair, gamma) for pair in ((asked, z), (z, z), (z, table.x)))
    inside = kzz.inverse() - LAM * (LAM * kzz + (kzx * w) @ kzx.T).inverse()
    expected = unit * own_kernel(space, asked, gamma) - (k @ inside * k).sum(1)
    torch.testing.assert_close(LAM * square(oracle, asked), expected, **close)


def test_with_fourier_features_the_kernel_is_their_product() -> None:
    """λ·ĝ² = k(x, x) − k(x)ᵀ(K + λI)⁻¹k(x) with k = φᵀφ."""
    table = data(40, dtype=torch.float64)
    oracle, asked = fitted("fourier", table, lam=LAM, components=100), relaxed(30)
    phi, psi = scaled(oracle, table.x), scaled(oracle, asked)
    k, a = psi @ phi.T, phi @ phi.T + LAM * torch.eye(40).double()
    expected = psi.square().sum(1) - (k * torch.linalg.solve(a, k.T).T).sum(1)
    torch.testing.assert_close(LAM * square(oracle, asked), expected, **close)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_root_of_the_quadratic_form(kind: str) -> None:
    """ĝ = c·σ·√(φᵀA⁻¹φ + residual/λ), with A summed over rows, a design measured k times as k of them."""
    times = counts(80)
    rows = repeated(data(), times)
    oracle = fitted(kind, rows, lam=LAM, c=1.7)
    phi, asked = scaled(oracle, rows.x).double(), relaxed(20, torch.float32)
    a = phi.T @ phi + LAM * torch.eye(phi.shape[1]).double()
    psi = scaled(oracle, asked).double()
    left = oracle.features.residual(asked, oracle.features(asked)).double()
    unit = oracle.ridge.constants.at(torch.float64)["unit"]
    expected = ((psi @ a.inverse() * psi).sum(1) + left * unit.square() / LAM).sqrt() * oracle.scale
    posterior = oracle.posterior(asked)
    torch.testing.assert_close(posterior.penalty().double(), 1.7 * expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(posterior.std, oracle.spec.lam**0.5 * posterior.penalty() / 1.7)  # Bayesian: noise λ
    torch.testing.assert_close(posterior.conservative(), posterior.mean - posterior.penalty())
    torch.testing.assert_close(oracle.scale, _weighted(rows, SPACE).y.std())


@pytest.mark.parametrize("kind", KERNELS)
def test_repeating_the_table_shrinks_it_with_the_root_of_n(kind: str) -> None:
    """At designs that the features span, from λ ≪ n on: 100 times the measurements, a tenth of the bonus."""
    table = data(80, dtype=torch.float64)
    options: dict[str, Any] = {"lam": 1e-3, "components": 80 if kind == "nystroem" else 20}
    one, hundred = (
        fitted(kind, repeated(table, torch.tensor(times)), **options).posterior(table.x).penalty() for times in (1, 100)
    )
    torch.testing.assert_close(hundred / one, torch.full_like(one, 0.1), rtol=0.02, atol=0)


def test_each_weight_is_a_relative_precision_and_they_sum_to_the_number_of_measurements() -> None:
    table, times = data(5, dtype=torch.float64), torch.tensor([1, 2, 3, 1, 1])
    rows = repeated(table, times)
    for variance, expected in (
        (None, times),
        (torch.full((8,), 0.3).double(), times),
        (torch.tensor([1, 2, 2, 2, 2, 2, 2, 2]).double(), times * torch.tensor([2, 1, 1, 1, 1]) * 8 / 9),
    ):
        weighted = _weighted(replace(rows, variance=variance), SPACE)
        assert weighted.variance is not None
        row = (weighted.x[:, None] == table.x).flatten(2).all(2).float().argmax(1)  # merging sorts
        torch.testing.assert_close(1 / weighted.variance, expected.double()[row])


@pytest.mark.parametrize("kind", KERNELS)
def test_precise_measurements_count_more(kind: str) -> None:
    table = data(80)
    variance = torch.where(torch.arange(80) < 40, 0.1, 10.0)
    equal, unequal = (
        fitted(kind, replace(table, variance=v)).posterior(table.x).std / table.std for v in (None, variance)
    )
    assert float((unequal[:40] / equal[:40]).median()) < 1
    assert float((unequal[40:] / equal[40:]).median()) > 1


@pytest.mark.parametrize("kind", KERNELS)
def test_blocks_do_not_show(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(kind)
    monkeypatch.setattr(covariance, "BLOCK", 7)
    blocks, x = fitted(kind), relaxed(20, torch.float32)
    torch.testing.assert_close(blocks.posterior(x).std, whole.posterior(x).std, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(blocks.posterior(x).mean, whole.posterior(x).mean, rtol=1e-5, atol=1e-5)


def test_no_more_than_a_block_of_features_exists_at_once() -> None:
    features, n = Plain(), 5 * covariance.BLOCK + 3
    x = torch.randn(n, 2, generator=seeded())
    found = moments(features, x, torch.ones(n), x[:, 0])
    assert features.most == covariance.BLOCK
    torch.testing.assert_close(found.second, x.double().T @ x.double())
    torch.testing.assert_close(found.target, x.double().T @ x[:, 0].double())


def test_sums_are_kept_in_float64() -> None:
    """In float32, 10⁸ + 1 is 10⁸."""
    x = torch.ones(2000, 1)
    x[0] = 1e4
    assert float(moments(Plain(), x, torch.ones(2000), torch.ones(2000)).second) == 1e8 + 1999


def test_an_outlier_does_not_make_the_others_certain() -> None:
    """Far from the centre of the data, rounding may make the exponent of the kernel positive."""
    x = torch.randn(200, 2, generator=seeded())
    near = LabelledDesigns(x, x[:, 0].sin())
    far = LabelledDesigns(torch.cat([x, torch.full((1, 2), 1e5)]), torch.cat([near.y, torch.zeros(1)]))
    usual, odd = (
        fitted("nystroem", table, Vectors(2), components=100, bandwidth=1.0).posterior(x).std for table in (near, far)
    )
    assert float(odd.median()) > 0.5 * float(usual.median())


@pytest.mark.parametrize("kind", KERNELS)
def test_it_is_largest_far_from_the_data(kind: str) -> None:
    """Nyström features vanish there; the residual makes it σ/√λ, the most that there is."""
    table = LabelledDesigns(x := torch.randn(200, 2, generator=seeded()), x[:, 0].sin())
    oracle = fitted(kind, table, Vectors(2), lam=LAM, components=100)
    far = 40 * torch.randn(200, 2, generator=seeded(1)).sign()
    there = oracle.posterior(far).std
    assert float(there.min()) > 5 * float(oracle.posterior(x).std.median())
    if kind == "nystroem":
        assert float(oracle.features(far).abs().max()) == 0
        torch.testing.assert_close(there, oracle.scale.expand(200))


def test_its_gradient_is_finite_where_it_is_zero() -> None:
    ridge = Ridge.fitted(moments(Plain(), torch.eye(2), torch.ones(2), torch.ones(2)), 1.0)
    phi = torch.zeros(3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(ridge.bonus(phi, torch.zeros(3)).sum(), phi)
    assert bool(gradient.isfinite().all())
