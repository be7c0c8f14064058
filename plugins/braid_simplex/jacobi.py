"""The transition law of a Jacobi diffusion from a boundary, relative to its stationary law, in float64.

On (0, 1) with parameters a, b and speed s (Avdeyev et al. 2023, eq. 4):

    dv = (s/2)·[a(1 − v) − b·v] dτ + sqrt(s·v(1 − v)) dW,    stationary law w = Beta(a, b).

Everything is expressed through ρ(v, τ | v0) = log p_τ(v | v0) − log w(v), which is smooth up to both boundaries, is 0
where nothing is known about v0, and whose slope is what the reverse process needs: since the forward process is
reversible under w, its time reversal has the drift f + s·v(1 − v)·∂ρ/∂v, with the *forward* drift f.

ε = s·τ/2 measures how far the process has come. Large ε: the spectral series. Small ε: the heat kernel's asymptotics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ive

Array = NDArray[np.float64]

MOST_TERMS = 1200
"""Of the spectral series; with terms falling as exp(−ε·n²) they suffice from ε = 5e-5 on."""

TRUSTED, LOST = 1e-10, 1e-7
"""Relative rounding errors of the series up to which it is used alone, and from which on it is not used at all."""


@dataclass(frozen=True)
class Jacobi:
    """One stick's process: a, b > 0 and the speed s."""

    a: float
    b: float
    speed: float

    @property
    def mirrored(self) -> Jacobi:
        """The process of 1 − v."""
        return Jacobi(self.b, self.a, self.speed)

    def log_ratio(self, theta: Array, tau: Array, start: int) -> Array:
        """ρ at v = sin²(theta), ``theta`` rising from 0 to at most π/2: ``(times, grid)``; ``start`` is v0, 0 or 1."""
        if start == 1:
            return self.mirrored.log_ratio((np.pi / 2 - theta)[::-1], tau, 0)[:, ::-1]
        series, error = self._series(theta, tau)
        return np.stack(
            [
                _joined(series[i], error[i], self._short_time(theta, self.speed * float(t) / 2))
                for i, t in enumerate(tau)
            ]
        )

    def _series(self, theta: Array, tau: Array) -> tuple[Array, Array]:
        """log Σ_n exp(−λ_n·τ)·φ_n(0)·φ_n(v) with λ_n = (s/2)·n(n − 1 + a + b), and its relative rounding error.

        The φ_n are Jacobi polynomials, orthonormal under w.
        """
        shortest = self.speed * float(tau.min()) / 2
        terms = min(MOST_TERMS, int(np.sqrt((60 + 4 * (self.a + self.b)) / shortest)) + 20)
        phi = self.polynomials(terms, np.concatenate([[0.0], np.sin(theta) ** 2]))
        n = np.arange(terms)
        decay = np.exp(-0.5 * self.speed * np.outer(tau, n * (n - 1 + self.a + self.b)))
        weighted = phi[:, :1] * phi[:, 1:]
        total, size = decay @ weighted, decay @ np.abs(weighted)
        last = decay[:, -1:] * np.abs(weighted[-1]) * terms  # what was cut off
        safe = np.where(total > 0, total, 1.0)  # rounding can leave a negative sum
        return np.log(safe), np.where(total > 0, (np.finfo(float).eps * size + last) / safe, np.inf)

    def polynomials(self, terms: int, v: Array) -> Array:
        """The first ``terms`` polynomials orthonormal under Beta(a, b), ``(terms, grid)``, by their recurrence.

        x·φ_n = A_{n+1}·φ_{n+1} + B_n·φ_n + A_n·φ_{n−1}, x = 2v − 1 (Gautschi 2004, table 1.1; α = b − 1, β = a − 1).
        """
        alpha, beta = self.b - 1, self.a - 1
        x, both = 2 * v - 1, alpha + beta
        phi = np.ones((terms, len(v)))
        before, a_now = np.zeros_like(v), 0.0
        for n in range(terms - 1):
            first = (beta - alpha) / (both + 2)
            b_now = first if n == 0 else (beta**2 - alpha**2) / ((2 * n + both) * (2 * n + both + 2))
            m = n + 1
            ratio = 1.0 if m == 1 else (m + both) / (2 * m + both - 1)
            a_next = np.sqrt(4 * m * (m + alpha) * (m + beta) * ratio / ((2 * m + both) ** 2 * (2 * m + both + 1)))
            phi[m] = ((x - b_now) * phi[n] - a_now * before) / a_next
            before, a_now = phi[n], a_next
        return phi

    def _short_time(self, theta: Array, eps: float) -> Array:
        """ρ from 0 to first order in ε, uniformly up to the far boundary.

        In θ = arcsin √v the process is a Brownian motion in the potential U = p(p−1)/sin²θ + q(q−1)/cos²θ − (p+q)²,
        p = a − ½, q = b − ½ (Pöschl–Teller). Its kernel is that of a Bessel process at either boundary (exact in the
        singular parts of U), times exp(−(ε/4)·mean of the rest of U along the straight path).
        """
        p, q = self.a - 0.5, self.b - 0.5
        phi = np.pi / 2 - theta  # the distance from the far boundary
        near, far = np.maximum(theta, 1e-8), np.maximum(phi, 1e-8)
        rest = p * (p - 1) * _cot_rest(near) / near
        rest += q * (q - 1) * _tan_rest(near, far) - (p + q) ** 2
        z = np.pi * far / eps
        reach = np.log(ive(self.b - 1, z)) + 0.5 * np.log(2 * np.pi * z) - q * np.log(np.sin(far))
        log_w0 = gammaln(self.a + self.b) - gammaln(self.a) - gammaln(self.b)
        shape = p * np.log(near / np.sin(near)) + reach
        ratio = shape - near**2 / eps - eps / 4 * rest - gammaln(self.a) - self.a * np.log(eps) - log_w0
        return np.asarray(ratio, dtype=np.float64)


def _cot_rest(x: Array) -> Array:
    """1/x − cot x without cancellation near 0."""
    small = x < 1e-2
    y = np.where(small, 1.0, x)
    return np.where(small, x / 3 + x**3 / 45, 1 / y - np.cos(y) / np.sin(y))


def _tan_rest(x: Array, far: Array) -> Array:
    """tan(x)/x − 2/(π·far) with far = π/2 − x, without cancellation at either end."""
    return np.where(x < 0.5, np.tan(np.minimum(x, 0.5)) / x - 2 / (np.pi * far), (2 / np.pi - _cot_rest(far)) / x)


def _joined(series: Array, error: Array, asymptotic: Array) -> Array:
    """The series from the start on as far as rounding leaves it, then the asymptotics, shifted to meet it smoothly."""
    worst = np.maximum.accumulate(error)
    share = np.clip(np.log(worst / TRUSTED) / np.log(LOST / TRUSTED), 0, 1)
    share = share**2 * (3 - 2 * share)
    if share[0] == 1:
        return asymptotic
    last = np.flatnonzero(share < 1)[-1]
    shifted = asymptotic + series[last] - asymptotic[last]
    return np.where(share == 0, series, np.where(share == 1, shifted, (1 - share) * series + share * shifted))
