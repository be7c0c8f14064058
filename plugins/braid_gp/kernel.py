"""Stationary kernels averaged over the symmetries of a space, with gradients that exist everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Kind = Literal["rbf", "matern"]


@dataclass(frozen=True)
class Hyperparameters:
    """Of kernel, noise (σ²) and constant mean, for rewards in standard deviations from their average."""

    lengthscale: float
    output: float
    noise: float
    mean: float

    def logs(self) -> list[float]:
        """As they are searched: the logarithms of the positive ones."""
        return [math.log(self.lengthscale), math.log(self.output), math.log(self.noise), self.mean]


def profile(kind: Kind, squared: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """k of variance 1 as a function of the squared distance in lengthscales (Rasmussen & Williams 2006, eq. 4.9, 4.17).

    ``"matern"`` is ν = 5/2: (1 + √5 r + 5r²/3)·exp(−√5 r).
    """
    if kind == "rbf":
        return (-0.5 * squared).exp()
    # √ has no gradient at 0; below eps the value is 1 up to rounding, and the gradient 0
    r = (5 * squared.clamp(min=torch.finfo(squared.dtype).eps)).sqrt()
    return (1 + r + r.square() / 3) * (-r).exp()


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "g m d"]) -> Float[Tensor, "g n m"]:
    """All of them by one product: accurate where rows are near the origin, so centre them first."""
    norms = a.square().sum(1)[:, None] + b.square().sum(2)[:, None, :]
    return torch.baddbmm(norms, a.expand(len(b), -1, -1), b.mT, alpha=-2).clamp(min=0)


def covariance(kind: Kind, a: Float[Tensor, "n d"], forms: Float[Tensor, "g m d"]) -> Float[Tensor, "n m"]:
    """The mean of k(a, g·b) over all forms of b, which is the covariance of a function averaged over each orbit.

    Symmetric in its arguments because symmetries are isometries and form a group (Haasdonk & Burkhardt 2007).
    """
    values = profile(kind, squared_distances(a, forms))
    return values[0] if len(values) == 1 else values.mean(0)


def prior_variance(kind: Kind, forms: Float[Tensor, "g n d"]) -> Float[Tensor, " n"]:
    """The diagonal of :func:`covariance`: 1 without symmetries, less for designs that differ from their other forms."""
    return profile(kind, (forms - forms[:1]).square().sum(2)).mean(0)
