"""Kernels against scikit-learn, averages over symmetries against brute force, gradients at distance zero."""

from __future__ import annotations

import pytest
import torch
from braid_gp.kernel import Kind, covariance, prior_variance, profile, squared_distances
from sklearn.gaussian_process.kernels import RBF, Matern
from torch.autograd import gradcheck

from braid_core.interfaces import Tokens
from tests.checks import seeded
from tests.gp.problems import points

KINDS: tuple[Kind, ...] = ("rbf", "matern")
STRANDED = Tokens("ACGT", 6, ("reverse_complement",))


@pytest.mark.parametrize(("kind", "reference"), [("rbf", RBF(0.7)), ("matern", Matern(0.7, nu=2.5))])
def test_kernels_are_those_of_scikit_learn(kind: Kind, reference: RBF | Matern) -> None:
    a, b = points(7), points(5, seed=1)
    value = covariance(kind, a / 0.7, b[None] / 0.7)
    torch.testing.assert_close(value, torch.as_tensor(reference(a.numpy(), b.numpy())), rtol=1e-12, atol=1e-14)


def test_squared_distances_are_never_negative() -> None:
    x = 30 * torch.rand(200, 8, generator=seeded())
    squared = squared_distances(x, x[None])[0]
    assert bool((squared >= 0).all())
    torch.testing.assert_close(squared, (x[:, None] - x).square().sum(-1), rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_over_forms_is_a_covariance_and_symmetric(kind: Kind) -> None:
    """Brute force: the mean over both forms of both designs."""
    x = STRANDED.random(40, seeded()).double()
    forms = STRANDED.orbit(x).flatten(2)
    value = covariance(kind, forms[0], forms)
    every = torch.stack([profile(kind, squared_distances(a, b[None])[0]) for a in forms for b in forms]).mean(0)
    torch.testing.assert_close(value, every, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value.diagonal(), prior_variance(kind, forms), rtol=1e-7, atol=1e-7)
    assert float(torch.linalg.eigvalsh(value).min()) > -1e-12


def test_without_symmetries_the_prior_variance_is_one() -> None:
    assert prior_variance("rbf", points(5)[None]).tolist() == [1] * 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_at_distance_zero_is_zero(kind: Kind, dtype: torch.dtype) -> None:
    """Not NaN, as that of a square root."""
    x = points(3).to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(covariance(kind, x, x.detach()[None]).diagonal().sum(), x)
    torch.testing.assert_close(gradient, torch.zeros_like(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", [0.0, 1e-4, 0.1, 3.0])
def test_gradients_agree_with_finite_differences(kind: Kind, distance: float) -> None:
    z = points(4)
    x = (z[:2] + distance).requires_grad_()
    assert gradcheck(lambda x: covariance(kind, x, z[None]), (x,))


def test_the_matern_gradient_survives_single_precision() -> None:
    """∂k/∂d = −(5/3)·d·(1 + √5 d)·exp(−√5 d), a difference of terms that all but cancel where d is small."""
    d = torch.logspace(-2.5, 0.5, 50).requires_grad_()
    (gradient,) = torch.autograd.grad(profile("matern", d.square()).sum(), d)
    root = 5**0.5 * d.detach()
    torch.testing.assert_close(gradient, -5 / 3 * d.detach() * (1 + root) * (-root).exp(), rtol=1e-3, atol=0)
