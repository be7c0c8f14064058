"""The Gaussian backbone keeps what every backbone promises, for vectors and images, DDPM and DDIM."""

from __future__ import annotations

from typing import Any

from braid_continuous import GaussianSpec

from braid_core.interfaces import Images, Vectors
from braid_core.testing import BackboneContract

QUICK: dict[str, Any] = {"steps": 10, "learning_rate": 5e-3}
VECTORS: dict[str, Any] = {**QUICK, "network": {"width": 64}, "train_steps": 150, "batch": 256}


class TestVectors(BackboneContract):
    spec = GaussianSpec(**VECTORS)
    spaces = (Vectors(3),)


class TestNoisePrediction(BackboneContract):
    spec = GaussianSpec(prediction="epsilon", schedule="linear", variance="large", **VECTORS)
    spaces = (Vectors(3),)


class TestDesignPrediction(BackboneContract):
    spec = GaussianSpec(prediction="x0", eta=0.5, **VECTORS)
    spaces = (Vectors(3),)


class TestImages(BackboneContract):
    spec = GaussianSpec(network={"width": 8}, batch=32, train_steps=200, label_dropout=0.3, **QUICK)
    spaces = (Images(2, 8, 8),)
