"""A quadratic reward under a Gaussian chain: the best tuned chain by a Riccati recursion, without sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from torch import Tensor

from tests.doubles import FormulaOracle, GaussianBackbone, GaussianChain, problem

DOUBLE = torch.float64
UNIT, Q, GOAL = 2.0, 1.5, 2.0
"""Rewards −½Q(x − GOAL)² in a unit of offline standard deviations."""


def affine(backbone: GaussianBackbone, k: int) -> tuple[float, float, float]:
    """(a, b, σ) of step k: x' = a·x + b + σ·ε."""
    x = torch.tensor([[0.0], [1.0]], dtype=DOUBLE)
    with torch.no_grad():
        step = backbone.process.transition(
            backbone.predict(x, torch.full((2,), backbone.process.time(k), dtype=DOUBLE)), x, k
        )
    b, a = float(step.mean[0]), float(step.mean[1] - step.mean[0])
    return a, b, float(step.std)


def best(backbone: GaussianBackbone, alpha: float) -> float:
    """V_0 of V_k(x) = max_u E[V_{k+1}(a·x + b + u + σ·ε)] − α·u²/(2σ²), where V_T is the reward and u moves the mean.

    Quadratic at each step: with V_{k+1} = A·m² + B·m + C the best move is u = (2A·m + B)/(α/σ² − 2A), m = a·x + b.
    """
    top, linear, constant = -0.5 * Q / UNIT, Q * GOAL / UNIT, -0.5 * Q * GOAL**2 / UNIT
    for k in reversed(range(backbone.process.steps)):
        a, b, sigma = affine(backbone, k)
        stiff = 2 * (alpha / sigma**2 - 2 * top)
        # V_k as a function of m, then of x
        square, slope = top + (2 * top) ** 2 / stiff, linear + 2 * (2 * top) * linear / stiff
        rest = constant + linear**2 / stiff + top * sigma**2
        top, linear, constant = square * a**2, 2 * square * a * b + slope * a, square * b**2 + slope * b + rest
    return top + constant  # the start has mean 0 and variance 1


def value(tuned: GaussianBackbone, pretrained: GaussianBackbone, alpha: float) -> float:
    """J = E[reward] − α·path KL, exactly: mean and variance of an affine chain, step by step."""
    mean, variance, cost = 0.0, 1.0, 0.0
    for k in range(tuned.process.steps):
        (a, b, sigma), (a0, b0, _) = affine(tuned, k), affine(pretrained, k)
        gain, shift = a - a0, b - b0
        cost += ((gain * mean + shift) ** 2 + gain**2 * variance) / (2 * sigma**2)
        mean, variance = a * mean + b, a**2 * variance + sigma**2
    return -0.5 * Q * ((mean - GOAL) ** 2 + variance) / UNIT - alpha * cost


def reward(x: Tensor) -> Tensor:
    return -0.5 * Q * (x - GOAL).square().sum(1)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 2.0])
@pytest.mark.parametrize("options", [{}, {"checkpoint": True}])
def test_tuning_reaches_the_optimum_within_two_percent(alpha: float, options: dict[str, Any]) -> None:
    backbone = GaussianBackbone(GaussianChain(1, 6, DOUBLE), 0.5, 0.8)
    spec = BraidSpec(alpha=alpha, steps=150, batch=128, learning_rate=0.1, clip=100.0, **options)
    sampler = spec.build().fit(problem(backbone, FormulaOracle(reward), UNIT))
    assert isinstance(sampler.tuned, GaussianBackbone)
    start, optimum = value(backbone, backbone, alpha), best(backbone, alpha)
    assert optimum - start > 0.1
    assert 0.98 < (value(sampler.tuned, backbone, alpha) - start) / (optimum - start) <= 1


def test_the_recursion_comes_to_the_closed_form_with_many_steps() -> None:
    """α·log E_pre[exp(r/α)] for N(m, s²): −½·log(1 + s²Q/(αu))·α − ½·Q/u·(m − GOAL)²/(1 + s²Q/(αu)), u the unit."""
    mean, std, alpha = 0.5, 0.8, 0.4
    backbone = GaussianBackbone(GaussianChain(1, 800, DOUBLE), mean, std)
    factor = 1 + std**2 * Q / (alpha * UNIT)
    expected = -0.5 * alpha * torch.tensor(factor).log() - 0.5 * Q / UNIT * (mean - GOAL) ** 2 / factor
    assert best(backbone, alpha) == pytest.approx(float(expected), rel=0.02)
