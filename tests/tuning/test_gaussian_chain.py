"""The Gaussian double itself: the same interfaces serve vectors, with answers known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from braid_core.interfaces import GaussianTransition
from braid_core.tuning.rollout import rollout
from tests.checks import flat, seeded
from tests.doubles import GaussianBackbone, GaussianChain
from tests.tuning.conftest import Family


@pytest.mark.parametrize(("steps", "mean", "std"), [(10, -1.0, 1.0), (100, 2.0, 0.5)])
def test_the_exact_score_samples_the_data(steps: int, mean: float, std: float) -> None:
    """σ² = β is exact in few steps for unit variance, and in the limit of many otherwise (Ho et al. 2020, §3.2)."""
    backbone = GaussianBackbone(GaussianChain(1, steps), mean, std)
    x = rollout(backbone.process, backbone.predict, 10_000, seeded()).x
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(std, rel=0.03)


def test_the_kl_of_a_shift_is_girsanovs() -> None:
    """Σ ‖Δμ‖²/(2σ²) with Δμ = β·Δε/√(a(1 − ᾱ)) and σ² = β = 1 − a."""
    chain = GaussianChain(3, 7, torch.float64)
    opened = GaussianBackbone(chain, 0.3, 0.7).tunable()
    shift = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    opened.tuned.net["shift"].data[:] = shift
    signal = chain.signal(1 - torch.arange(8, dtype=torch.float64) / 7)
    a = signal[:-1] / signal[1:]
    moved = (1 - a) / (a * (1 - signal[:-1])).sqrt()
    expected = moved.square() * float(shift.square().sum()) / (2 * (1 - a))
    path = rollout(chain, opened.tuned.predict, 4, seeded(), reference=opened.reference)
    torch.testing.assert_close(path.kl, expected.expand(4, 7))


def test_the_exact_score_minimises_the_loss() -> None:
    backbone = GaussianBackbone(GaussianChain(2, 10, torch.float64), 1.0, 0.5)
    parameters = [p.requires_grad_() for p in backbone.net.values()]
    data = 1 + 0.5 * torch.randn(100_000, 2, generator=seeded(), dtype=torch.float64)
    loss = backbone.process.loss(backbone.predict, data, seeded(1)).mean()
    assert float(flat(torch.autograd.grad(loss, parameters)).abs().max()) < 0.005
    backbone.net["shift"].data += 1
    shifted = backbone.process.loss(backbone.predict, data, seeded(1)).mean()
    assert float((shifted - loss).detach()) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("through", [False, True], ids=["network held", "through the network"])
def test_guidance_follows_the_gradient_of_the_denoised_potential(gaussian: Family, through: bool) -> None:
    """Against finite differences of the potential of x̂0, with or without the network's own dependence on the state."""
    process, k, level = gaussian.process, 2, 1.7
    x = torch.randn(4, 2, generator=seeded(), dtype=torch.float64).requires_grad_(through)
    t = torch.full((4,), process.time(k))

    def potential(x0: Tensor) -> Tensor:
        return torch.sin(x0).sum(1) + x0[:, 0] * x0[:, 1]

    out = gaussian.predict(x, t, None)
    plain, guided = process.transition(out, x, k), process.guided(out, x, k, potential, level)
    direction = torch.zeros_like(x)
    with torch.no_grad():
        for d in range(2):
            ends = []
            for sign in (1, -1):
                there = x + sign * 1e-6 * torch.eye(2, dtype=torch.float64)[d]
                value = process.denoised(gaussian.predict(there, t, None) if through else out, there, k)
                ends.append(potential(value))
            direction[:, d] = (ends[0] - ends[1]) / 2e-6
    assert isinstance(guided, GaussianTransition)
    torch.testing.assert_close(guided.mean - plain.mean, level * plain.std.square() * direction, rtol=1e-6, atol=1e-7)
    assert torch.equal(guided.std, plain.std)


def test_other_numbers_of_steps_need_no_new_weights() -> None:
    backbone = GaussianBackbone(GaussianChain(1, 4), 2.0, 1.0)
    longer = backbone.process.with_steps(20)
    x = rollout(longer, lambda x, t, condition: GaussianBackbone(longer, 2.0).predict(x, t), 10_000, seeded()).x
    assert longer.steps == 20
    assert float(x.mean()) == pytest.approx(2, abs=0.04)
