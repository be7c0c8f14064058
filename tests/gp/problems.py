"""Small regressions with fixed hyperparameters, and the textbook answer by dense inverses."""

from __future__ import annotations

import torch
from braid_gp.expansion import Expansion
from braid_gp.kernel import Hyperparameters, Kind
from braid_gp.measurements import Measurements
from braid_gp.regression import Regression
from torch import Tensor

from tests.checks import seeded

ASSUMED = Hyperparameters(lengthscale=0.8, output=1.3, noise=0.05, mean=0.2)


def points(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 2, generator=seeded(seed), dtype=torch.float64) * 4 - 2


def wave(x: Tensor) -> Tensor:
    noise = torch.randn(len(x), generator=seeded(9), dtype=x.dtype)
    return (2 * x[:, 0]).sin() + x[:, 1].cos() + 0.2 * noise


def table(
    y: Tensor, share: Tensor | None = None, known: Tensor | None = None, extra: int = 0, within: float = 0.0
) -> Measurements:
    """Rewards taken as they are: location 0, scale 1."""
    zero, one = torch.zeros_like(y), torch.ones_like(y)
    return Measurements(
        y,
        one if share is None else share,
        zero if known is None else known,
        zero.sum(),
        1 + zero.sum(),
        extra=extra,
        within=within,
    )


def regression(x: Tensor, data: Measurements, kind: Kind = "rbf", assumed: Hyperparameters = ASSUMED) -> Regression:
    return Regression(kind, assumed, data, lambda index: x[index][None], x.mean(0))


def predict(expansion: Expansion, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and latent variance."""
    cross = expansion.cross(x[None])
    return expansion.mean(cross), expansion.variance(x[None], cross)


def kernel(kind: Kind, a: Tensor, b: Tensor, assumed: Hyperparameters = ASSUMED) -> Tensor:
    """Written out pair by pair."""
    r = (a[:, None] - b[None]).square().sum(-1).sqrt() / assumed.lengthscale
    if kind == "rbf":
        return assumed.output * (-r.square() / 2).exp()
    root = 5**0.5 * r
    return assumed.output * (1 + root + root.square() / 3) * (-root).exp()


def dense(
    kind: Kind, x: Tensor, y: Tensor, noise: Tensor, at: Tensor, assumed: Hyperparameters = ASSUMED
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, latent variance and log marginal likelihood by explicit inverses and torch.distributions."""
    covariance = kernel(kind, x, x, assumed) + noise.diag()
    inverse, cross = covariance.inverse(), kernel(kind, at, x, assumed)
    mean = assumed.mean + cross @ inverse @ (y - assumed.mean)
    variance = assumed.output - (cross @ inverse * cross).sum(1)
    center = torch.full_like(y, assumed.mean)
    evidence = torch.distributions.MultivariateNormal(center, covariance).log_prob(y)
    return mean, variance, evidence
