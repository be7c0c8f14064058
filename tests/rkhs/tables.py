"""Small tables, oracles fitted to them, and the kernel written down once more."""

from __future__ import annotations

from typing import Any

import torch
from braid_rkhs import RKHSSpec
from braid_rkhs.features import KernelFeatures
from braid_rkhs.oracle import RKHSOracle
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Space, Tokens
from tests.checks import seeded

SPACE = Tokens("ACGT", 6)
STRANDED = Tokens("ACGT", 6, ("reverse_complement",))
SPACES = (SPACE, STRANDED)
KINDS = ("learned", "nystroem", "fourier")
KERNELS = KINDS[1:]
NETWORK = {"width": 16, "train_steps": 60, "batch": 64, "learning_rate": 1e-2}


def reward(x: Tensor) -> Tensor:
    """Of both strands, with an interaction."""
    weights = torch.randn(x[0].numel(), 3, generator=seeded(5)).to(x)
    u, v, w = (STRANDED.orbit(x) if x.ndim == 3 else x[None]).flatten(2).matmul(weights).unbind(-1)
    return 3 + (2 * u + 0.5 * v * w).mean(0)


def data(n: int = 80, space: Space = SPACE, dtype: torch.dtype = torch.float32) -> LabelledDesigns:
    x = space.random(n, seeded(8)).to(dtype)
    return LabelledDesigns(x, reward(x))


def relaxed(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Between the corners of the simplex."""
    return torch.randn(n, 6, 4, generator=seeded(4), dtype=dtype).softmax(-1)


def built(features: str, space: Space = SPACE, **options: Any) -> RKHSOracle:
    defaults: dict[str, Any] = (
        {"network": NETWORK} if features == "learned" else {"components": 30, "bandwidth": 0.5, **options}
    )
    return RKHSSpec(**{"features": features, **defaults, **options}).build(space, torch.device("cpu"))


def fitted(
    features: str, table: LabelledDesigns | None = None, space: Space = SPACE, seed: int = 0, **options: Any
) -> RKHSOracle:
    oracle = built(features, space, **options)
    oracle.fit(table or data(space=space), seeded(seed))
    return oracle


def kernel(space: Space, a: Tensor, b: Tensor, gamma: float) -> Tensor:
    """The mean over the forms of both designs of exp(−γ‖a − b‖²)."""
    pairs = torch.cdist(space.orbit(a).flatten(2)[:, None], space.orbit(b).flatten(2)[None])
    return (-gamma * pairs.square()).exp().mean((0, 1))


def own_kernel(space: Space, x: Tensor, gamma: float) -> Tensor:
    """k(x, x)."""
    return kernel(space, x, x, gamma).diagonal()


def gamma_of(oracle: RKHSOracle) -> float:
    """Of a fitted Nyström oracle."""
    assert isinstance(oracle.features, KernelFeatures)
    return float(oracle.features.constants.at(torch.float64)["width"]) ** 2 / 2


def landmarks(oracle: RKHSOracle) -> Tensor:
    assert isinstance(oracle.features, KernelFeatures)
    constants = oracle.features.constants.at(torch.float64)
    return (constants["points"] / constants["width"] + constants["centre"]).reshape(-1, *oracle.space.event_shape)


def scaled(oracle: RKHSOracle, x: Tensor) -> Tensor:
    """φ as λ sees it."""
    phi = oracle.features(x)
    return phi * oracle.ridge.constants.at(phi.dtype)["unit"]
