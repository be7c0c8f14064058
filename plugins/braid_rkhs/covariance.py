"""The covariance of features, uncentred and not divided by n, and what follows from it: the bonus and the ridge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import State, Stateful
from braid_rkhs.features import Constants, Features

BLOCK = 512  # designs at once: memory stays O(d²), and larger temporaries cost more in page faults than they save


@dataclass(frozen=True)
class Moments:
    """Sums over the data, in float64."""

    second: Float[Tensor, "d d"]
    """Σᵢ wᵢ φᵢφᵢᵀ."""
    target: Float[Tensor, " d"]
    """Σᵢ wᵢ φᵢyᵢ."""
    prior: float
    """Σᵢ wᵢ k(xᵢ, xᵢ), where k(x, x) is φᵀφ and what the features leave out."""
    weight: float
    """Σᵢ wᵢ."""


@torch.no_grad()
def moments(
    features: Features, x: Float[Tensor, " n *event"], weight: Float[Tensor, " n"], target: Float[Tensor, " n"]
) -> Moments:
    """One pass over the data in blocks of :data:`BLOCK` designs."""
    d, weight, residual = features(x[:1]).shape[1], weight.double(), 0.0
    second, first = weight.new_zeros(d, d), weight.new_zeros(d)
    blocks = (torch.split(column, BLOCK) for column in (x, weight, target.double()))
    for rows, w, y in zip(*blocks, strict=True):
        phi = features(rows)
        residual += float(w @ features.residual(rows, phi).double())
        phi = phi.double()
        weighted = phi * w[:, None]
        second.addmm_(phi.T, weighted)
        first.addmv_(weighted.T, y)
    return Moments(second, first, float(second.trace()) + residual, float(weight.sum()))


class Ridge(Stateful):
    """With A = Σᵢ wᵢ φᵢφᵢᵀ + λI: the mean φᵀβ, and the bonus √(φᵀA⁻¹φ + (k(x, x) − φᵀφ)/λ).

    φ is scaled so that k(x, x) is 1 on average over the data: λ then has one meaning for all features, and the bonus is
    √(1/λ) where nothing is known. For features that are all of their kernel the second term is 0. Without it, Nyström
    features would make no bonus far from their landmarks. With it, the square is 1/λ times the kernel variance of the
    projected process (DTC; Quiñonero-Candela & Rasmussen 2005), and of the exact one if all designs are landmarks.
    """

    def __init__(self) -> None:
        self.constants = Constants()

    @classmethod
    def fitted(cls, found: Moments, lam: float, coefficients: Float[Tensor, " d"] | None = None) -> Ridge:
        """From the data's moments; β is A⁻¹Σᵢ wᵢφᵢyᵢ unless ``coefficients`` of the unscaled features are given.

        Raises :class:`DataError` where λ is too small for the covariance to be inverted.
        """
        square = found.weight / found.prior
        unit = found.second.new_tensor(square).sqrt()
        matrix = found.second * square
        matrix.diagonal().add_(lam)
        inverse = _inverse_factor(matrix, lam)
        if coefficients is None:
            coefficients = unit.square() * (inverse.T @ (inverse @ found.target))
        ridge = cls()
        ridge.constants = Constants(
            factor=unit * inverse.T, coefficients=coefficients, unit=unit, residual=unit.square() / lam
        )
        return ridge

    def mean(self, phi: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """The prediction, in the units of the target."""
        return phi @ self.constants.at(phi.dtype)["coefficients"]

    def bonus(self, phi: Float[Tensor, "b d"], residual: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """As above; not negative, and its gradient is finite also at 0."""
        constants = self.constants.at(phi.dtype)
        spread: Tensor = torch.linalg.vector_norm(phi @ constants["factor"], dim=1)
        square = spread.square() + residual * constants["residual"]
        return square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()

    def state(self) -> State:
        return self.constants.state()

    def load_state(self, state: State) -> None:
        self.constants.load_state(state)


def _inverse_factor(matrix: Float[Tensor, "d d"], lam: float) -> Float[Tensor, "d d"]:
    """L⁻¹ for the matrix LLᵀ."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise DataError(
            "the covariance of the features cannot be inverted",
            where="oracle 'rkhs'",
            why=f"λ = {lam:g} is lost beside its largest entry, {float(matrix.abs().max()):.3g}, or that is not finite",
            fix="give a larger `lam`, or check the designs for infinite values",
        )
    inverse: Tensor = torch.linalg.solve_triangular(factor, torch.eye(len(matrix)).to(matrix), upper=False)
    return inverse
