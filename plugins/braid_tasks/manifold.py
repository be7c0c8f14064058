"""The manifold task: vectors near a curved surface, off which a trend of the data turns into a trap."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from scipy.stats import chi2
from torch import Tensor

from braid_core.interfaces import Streams, Vectors
from braid_tasks.computed import ManifoldSpec
from braid_tasks.draws import normal
from braid_tasks.pooled import Pool, PooledTask

INSIDE = 0.999
"""The share of designs that the tube around the surface holds."""
OPTIMUM_AT = 0.99
"""The optimum is as far out on the surface as this quantile of the designs."""
ROUNDING = 1e-3
"""Widths by which a design of the tube may leave it in float32: the optimum is on its border."""


class Manifold(PooledTask):
    """Go to the best point of a surface and stay on it: r(x) = −A(u − u*) + tilt·⟨w, s⟩ − cliff·max(‖s‖ − τ, 0).

    In the coordinates z = Qᵀx (Q a rotation) a design is z = (u, h(u) + width·s): ``u`` says where on the surface it
    is, ``h(u) = bend·sin(Wu + φ)`` how the surface is curved, and ``s`` how far off it is, in widths. The pool has u
    and s standard normal. A is Ackley's function (1987), 0 at 0 and positive elsewhere. τ is the radius of the tube:
    outside it designs are not valid. w is a unit vector, so that with cliff > tilt the only optimum is u = u*,
    s = τ·w, at which r = tilt·τ.
    """

    space: Vectors
    spec: ManifoldSpec
    name = "manifold"
    unit = "arbitrary units"
    rotation: Float[Tensor, "d d"]
    waves: Float[Tensor, "m k"]
    phases: Float[Tensor, " m"]
    best: Float[Tensor, " k"]
    tempting: Float[Tensor, " m"]

    def __init__(self, spec: ManifoldSpec, seed: int) -> None:
        self.space = Vectors(spec.dim)
        self.tube = math.sqrt(chi2.ppf(INSIDE, spec.dim - spec.latent))
        super().__init__(spec, seed)
        self.notes = (
            f"Synthetic: designs near a curved surface of {spec.latent} dimensions in {spec.dim}; the reward is "
            f"Ackley's function on it, plus {spec.tilt:g} for each width away from it in one direction, less "
            f"{spec.cliff:g} for each width outside the tube of {self.tube:.2f} widths. The optimum is "
            f"{self.optimum()[1]:.4g}. Landscape seed {spec.landscape_seed}.",
            self._split_note(),
            f"{self._pretraining_note()} Designs outside the tube, which holds {INSIDE:.1%} of such draws, are not "
            "valid.",
        )

    def _draw(self, streams: Streams) -> Pool:
        d, k, shape = self.spec.dim, self.spec.latent, streams.get("landscape/shape")
        q, r = torch.linalg.qr(normal((d, d), shape))
        self.rotation = q * r.diagonal().sign()  # uniform over rotations (Mezzadri 2007)
        self.waves, self.phases = normal((d - k, k), shape), 2 * math.pi * normal((d - k,), shape)
        out = math.sqrt(chi2.ppf(OPTIMUM_AT, k))
        self.best = out * torch.nn.functional.normalize(normal((k,), shape), dim=0)
        self.tempting = torch.nn.functional.normalize(normal((d - k,), shape), dim=0)
        draws = streams.get("landscape/pool")
        x = self._design(normal((self.spec.pool, k), draws), normal((self.spec.pool, d - k), draws)).float()
        return Pool(x, self._rewards(x))

    def _surface(self, u: Float[Tensor, "b k"]) -> Float[Tensor, "b m"]:
        return self.spec.bend * torch.sin(u @ self.waves.T + self.phases)

    def _design(self, u: Float[Tensor, "b k"], s: Float[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        return torch.cat([u, self._surface(u) + self.spec.width * s], 1) @ self.rotation.T

    def _coordinates(self, x: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b m"]]:
        """u and s: the inverse of :meth:`_design`."""
        z = x.cpu().double() @ self.rotation
        u, rest = z[:, : self.spec.latent], z[:, self.spec.latent :]
        return u, (rest - self._surface(u)) / self.spec.width

    def _rewards(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        u, s = self._coordinates(x)
        off = (_distance(s) - self.tube).clamp(min=0)
        return self.spec.tilt * (s @ self.tempting) - ackley(u - self.best) - self.spec.cliff * off

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which designs are inside the tube around the surface."""
        inside = _distance(self._coordinates(x)[1]) <= self.tube + ROUNDING
        return self.space.contains(x) & inside.to(x.device)

    def optimum(self) -> tuple[Float[Tensor, " d"], float]:
        """The best design of all and its reward."""
        x = self._design(self.best[None], self.tube * self.tempting[None])
        return x[0].float(), self.spec.tilt * self.tube


def _distance(s: Float[Tensor, "b m"]) -> Float[Tensor, " b"]:
    return s.square().sum(1).sqrt()


def ackley(u: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Ackley (1987) with a = 20, b = 0.2, c = 2π: 0 at the origin, its only minimum that is not a ripple."""
    bowl = 20 - 20 * torch.exp(-0.2 * u.square().mean(1).sqrt())
    return bowl + math.e - torch.exp(torch.cos(2 * math.pi * u).mean(1))
