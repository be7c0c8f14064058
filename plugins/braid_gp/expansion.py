"""The fitted Gaussian process in the form that predicts: no table, no factorisation, no gpytorch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from braid_gp.kernel import Kind, covariance, prior_variance

ROUNDING = 2e-3
"""What single precision may cost, in standard deviations of the belief."""
TRIED = 256


@dataclass(frozen=True)
class Expansion:
    """mean(x) = constant + k·weights and var(x) = scale·k₀(x) − ‖root·k‖², with k the unit kernel to ``rows``.

    ``rows`` are all forms of the data or of the inducing designs, less ``centre`` and in lengthscales. ``constant``,
    ``weights`` and ``root`` carry the output scale and are in units of the reward, ``scale`` in its square.
    """

    kind: Kind
    centre: Float[Tensor, " d"]
    lengthscale: Float[Tensor, ""]
    rows: Float[Tensor, "g m d"]
    constant: Float[Tensor, ""]
    weights: Float[Tensor, " m"]
    root: Float[Tensor, "m m"]
    scale: Float[Tensor, ""]

    def to(self, dtype: torch.dtype) -> Expansion:
        """The same function, rounded to ``dtype``."""
        return Expansion(self.kind, **{name: tensor.to(dtype) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The numbers of which it consists, by field."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}

    def locate(self, forms: Float[Tensor, "g b d"]) -> Float[Tensor, "g b d"]:
        """Kernel inputs in the coordinates of ``rows``."""
        return (forms - self.centre) / self.lengthscale

    def cross(self, forms: Float[Tensor, "g b d"]) -> Float[Tensor, "b m"]:
        """Unit kernel between designs and the rows."""
        return covariance(self.kind, self.locate(forms[:1])[0], self.rows)

    def mean(self, cross: Float[Tensor, "b m"]) -> Float[Tensor, " b"]:
        return self.constant + cross @ self.weights

    def variance(self, forms: Float[Tensor, "g b d"], cross: Float[Tensor, "b m"]) -> Float[Tensor, " b"]:
        """Latent, and no less than the rounding error of the prior variance: the difference may come out below it."""
        prior = self.scale * prior_variance(self.kind, self.locate(forms))
        least = self.scale * torch.finfo(cross.dtype).eps
        return (prior - (cross @ self.root.T).square().sum(1)).clamp(min=least)

    def predict(self, forms: Float[Tensor, "g b d"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Mean and standard deviation."""
        cross = self.cross(forms)
        return self.mean(cross), self.variance(forms, cross).sqrt()

    def survives_rounding(self) -> bool:
        """Whether single precision will do, tried on the rows and half-way between them.

        Not for smooth rewards with little noise: these are small differences of large terms.
        """
        rows = self.rows[:, :TRIED] * self.lengthscale + self.centre
        forms = torch.cat([rows, (rows + rows.roll(1, 1)) / 2], dim=1)
        (mean, std), rounded = self.predict(forms), self.to(torch.float32).predict(forms.float())
        allowed = ROUNDING * std
        return all(bool(((a - b).abs() <= allowed).all()) for a, b in zip((mean, std), rounded, strict=True))
