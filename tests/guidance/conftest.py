"""Pretrained models of every family, with opinions of their own."""

from __future__ import annotations

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_discrete import MaskedSpec, UniformSpec
from braid_simplex import SimplexSpec
from torch import Tensor

from braid_core.interfaces import Space, Tokens, Vectors
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import PretrainingSpec
from tests.checks import seeded

CPU = torch.device("cpu")
SMALL = {"network": {"width": 16, "depth": 1}}
SPECS: dict[str, PretrainingSpec] = {
    "one by one": MaskedSpec(**SMALL),
    "parallel": MaskedSpec(reveal="parallel", steps=8, **SMALL),
    "uniform": UniformSpec(steps=8, **SMALL),
    "simplex": SimplexSpec(steps=8, **SMALL),
    "gaussian": GaussianSpec(steps=8, **SMALL),
}


def opinionated(spec: PretrainingSpec, space: Space, strength: float = 0.15) -> NetworkBackbone:
    """An untrained model whose predictions are neither small nor the same everywhere."""
    model = spec.build(space, CPU)
    source = seeded(1)
    for parameter in model.net.parameters():
        parameter.add_(strength * torch.randn(parameter.shape, generator=source))
    return model


def slope(x: Tensor) -> Tensor:
    """The weights of :func:`linear`."""
    return torch.linspace(-1, 1.5, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])


def linear(x: Tensor) -> Tensor:
    """A reward with another weight for every number of a design."""
    return (x * slope(x)).flatten(1).sum(1)


@pytest.fixture(params=sorted(SPECS))
def pretrained(request: pytest.FixtureRequest) -> NetworkBackbone:
    return opinionated(SPECS[request.param], Vectors(3) if request.param == "gaussian" else Tokens("ACGT", 4))
