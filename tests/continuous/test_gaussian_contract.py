"""The Gaussian backbone keeps what every backbone promises, for vectors and images, DDPM and DDIM."""

from __future__ import annotations

from typing import Any

import torch
from braid_continuous import GaussianSpec
from torch import Tensor

from braid_core.interfaces import Backbone, Images, Predict, Space, Streams, Vectors
from braid_core.testing import BackboneContract

QUICK: dict[str, Any] = {"steps": 10, "learning_rate": 5e-3}
VECTORS: dict[str, Any] = {**QUICK, "network": {"width": 64}, "train_steps": 150, "batch": 256}


class Gaussian(BackboneContract):
    def test_it_learns(self, space: Space, designs: Tensor, backbone: Backbone) -> None:
        """Judged on equal latents: an untrained backbone has not learned the scaling, and losses depend on it."""
        fresh = backbone.encode(self.natural(space, 500, "fresh"))
        before, after = (
            float(model.process.loss(model.predict, fresh, self.generator("loss")).mean())
            for model in (self.build(space), backbone)
        )
        assert after < before


class TestVectors(Gaussian):
    spec = GaussianSpec(**VECTORS)
    spaces = (Vectors(3),)


class TestNoisePrediction(Gaussian):
    spec = GaussianSpec(prediction="epsilon", schedule="linear", variance="large", **VECTORS)
    spaces = (Vectors(3),)


class TestDesignPrediction(Gaussian):
    spec = GaussianSpec(prediction="x0", eta=0.5, **VECTORS)
    spaces = (Vectors(3),)


class TestImages(Gaussian):
    spec = GaussianSpec(network={"width": 8}, batch=32, train_steps=200, label_dropout=0.3, **QUICK)
    spaces = (Images(2, 8, 8),)

    def moved(self, model: Backbone) -> Predict:
        """Moved a little only: over 128 dimensions, a sampled E[q/p] needs steps that are close together."""
        opened, source = model.tunable(), Streams(0).get("moved")
        with torch.no_grad():
            for parameter in opened.parameters:
                parameter.add_(1e-3 * torch.randn(parameter.shape, generator=source))
        return opened.tuned.predict
