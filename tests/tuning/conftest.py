"""Two families of chains, each with tuned weights that differ from the reference's."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from braid_discrete import MaskedSpec
from torch import Tensor

from braid_core.interfaces import Predict, Process, Tokens, Tunable
from tests.checks import seeded
from tests.doubles import GaussianBackbone, GaussianChain


@dataclass(frozen=True)
class Family:
    process: Process
    predict: Predict
    reference: Predict
    parameters: list[Tensor]


def moved(opened: Tunable, by: float) -> Family:
    """The pair after tuning, as if."""
    source = seeded(1)
    with torch.no_grad():
        for p in opened.parameters:
            p += by * torch.randn(p.shape, generator=source, dtype=p.dtype)
    return Family(opened.tuned.process, opened.tuned.predict, opened.reference, list(opened.parameters))


@pytest.fixture
def gaussian() -> Family:
    """Five steps over two dimensions, in float64."""
    return moved(GaussianBackbone(GaussianChain(2, 5, torch.float64), 0.5, 0.8).tunable(), 0.3)


def tokens(**options: object) -> Family:
    spec = MaskedSpec(network={"width": 8, "depth": 2}, **options)
    return moved(spec.build(Tokens("ACGT", 4), torch.device("cpu")).tunable(), 0.3)


@pytest.fixture(params=["gaussian", "one by one", "parallel"])
def family(request: pytest.FixtureRequest, gaussian: Family) -> Family:
    if request.param == "gaussian":
        return gaussian
    return tokens(reveal="one") if request.param == "one by one" else tokens(reveal="parallel", steps=6)
