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
"""Of the grid, equal in θ = arcsin √v: fine at both ends, where the laws are narrow. A power of 2, to be bisected."""


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
        # One row for each quantity, so that what is read of it is contiguous.
        self.values = torch.tensor(rows, dtype=torch.float32).flatten(0, 2).T.contiguous()
        self.first = torch.arange(n) * (CELLS + 1)
        """Where each stick begins in a time's part of the values."""
        self.cdf = torch.tensor(cdf, dtype=torch.float32)
        self.divergence = torch.tensor(divergence, dtype=torch.float32)
        """KL(p_τ(· | v0) ‖ w), ``(times, sticks, 2)``."""
        self.rates = torch.tensor([[law.speed for law in laws], [law.b for law in laws]], dtype=torch.float64)
        """s and b of every stick."""

    def to(self, device: torch.device) -> Tables:
        """Themselves, on ``device``."""
        self.values, self.first, self.cdf, self.divergence, self.rates = (
            t.to(device) for t in (self.values, self.first, self.cdf, self.divergence, self.rates)
        )
        return self

    def evidence(self, v: Float[Tensor, "b l sticks"], index: Int[Tensor, " b"] | int) -> Evidence:
        """Of the states ``v``, row by row at the time ``index`` (or all at one)."""
        place = torch.asin(v.detach().clamp(0, 1).sqrt()) * (2 * CELLS / math.pi)
        cell = place.long().clamp(0, CELLS - 1)
        part = (place - cell).to(self.values.dtype)
        time = index[:, None, None] if isinstance(index, Tensor) else index
        at = (self.first + time * (self.sticks * (CELLS + 1)) + cell).flatten()
        near = torch.lerp(self.values.index_select(1, at), self.values.index_select(1, at + 1), part.flatten())
        zero, one, zero1, one1, zero2, one2 = near.to(v.dtype).reshape(6, *v.shape).unbind()
        if not v.requires_grad:
            return Evidence(zero, one, zero1, one1)
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
        letter = letters[..., None]
        stick = torch.arange(self.sticks, device=uniform.device)
        start = stick == letter
        first = ((index[:, None, None] * self.sticks + stick) * 2 + start) * (CELLS + 1)
        beta_b = torch.arange(self.sticks, 0, -1, device=uniform.device, dtype=uniform.dtype)
        return torch.where(stick > letter, stationary(uniform, beta_b), self._inverse(first, uniform))

    def _inverse(self, first: Int[Tensor, "b l sticks"], u: Float[Tensor, "b l sticks"]) -> Tensor:
        """By bisection, where each row of ``cdf`` begins at ``first``: searchsorted would want a copy of every row."""
        cdf, place, half = self.cdf.flatten(), first, CELLS
        while half := half // 2:
            place = place + half * (cdf.take(place + half) <= u)
        low, high = cdf.take(place), cdf.take(place + 1)
        part = ((u - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return torch.sin((place - first + part) * (math.pi / (2 * CELLS))).square()


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
