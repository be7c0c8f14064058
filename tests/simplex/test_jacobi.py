"""The transition law of one stick, against other ways to compute it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from braid_simplex.jacobi import Array, Jacobi
from mpmath import mp, mpf
from scipy.interpolate import CubicSpline
from scipy.special import gammaln
from scipy.stats import beta

THETA = np.linspace(0, np.pi / 2, 513)
V = np.sin(THETA) ** 2
LAWS = [Jacobi(1, b, 2 / (1 + b)) for b in (1, 2, 3)]
PROTEIN = Jacobi(1, 19, 0.1)


def exactly(law: Jacobi, v: float, tau: float, start: int) -> float:
    """log p/w by the series with textbook polynomials and norms (DLMF 18.3), in 130 digits."""
    mp.dps = 130
    alpha, bet, total, n = law.b - 1, law.a - 1, mpf(0), 0

    def norm(n: int) -> mpf:
        two = mpf(2) ** (alpha + bet + 1) / (2 * n + alpha + bet + 1)
        return two * mp.gamma(n + alpha + 1) * mp.gamma(n + bet + 1) / mp.factorial(n) / mp.gamma(n + alpha + bet + 1)

    while True:
        decay = mp.exp(-mpf(law.speed) / 2 * n * (n - 1 + law.a + law.b) * tau)
        ends = mp.jacobi(n, alpha, bet, 2 * start - 1) * mp.jacobi(n, alpha, bet, 2 * mpf(v) - 1)
        total += decay * ends / norm(n) * norm(0)
        if decay * mpf(n + 1) ** (2 * (law.a + law.b)) < mpf(10) ** -120:
            return float(mp.log(total))
        n += 1


@pytest.mark.parametrize("law", [*LAWS, PROTEIN, Jacobi(2.5, 0.7, 1.0)], ids=str)
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
def test_the_density_is_the_series_in_many_digits(law: Jacobi, start: int, tau: float) -> None:
    """To rounding where it is likely, and within a few per cent where it is less likely than 1e-10."""
    places = [0, 40, 130, 256, 390, 480, 512]
    found = law.log_ratio(THETA, np.array([tau]), start)[0, places]
    exact = np.array([exactly(law, V[i], tau, start) for i in places])
    assert np.abs(found - exact)[exact > exact.max() - 10].max() < 1e-9
    if law.a == 1 and law != PROTEIN:
        assert np.abs(found - exact).max() < 0.1


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("start", [0, 1])
def test_the_short_time_form_is_the_series_in_many_digits(law: Jacobi, start: int) -> None:
    """At ε = .005 to .017, over 70 nats: its error is of second order in ε."""
    places = [0, 40, 130, 256, 330]
    places = places if start == 0 else [512 - i for i in places]
    form = law if start == 0 else law.mirrored
    theta = THETA if start == 0 else np.pi / 2 - THETA
    errors = []
    for tau in (0.02, 0.04):
        exact = np.array([exactly(law, V[i], tau, start) for i in places])
        errors.append(np.abs(form._short_time(theta[places], law.speed * tau / 2) - exact).max())
    assert errors[1] < 2e-3
    assert errors[0] < 0.3 * errors[1]


def by_coalescence(law: Jacobi, v: float, tau: float, start: int) -> float:
    """A mixture of Beta laws over the number of lineages that are left at tau (Griffiths & Spanò 2010, §3)."""
    mp.dps = 60
    total, theta = law.a + law.b, mpf(law.speed) * tau
    answer = mpf(0)
    for m in range(60):
        q = mpf(0)
        for k in range(m, 160):
            sign = (-1) ** (k - m) * (2 * k + total - 1)
            rising = mp.rf(total + m, k - 1) if k else 1 / (total + m - 1)
            q += sign * rising * mp.exp(-k * (k + total - 1) * theta / 2) / (mp.factorial(m) * mp.factorial(k - m))
        if start == 1:
            density = mp.power(v, law.a + m - 1) * mp.power(1 - mpf(v), law.b - 1) / mp.beta(law.a + m, law.b)
        else:
            density = mp.power(v, law.a - 1) * mp.power(1 - mpf(v), law.b + m - 1) / mp.beta(law.a, law.b + m)
        answer += q * density
    return float(answer)


@pytest.mark.parametrize("start", [0, 1])
def test_the_density_is_that_of_the_dual_process(start: int) -> None:
    """A different theory of the same process: lineages that die at the rates of the spectrum."""
    law = LAWS[2]
    for i in (200, 450):
        ratio = law.log_ratio(THETA, np.array([1.0]), start)[0, i]
        density = math.exp(ratio) * beta.pdf(V[i], law.a, law.b)
        assert density == pytest.approx(by_coalescence(law, float(V[i]), 1.0, start), rel=1e-8)


def integral(f: Array) -> Array:
    """Over v, of functions on the grid."""
    return np.asarray(CubicSpline(THETA, f * np.sin(2 * THETA), axis=-1).integrate(0, np.pi / 2))


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("start", [0, 1])
def test_the_density_is_normalised_and_has_the_mean_of_the_drift(law: Jacobi, start: int) -> None:
    """The drift is linear, so that E[v] relaxes exponentially with rate (s/2)(a + b)."""
    tau = np.array([0.02, 0.1, 0.3, 1.0, 4.0])
    density = np.exp(law.log_ratio(THETA, tau, start)) * beta.pdf(V, law.a, law.b)
    whole, mean = np.array([integral(d) for d in density]), np.array([integral(d * V) for d in density])
    rest = law.a / (law.a + law.b)
    expected = rest + (start - rest) * np.exp(-0.5 * law.speed * (law.a + law.b) * tau)
    np.testing.assert_allclose(whole, 1, atol=2e-5)
    np.testing.assert_allclose(mean, expected, rtol=1e-4)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("tau", [0.05, 0.5, 2.0])
def test_the_ratio_obeys_the_backward_equation(law: Jacobi, start: int, tau: float) -> None:
    """∂u/∂τ = f·u' + ½·s·v(1−v)·u'' for u = p/w, by finite differences; reversibility makes it Fokker–Planck's."""
    h = 1e-4 * tau
    u = np.exp(law.log_ratio(THETA, np.array([tau - h, tau, tau + h]), start))
    spline = CubicSpline(THETA, u[1], bc_type="clamped")
    inner = slice(20, -20)
    theta, v = THETA[inner], V[inner]
    first = spline(theta, 1) / np.sin(2 * theta)
    second = (spline(theta, 2) - 2 * np.cos(2 * theta) * first) / np.sin(2 * theta) ** 2
    f = 0.5 * law.speed * (law.a * (1 - v) - law.b * v)
    generated = f * first + 0.5 * law.speed * v * (1 - v) * second
    change = (u[2] - u[0])[inner] / (2 * h)
    np.testing.assert_allclose(change, generated, atol=2e-3 * np.abs(change).max())


def walk(law: Jacobi, v: Array, tau: float, steps: int, source: np.random.Generator) -> Array:
    """Fine Euler–Maruyama paths of the forward process."""
    dt = tau / steps
    for _ in range(steps):
        drift = 0.5 * law.speed * (law.a * (1 - v) - law.b * v)
        noise = np.sqrt(law.speed * v * (1 - v) * dt) * source.standard_normal(len(v))
        v = np.clip(v + drift * dt + noise, 0, 1)
    return v


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("start", [0, 1])
def test_simulated_paths_have_this_law(law: Jacobi, start: int) -> None:
    tau, n = 0.6, 20_000
    ends = walk(law, np.full(n, float(start)), tau, 1500, np.random.default_rng(0))
    density = np.exp(law.log_ratio(THETA, np.array([tau]), start)[0]) * beta.pdf(V, law.a, law.b)
    cdf = CubicSpline(THETA, density * np.sin(2 * THETA)).antiderivative()
    u = np.sort(cdf(np.arcsin(np.sqrt(ends))))
    assert np.abs(u - (np.arange(n) + 0.5) / n).max() < 0.015  # Kolmogorov's 1e-3 quantile is .014


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_paths_forget_their_start(law: Jacobi) -> None:
    """From 0 to Beta(a, b), and from Beta(a, b) to itself."""
    source, n = np.random.default_rng(1), 10_000
    for before, tau in ((np.zeros(n), 7.0), (source.beta(law.a, law.b, n), 0.5)):
        ends = np.sort(beta.cdf(walk(law, before, tau, 1000, source), law.a, law.b))
        assert np.abs(ends - (np.arange(n) + 0.5) / n).max() < 0.02
    assert np.abs(law.log_ratio(THETA, np.array([30.0]), 0)).max() < 1e-10


@pytest.mark.parametrize("law", [*LAWS, PROTEIN], ids=str)
def test_polynomials_are_orthonormal(law: Jacobi) -> None:
    phi = law.polynomials(12, V)
    gram = np.array([[integral(x * y * beta.pdf(V, law.a, law.b)) for x in phi] for y in phi])
    np.testing.assert_allclose(gram, np.eye(12), atol=1e-6)


def test_near_the_start_it_is_a_squared_bessel_process() -> None:
    """v/ε ~ Gamma(a) (a = 1: exponential) as ε = s·τ/2 → 0."""
    law, eps = LAWS[2], 1e-4
    v = np.array([0.5, 1.0, 3.0]) * eps
    found = law.log_ratio(np.arcsin(np.sqrt(v)), np.array([2 * eps / law.speed]), 0)[0]
    log_w = np.log(beta.pdf(v, law.a, law.b))
    expected = (law.a - 1) * np.log(v / eps) - v / eps - gammaln(law.a) - math.log(eps)
    np.testing.assert_allclose(found + log_w, expected, atol=2e-3)
