"""Gaussian data, for which everything about the chain is known in closed form."""

from __future__ import annotations

from typing import Any

import torch
from braid_continuous.process import GaussianProcess
from braid_continuous.schedule import TIMES, signals
from torch import Tensor

from braid_core.interfaces import Condition, Vectors

DOUBLE = torch.float64


class DoubleProcess(GaussianProcess):
    """The same chain from a start in float64."""

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        return super().prior(n, generator).double()


def process(steps: int = 10, dim: int = 2, **options: Any) -> GaussianProcess:
    return DoubleProcess(Vectors(dim), steps, **options)


class ExactNetwork:
    """What a perfect network predicts for the data N(``mean``, ``covariance``): the conditional expectation."""

    def __init__(self, chain: GaussianProcess, mean: Tensor, covariance: Tensor) -> None:
        self.chain, self.mean, self.covariance = chain, mean.double(), covariance.double()

    def __call__(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        signal = float(signals(self.chain.schedule)[round(float(t[0]) * TIMES)])
        # x is jointly Gaussian with x0: E[x0 | x] = m + √ᾱ·Σ(ᾱΣ + (1 − ᾱ)I)⁻¹(x − √ᾱ·m)
        spread = signal * self.covariance + (1 - signal) * torch.eye(len(self.mean), dtype=DOUBLE)
        gain = signal**0.5 * torch.linalg.solve(spread, self.covariance)
        x0 = self.mean + (x - signal**0.5 * self.mean) @ gain
        return consistent(self.chain.prediction, x, x0, signal)


def consistent(prediction: str, x: Tensor, x0: Tensor, signal: float | Tensor) -> Tensor:
    """The output that says ``x0`` at ``x``, from the definitions: x = √ᾱ·x0 + √(1−ᾱ)·ε, v = √ᾱ·ε − √(1−ᾱ)·x0."""
    epsilon = (x - signal**0.5 * x0) / (1 - signal) ** 0.5
    return {"x0": x0, "epsilon": epsilon, "v": signal**0.5 * epsilon - (1 - signal) ** 0.5 * x0}[prediction]


def affine(chain: GaussianProcess, network: ExactNetwork, k: int) -> tuple[Tensor, Tensor, float]:
    """(A, b, σ) of a step whose mean is A·x + b, read off its transitions."""
    dim = len(network.mean)
    x = torch.cat([torch.zeros(1, dim, dtype=DOUBLE), torch.eye(dim, dtype=DOUBLE)])
    step = chain.transition(network(x, torch.full((dim + 1,), chain.time(k), dtype=DOUBLE)), x, k)
    return (step.mean[1:] - step.mean[0]).T, step.mean[0], float(step.std)


def law(chain: GaussianProcess, network: ExactNetwork) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the chain's end, exactly: every step is affine in the state."""
    dim = len(network.mean)
    mean, covariance = torch.zeros(dim, dtype=DOUBLE), torch.eye(dim, dtype=DOUBLE)
    for k in range(chain.steps):
        a, b, sigma = affine(chain, network, k)
        mean, covariance = a @ mean + b, a @ covariance @ a.T + sigma**2 * torch.eye(dim, dtype=DOUBLE)
    return mean, covariance
