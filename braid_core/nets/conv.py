"""Convolutional trunks, many side by side as one grouped convolution."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.nets.mlp import uniform

LONGEST = 64
"""Sequences longer than this are averaged down after the first layer: the head reads every position by itself."""


class StackedConv(nn.Module):
    """``members`` independent stacks of residual convolutions over a sequence or an image, flattened at the end.

    Sequences ``(channels, length)``: kernel 7, dilations 1, 2, 4, …; images ``(channels, height, width)``: kernel 3,
    halved after each layer. No normalisation, so a design's output never depends on its batch. Initialised from
    ``generator`` alone.
    """

    def __init__(
        self, members: int, shape: tuple[int, ...], channels: int, depth: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.members, self.dims = members, len(shape) - 1
        kernel = (7,) if self.dims == 1 else (3, 3)
        size = torch.Size(kernel).numel()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in in (shape[0], *[channels] * (depth - 1)):
            self.weights.append(uniform((members, channels, fan_in, *kernel), fan_in * size, generator))
            self.biases.append(uniform((members, channels), fan_in * size, generator))
        with torch.no_grad():
            probe = torch.zeros(1, *shape, device=generator.device)
            self.n_out = self(probe).shape[-1]

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b n_out"]:
        """Features of ``x``, ``(b, c, *size)`` shared by all members or ``(m, b, c, *size)`` one batch each."""
        shared = x.ndim == self.dims + 2
        h = x if shared else x.movedim(0, 1).flatten(1, 2)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            groups = 1 if shared and i == 0 else self.members
            update = F.silu(self._convolve(h, weight.flatten(0, 1), bias.flatten(), i, groups))
            h = self._pooled(h + update if i else update, i)
        return h.reshape(len(h), self.members, -1).movedim(1, 0)

    def _convolve(self, h: Tensor, weight: Tensor, bias: Tensor, layer: int, groups: int) -> Tensor:
        if self.dims == 1:
            dilation = 2**layer
            return F.conv1d(h, weight, bias, padding=3 * dilation, dilation=dilation, groups=groups)
        return F.conv2d(h, weight, bias, padding=1, groups=groups)

    def _pooled(self, h: Tensor, layer: int) -> Tensor:
        if self.dims == 2:
            return F.avg_pool2d(h, 2, ceil_mode=True)
        factor = -(-h.shape[-1] // LONGEST)
        return F.avg_pool1d(h, factor, ceil_mode=True) if layer == 0 and factor > 1 else h
