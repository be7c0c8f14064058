"""From the units of the designs to those of the chain, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import StoreError
from braid_core.interfaces import Images, Space


@dataclass(frozen=True)
class Scaling:
    """``design = location + scale · latent``, per dimension of a vector or per channel of an image.

    What is constant in the training designs has the scale 0: every decoded design has just this value.
    """

    location: Float[Tensor, " ..."]
    scale: Float[Tensor, " ..."]

    @classmethod
    def none(cls, space: Space, device: torch.device) -> Scaling:
        """Latents are designs."""
        shape = _shape(space)
        return cls(torch.zeros(shape, device=device), torch.ones(shape, device=device))

    @classmethod
    def of(cls, designs: Float[Tensor, " n *event"], space: Space) -> Scaling:
        """Vectors: mean 0 and standard deviation 1; images: the range of each channel becomes [-1, 1]."""
        if isinstance(space, Images):
            low, high = designs.amin((0, 2, 3), keepdim=True)[0], designs.amax((0, 2, 3), keepdim=True)[0]
            return cls((low + high) / 2, (high - low) / 2)
        # in float64, and exactly 0 for a constant: rounding of a large mean is no spread
        std, mean = torch.std_mean(designs.double(), 0, correction=0)
        constant = (designs == designs[0]).all(0)
        return cls(torch.where(constant, designs[0], mean.to(designs)), torch.where(constant, 0.0, std.to(designs)))

    @classmethod
    def stored(cls, tensors: Mapping[str, Tensor], space: Space) -> Scaling:
        """From ``location`` and ``scale``; raises :class:`StoreError` where one is missing or of another shape."""
        shape = _shape(space)
        for name in ("location", "scale"):
            if name not in tensors or tuple(tensors[name].shape) != shape:
                found = f"has shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
                raise StoreError(
                    "the stored scaling is not that of this backbone",
                    why=f"scaling.{name} {found}, {shape} is expected",
                    fix="build the backbone for the space that it was trained on",
                )
        return cls(tensors["location"], tensors["scale"])

    def encode(self, designs: Float[Tensor, " b *event"]) -> Float[Tensor, " b *event"]:
        """Designs to latents."""
        return (designs - self.location) / torch.where(self.scale > 0, self.scale, 1.0)

    def decode(self, latents: Float[Tensor, " b *event"]) -> Float[Tensor, " b *event"]:
        """Latents to designs."""
        return self.location + self.scale * latents


def _shape(space: Space) -> tuple[int, ...]:
    shape = space.event_shape
    return (shape[0], 1, 1) if isinstance(space, Images) else shape
