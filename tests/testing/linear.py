"""A correct oracle in closed form: Bayesian linear regression on the letters, or numbers, of a design."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_core.registry.spec import ScaledOracleSpec

LAM = 1.0


@dataclass(frozen=True)
class LinearPosterior(Posterior):
    """A mean and a standard deviation, which is the penalty at c = 1."""

    location: Tensor
    doubt: Tensor
    c: float = 1.0

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def std(self) -> Tensor:
        return self.doubt

    def conservative(self) -> Tensor:
        return self.mean - self.c * self.std


class LinearOracle(Oracle):
    """w | y ~ N(A⁻¹Φᵀy, σ² A⁻¹) with A = λI + ΦᵀΦ, for standardised y; σ² is the mean squared residual."""

    def __init__(self, space: Space, c: float = 1.0) -> None:
        self.space, self.c = space, c
        size = torch.Size(space.event_shape).numel() + 1
        self.weight = torch.zeros(size, dtype=torch.float64)
        self.covariance = torch.eye(size, dtype=torch.float64)
        self.location = self.scale = torch.zeros((), dtype=torch.float64)

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log = Silent()) -> None:  # noqa: B008
        self.check(data)
        phi, y = self.features(data.x), data.y.double()
        precision = torch.ones_like(y) if data.variance is None else data.variance.mean() / data.variance
        self.location, self.scale = self.units(y)
        target = (y - self.location) / self.scale
        gram = LAM * torch.eye(phi.shape[1], device=phi.device) + phi.T @ (precision[:, None] * phi)
        self.weight = torch.linalg.solve(gram, phi.T @ (precision * target))
        noise = (precision * (phi @ self.weight - target).square()).mean()
        self.covariance = noise * self.inverse(gram, phi)

    def check(self, data: LabelledDesigns) -> None:
        if len(data) < 2 or bool((data.y == data.y[0]).all()):
            raise DataError("all rewards are equal")

    def units(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y.mean(), y.std()

    def inverse(self, gram: Tensor, phi: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.inv(gram)
        return inverse

    def features(self, x: Tensor) -> Tensor:
        """The design, averaged over its forms, and a constant."""
        form = self.space.orbit(x).mean(0).flatten(1).double()
        return torch.cat([form, torch.ones_like(form[:, :1])], 1)

    def posterior(self, x: Tensor) -> LinearPosterior:
        phi = self.features(x)
        doubt = ((phi @ self.covariance) * phi).sum(1).sqrt()
        mean = phi @ self.weight * self.scale + self.location
        return LinearPosterior(mean.to(x.dtype), (doubt * self.scale).to(x.dtype), self.c)

    def learned(self) -> dict[str, Tensor]:
        """All that was learned, as it is."""
        names = ("weight", "covariance", "location", "scale")
        return {name: getattr(self, name) for name in names}

    def state(self) -> State:
        return State({name: tensor.detach().clone() for name, tensor in self.learned().items()})

    def load_state(self, state: State) -> None:
        for name, tensor in state.tensors.items():
            setattr(self, name, tensor)


class LinearSpec(ScaledOracleSpec):
    """The correct oracle."""

    type: str = "linear"

    def build(self, space: Space, device: torch.device) -> LinearOracle:
        return LinearOracle(space, self.scale)
