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

    Sequences ``(channels, length)``: kernel 5, dilations 1, 2, 4, …; images ``(channels, height, width)``: kernel 3,
    halved after each layer. No normalisation, so a design's output never depends on its batch. Initialised from
    ``generator`` alone.
    """

    def __init__(
        self, members: int, shape: tuple[int, ...], channels: int, depth: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.sequence = len(shape) == 2
        kernel = (1, 5) if self.sequence else (3, 3)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for n_in in (shape[0], *[channels] * (depth - 1)):
            fan_in = n_in * kernel[0] * kernel[1]
            self.weights.append(uniform((members, channels, n_in, *kernel), fan_in, generator))
            self.biases.append(uniform((members, channels), fan_in, generator))
        with torch.no_grad():
            self.n_out = self(torch.zeros(1, *shape, device=generator.device)).shape[-1]

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b n_out"]:
        """Features of ``x``, ``(b, c, *size)`` shared by all members or ``(m, b, c, *size)`` one batch each."""
        h = x[..., None, :] if self.sequence else x
        own = h.ndim == 5
        h = h.movedim(0, 1).flatten(1, 2) if own else h
        # Channels last in memory: grouped convolutions of few channels each take half the time.
        h = h.contiguous(memory_format=torch.channels_last)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            groups = len(weight) if layer or own else 1
            update = F.silu(self._convolve(h, weight.flatten(0, 1), bias.flatten(), 2**layer, groups))
            # SiLU's gradient needs its input, not what it gave: the sum may overwrite that.
            h = self._pooled(update.add_(h) if layer else update, layer)
        return h.movedim(1, -1).reshape(len(h), -1, *self.biases[-1].shape).movedim(2, 0).flatten(2)

    def _convolve(self, h: Tensor, weight: Tensor, bias: Tensor, dilation: int, groups: int) -> Tensor:
        if self.sequence:
            return F.conv2d(h, weight, bias, padding=(0, 2 * dilation), dilation=(1, dilation), groups=groups)
        return F.conv2d(h, weight, bias, padding=1, groups=groups)

    def _pooled(self, h: Tensor, layer: int) -> Tensor:
        if not self.sequence:
            return F.avg_pool2d(h, 2, ceil_mode=True)
        factor = -(-h.shape[-1] // LONGEST)
        return F.avg_pool2d(h, (1, factor), ceil_mode=True) if layer == 0 and factor > 1 else h
