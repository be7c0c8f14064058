"""The stick-breaking map, its inverse, and how scores change with it."""

from __future__ import annotations

import pytest
import torch
from braid_simplex.sticks import log_volume, score_of_sticks, simplex, sticks
from torch import Tensor
from torch.distributions import Beta, Dirichlet
from torch.func import jacrev, vmap

from tests.checks import seeded


def points(n: int, letters: int) -> Tensor:
    return 0.02 + 0.96 * torch.rand(n, letters - 1, generator=seeded(), dtype=torch.float64)


@pytest.mark.parametrize("letters", [2, 4, 20])
def test_the_map_is_onto_the_simplex_and_inverted(letters: int) -> None:
    v = points(50, letters)
    x = simplex(v)
    torch.testing.assert_close(x.sum(-1), torch.ones(50, dtype=x.dtype))
    assert bool((x >= 0).all())
    torch.testing.assert_close(sticks(x), v)


def test_one_hot_letters_are_sticks_of_0_and_1() -> None:
    assert torch.equal(sticks(torch.eye(4)), torch.eye(4)[:, :3])
    assert torch.equal(simplex(torch.eye(4)[:, :3]), torch.eye(4))


@pytest.mark.parametrize("letters", [2, 4, 20])
def test_the_volume_is_the_jacobians_determinant(letters: int) -> None:
    v = points(20, letters)
    jacobian = vmap(jacrev(lambda one: simplex(one)[:-1]))(v)
    torch.testing.assert_close(log_volume(v), torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("letters", [2, 4, 20])
def test_scores_change_with_the_jacobian(letters: int) -> None:
    """Against autograd, for a density on the simplex that has no simple form in the sticks."""
    v = points(20, letters).requires_grad_()
    weight = torch.randn(letters - 1, generator=seeded(1), dtype=v.dtype)

    def log_density(x: Tensor) -> Tensor:
        return torch.sin(3 * x @ weight) + (x.square() * weight).sum(-1)

    x = simplex(v)[..., :-1].detach().requires_grad_()
    (score,) = torch.autograd.grad(log_density(x).sum(), x)
    (expected,) = torch.autograd.grad((log_density(simplex(v)[..., :-1]) + log_volume(v)).sum(), v)
    torch.testing.assert_close(score_of_sticks(score, v.detach()), expected)


def test_beta_sticks_are_a_uniform_point() -> None:
    """Beta(1, V − 1), …, Beta(1, 1) in the sticks is Dirichlet(1, …, 1) on the simplex."""
    v = points(20, 4)
    density = Beta(1.0, torch.tensor([3.0, 2.0, 1.0], dtype=v.dtype)).log_prob(v).sum(-1) - log_volume(v)
    torch.testing.assert_close(density, Dirichlet(torch.ones(4, dtype=v.dtype)).log_prob(simplex(v)))
