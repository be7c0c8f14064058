"""The Gaussian step against torch.distributions, quadrature and sampling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Normal, kl_divergence

from braid_core.interfaces import GaussianTransition
from tests.checks import seeded

STDS = {"scalar": (), "per design": (5, 1), "per dimension": (3,), "each": (5, 3)}


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture(params=list(STDS))
def pair(request: pytest.FixtureRequest) -> tuple[GaussianTransition, GaussianTransition]:
    """Two steps of unequal means and, in several forms of broadcasting, unequal standard deviations."""
    shape = STDS[request.param]
    p = GaussianTransition(draw((5, 3), 0), draw(shape, 1).exp())
    return p, GaussianTransition(draw((5, 3), 2), draw(shape, 3).exp())


def test_log_prob_is_that_of_torch(pair: tuple[GaussianTransition, GaussianTransition]) -> None:
    p, _ = pair
    x = draw((5, 3), 4)
    torch.testing.assert_close(p.log_prob(x), Normal(p.mean, p.std).log_prob(x).sum(1), rtol=0, atol=1e-12)


def test_kl_is_that_of_torch(pair: tuple[GaussianTransition, GaussianTransition]) -> None:
    p, q = pair
    expected = kl_divergence(Normal(p.mean, p.std), Normal(q.mean, q.std)).sum(1)
    torch.testing.assert_close(p.kl(q), expected)


def test_images_are_summed_over_all_their_dimensions() -> None:
    p = GaussianTransition(draw((2, 3, 4, 5), 0), torch.tensor(0.5, dtype=torch.float64))
    q = GaussianTransition(draw((2, 3, 4, 5), 1), p.std)
    torch.testing.assert_close(p.kl(q), 2 * (p.mean - q.mean).square().sum((1, 2, 3)))
    assert p.log_prob(q.mean).shape == (2,)


def test_kl_is_the_mean_log_ratio_of_samples(pair: tuple[GaussianTransition, GaussianTransition]) -> None:
    p, q = (GaussianTransition(t.mean[:1], (t.std * torch.ones(5, 3))[:1]) for t in pair)
    x = p.rsample(draw((200_000, 3), 5))
    ratio = p.log_prob(x) - q.log_prob(x)
    assert float(ratio.mean()) == pytest.approx(float(p.kl(q)), abs=5 * float(ratio.std()) / len(x) ** 0.5)


def test_kl_gradient_is_that_of_finite_differences() -> None:
    def kl(mean: Tensor, std: Tensor, other: Tensor, spread: Tensor) -> Tensor:
        return GaussianTransition(mean, std.exp()).kl(GaussianTransition(other, spread.exp()))

    inputs = tuple(draw((2, 3), seed).requires_grad_() for seed in range(4))
    assert gradcheck(kl, inputs)


def test_tilt_is_the_exponential_tilting_by_quadrature() -> None:
    p = GaussianTransition(torch.tensor([[0.7]], dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64))
    direction = torch.tensor([[1.3]], dtype=torch.float64)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None]
    weight = p.log_prob(grid).exp() * (grid * direction).squeeze(1).exp()
    expected = weight / torch.trapezoid(weight, grid.squeeze(1))
    torch.testing.assert_close(p.tilt(direction).log_prob(grid).exp(), expected)


def test_samples_have_the_mean_and_the_spread() -> None:
    p = GaussianTransition(torch.tensor([[1.0, -2.0]]).expand(50_000, 2), torch.tensor([0.5, 2.0]))
    x = p.rsample(p.noise(p.mean, seeded()))
    torch.testing.assert_close(x.mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.04)
    torch.testing.assert_close(x.std(0), torch.tensor([0.5, 2.0]), rtol=0.02, atol=0)


def test_reparameterised_gradient_is_exact() -> None:
    """d/dμ = 1 and d/dσ = z for x = μ + σ·z."""
    mean, std = torch.zeros(4, 2, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    noise = GaussianTransition.noise(mean, seeded())
    GaussianTransition(mean, std).rsample(noise).sum().backward()
    assert torch.equal(mean.grad, torch.ones(4, 2))
    assert torch.equal(std.grad, noise)


def test_noise_is_the_generators_and_has_the_states_shape_and_type() -> None:
    x = torch.zeros(3, 2, 2, dtype=torch.float64)
    first, again = (GaussianTransition.noise(x, seeded(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    assert not torch.equal(first, GaussianTransition.noise(x, seeded(2)))
