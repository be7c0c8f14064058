"""The manifold task against its formula in NumPy, and against everything near its optimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from braid_tasks import ManifoldSpec
from braid_tasks.manifold import Manifold, ackley
from scipy.stats import chi2

from braid_core.errors import SpecError
from tests.checks import seeded


@pytest.fixture(scope="module", params=[{}, {"dim": 5, "latent": 1, "width": 0.3, "bend": 0.5, "landscape_seed": 3}])
def task(request: pytest.FixtureRequest) -> Manifold:
    return ManifoldSpec.model_validate(request.param).build(0)


def place(task: Manifold, u: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """The designs at ``u`` on the surface, ``s`` widths off it, one by one in NumPy."""
    rotation, waves, phases = (part.numpy() for part in (task.rotation, task.waves, task.phases))
    rows = []
    for here, off in zip(u.numpy(), s.numpy(), strict=True):
        surface = [
            task.spec.bend * math.sin(float(wave @ here) + phase) for wave, phase in zip(waves, phases, strict=True)
        ]
        rows.append(rotation @ np.concatenate([here, np.array(surface) + task.spec.width * off]))
    return torch.tensor(np.array(rows), dtype=torch.float32)


def by_formula(task: Manifold, u: torch.Tensor, s: torch.Tensor) -> list[float]:
    values = []
    for here, off in zip((u - task.best).numpy(), s.numpy(), strict=True):
        k = len(here)
        bowl = -20 * math.exp(-0.2 * math.sqrt(sum(here**2) / k)) - math.exp(sum(np.cos(2 * np.pi * here)) / k)
        radius = math.sqrt(chi2.ppf(0.999, len(off)))
        beyond = max(float(np.linalg.norm(off)) - radius, 0)
        trend = task.spec.tilt * float(off @ task.tempting.numpy())
        values.append(trend - (bowl + 20 + math.e) - task.spec.cliff * beyond)
    return values


def coordinates(task: Manifold, n: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    k, m = task.spec.latent, task.spec.dim - task.spec.latent
    generator = seeded(0)
    u = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return u, spread * torch.randn(n, m, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_the_truth_is_the_formula(task: Manifold, spread: float) -> None:
    u, s = coordinates(task, 50, spread)
    x = place(task, u, s)
    assert task.truth(x).tolist() == pytest.approx(by_formula(task, u, s), abs=2e-4)
    inside = s.norm(dim=1) <= math.sqrt(chi2.ppf(0.999, s.shape[1]))
    assert task.valid(x).tolist() == inside.tolist()


def test_ackleys_function_has_its_published_values() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
    values = [0.0, 3.6253849384403627, 3.6253849384403627, 4.253654026568412]
    assert ackley(points).tolist() == pytest.approx(values, abs=1e-12)


def test_nothing_is_better_than_the_optimum(task: Manifold) -> None:
    best, value = task.optimum()
    assert value == task.spec.tilt * math.sqrt(chi2.ppf(0.999, task.spec.dim - task.spec.latent))
    assert float(task.truth(best[None])) == pytest.approx(value, abs=1e-4)
    assert bool(task.valid(best[None]))
    for scale in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        near = best + scale * torch.randn(2000, task.spec.dim, generator=seeded(1))
        assert float(task.truth(near).max()) <= value + 1e-4
    assert float(task.truth(task.unlabelled()).max()) < value


def test_the_trend_of_the_data_turns_outside_the_tube(task: Manifold) -> None:
    widths = torch.tensor([0.0, 1.0, task.tube, task.tube + 1, task.tube + 2], dtype=torch.float64)
    u = task.best[None].expand(5, -1)
    y = task.truth(place(task, u, widths[:, None] * task.tempting))
    tilt, cliff = task.spec.tilt, task.spec.cliff
    slopes = (y.diff() / widths.diff()).tolist()
    assert slopes == pytest.approx([tilt, tilt, tilt - cliff, tilt - cliff], abs=1e-3)


def test_the_pool_is_near_the_surface(task: Manifold) -> None:
    x = task.unlabelled()
    z = x.double().numpy() @ task.rotation.numpy()
    u = z[:, : task.spec.latent]
    surface = task.spec.bend * np.sin(u @ task.waves.numpy().T + task.phases.numpy())
    off = (z[:, task.spec.latent :] - surface) / task.spec.width
    assert np.abs(u.std(0) - 1).max() < 0.05
    assert np.abs(off.std(0) - 1).max() < 0.05
    assert float(task.valid(x).float().mean()) == pytest.approx(0.999, abs=0.002)
    assert torch.allclose(task.rotation @ task.rotation.T, torch.eye(task.spec.dim, dtype=torch.float64), atol=1e-12)


def test_offline_designs_are_the_worse_ones_of_the_pool() -> None:
    task = ManifoldSpec(unlabelled="offline", n=None).build(0)
    rewards, data = task.truth(ManifoldSpec().build(0).unlabelled()), task.offline()
    assert len(data) == 3000
    assert torch.equal(data.y, task.truth(data.x))
    assert float(data.y.max()) <= float(rewards.quantile(0.6))
    assert torch.equal(task.unlabelled(), data.x)
    assert task.natural() is None


def test_a_flat_surface_and_undefined_designs() -> None:
    task = ManifoldSpec(bend=0, dim=3, latent=2, tilt=0).build(0)
    plane = task.unlabelled().double() @ task.rotation
    assert float(plane[:, 2].std()) == pytest.approx(0.1, rel=0.05)
    assert task.optimum()[1] == 0
    x = task.unlabelled()[:2].clone()
    x[0, 0] = torch.nan
    assert task.truth(x).isnan().tolist() == [True, False]
    assert task.valid(x).tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 16}, r"16 dimensions leaves nothing[\s\S]*task.latent"),
        ({"tilt": 5}, r"has no optimum[\s\S]*task.cliff"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ManifoldSpec.model_validate(options)
