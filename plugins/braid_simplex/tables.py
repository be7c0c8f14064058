"""The sticks' transition laws at a few times, as tables: what is known about the letter, and exact samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline
from scipy.stats import beta
from torch import Tensor

from braid_simplex.jacobi import Array, Jacobi

CELLS = 512
"""Of the grid, equal in θ = arcsin √v: fine at both ends, where the laws are narrow."""


@dataclass(frozen=True)
class Evidence:
    """What sticks say about their letter: ρ = log p_τ(v | v0) − log w(v) and ∂ρ/∂v, for v0 = 0 and for v0 = 1.

    Both carry their gradient with respect to v.
    """

    zero: Float[Tensor, "b l sticks"]
    one: Float[Tensor, "b l sticks"]
    zero_slope: Float[Tensor, "b l sticks"]
    one_slope: Float[Tensor, "b l sticks"]

    def letters(self) -> Float[Tensor, "b l letters"]:
        """log p(v | letter) − log w(v): sticks before the letter start at 0, its own at 1, later ones say nothing."""
        before = torch.nn.functional.pad(self.zero.cumsum(-1), (1, 0))
        return before + torch.nn.functional.pad(self.one, (0, 1))

    def slope(self, share: Float[Tensor, "b l letters"]) -> Float[Tensor, "b l sticks"]:
        """E[∂/∂v log p(v | letter)/w(v)] over letters of probability ``share``: a score less the stationary one."""
        beyond = share.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        return beyond * self.zero_slope + share[..., :-1] * self.one_slope


class Tables:
    """The laws of all sticks at the times ``tau``; ``index`` says which of them is meant."""

    def __init__(self, laws: Sequence[Jacobi], tau: Sequence[float]) -> None:
        self.theta = np.linspace(0, np.pi / 2, CELLS + 1)
        times, n = np.array(tau), len(laws)
        rows = np.empty((len(times), n, CELLS + 1, 6))
        cdf, divergence = np.empty((len(times), n, 2, CELLS + 1)), np.empty((len(times), n, 2))
        for i, law in enumerate(laws):
            for start in (0, 1):
                ratio = law.log_ratio(self.theta, times, start)
                rows[:, i, :, start::2] = np.stack([ratio, *_slopes(self.theta, ratio)], -1)
                cdf[:, i, start], divergence[:, i, start] = _cumulative(law, self.theta, ratio)
        self.sticks = n
        self.rows = torch.tensor(rows, dtype=torch.float32).flatten(0, 2)
        self.cdf = torch.tensor(cdf, dtype=torch.float32)
        self.divergence = torch.tensor(divergence, dtype=torch.float32)
        """KL(p_τ(· | v0) ‖ w), ``(times, sticks, 2)``."""

    def to(self, device: torch.device) -> Tables:
        """Themselves, on ``device``."""
        self.rows, self.cdf, self.divergence = (t.to(device) for t in (self.rows, self.cdf, self.divergence))
        return self

    def evidence(self, v: Float[Tensor, "b l sticks"], index: Int[Tensor, "..."]) -> Evidence:
        """Of the states ``v``, row by row at the time ``index`` ``(b,)`` (or all at one)."""
        place = torch.asin(v.detach().clamp(0, 1).sqrt()) * (2 * CELLS / math.pi)
        cell = place.long().clamp(0, CELLS - 1)
        part = (place - cell).to(self.rows.dtype)[..., None]
        first = (index.reshape(-1, 1, 1) * self.sticks + torch.arange(self.sticks, device=v.device)) * (CELLS + 1)
        near = torch.lerp(self.rows[first + cell], self.rows[first + cell + 1], part).to(v.dtype)
        zero, one, zero1, one1, zero2, one2 = near.unbind(-1)
        # The tables' own slopes are the gradients: those of the interpolation would jump at every cell.
        step = v - v.detach()
        return Evidence(zero + zero1 * step, one + one1 * step, zero1 + zero2 * step, one1 + one2 * step)

    def sample(
        self, letters: Int[Tensor, "b l"], index: Int[Tensor, " b"], uniform: Float[Tensor, "b l sticks"]
    ) -> Float[Tensor, "b l sticks"]:
        """Sticks from p_τ(v | letter), exactly, by the inverse distribution functions.

        The sticks before a letter start at 0 and its own at 1; the later ones are, and stay, in their stationary law,
        as in Avdeyev et al. 2023 (a letter does not say where they are).
        """
        u = uniform.movedim(-1, 1)
        stick = torch.arange(self.sticks, device=u.device)[:, None]
        letter = letters[:, None]
        v = torch.empty_like(u)
        for start, chosen in ((0, stick < letter), (1, stick == letter)):
            v = torch.where(chosen, self._inverse(self.cdf[index, :, start], u), v)
        beta_b = torch.arange(self.sticks, 0, -1, device=u.device, dtype=u.dtype)[:, None]
        v = torch.where(stick > letter, stationary(u, beta_b), v)
        return v.movedim(1, -1)

    def _inverse(self, cdf: Tensor, u: Tensor) -> Tensor:
        cell = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True).clamp(1, CELLS) - 1
        low, high = cdf.gather(-1, cell), cdf.gather(-1, cell + 1)
        part = ((u - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return torch.sin((cell + part) * (math.pi / (2 * CELLS))).square()


def stationary(uniform: Tensor, b: Tensor) -> Tensor:
    """Beta(1, b) by its inverse distribution function (torch.distributions takes no generator)."""
    return -torch.expm1(torch.log1p(-uniform) / b)


def _slopes(theta: Array, ratio: Array) -> tuple[Array, Array]:
    """∂/∂v and ∂²/∂v² at v = sin²θ of functions that are even about both ends of the grid."""
    first = _slope(theta, ratio)
    return first, _slope(theta, first)


def _slope(theta: Array, f: Array) -> Array:
    spline = CubicSpline(theta, f, axis=1, bc_type="clamped")
    dv = np.sin(2 * theta)
    slope = np.empty_like(f)
    slope[:, 1:-1] = spline(theta[1:-1], 1) / dv[1:-1]
    # dv = sin 2θ dθ vanishes at the ends: de l'Hospital
    slope[:, 0], slope[:, -1] = spline(theta[0], 2) / 2, -spline(theta[-1], 2) / 2
    return slope


def _cumulative(law: Jacobi, theta: Array, ratio: Array) -> tuple[Array, Array]:
    """P(v ≤ sin²θ) and E[ρ], by integrating splines."""
    v = np.sin(theta) ** 2
    density = np.exp(ratio) * beta.pdf(v, law.a, law.b) * np.sin(2 * theta)
    whole = CubicSpline(theta, density, axis=1).antiderivative()(theta)
    whole = np.maximum.accumulate(np.clip(whole, 0, None), axis=1)
    return whole / whole[:, -1:], CubicSpline(theta, density * ratio, axis=1).integrate(0, np.pi / 2)
