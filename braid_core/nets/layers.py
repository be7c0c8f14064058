"""torch's own layers, their weights drawn from a passed generator: the global one is never touched."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import skip_init

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def linear(n_in: int, n_out: int, generator: torch.Generator, scale: float = 1.0) -> nn.Linear:
    """A linear layer with weights U(±scale/√n_in), as torch's, times ``scale``."""
    return _drawn(_empty(nn.Linear, generator, n_in, n_out), generator, scale)


def convolution(
    n_in: int,
    n_out: int,
    kernel: tuple[int, int],
    generator: torch.Generator,
    *,
    dilation: int = 1,
    stride: int = 1,
    scale: float = 1.0,
) -> nn.Conv2d:
    """A two-dimensional convolution that keeps the size (or divides it by ``stride``, rounding up).

    The kernel is odd in both directions; ``dilation`` applies to the last. Weights as in :func:`linear`.
    """
    reach = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2 * dilation)
    layer = _empty(nn.Conv2d, generator, n_in, n_out, kernel, stride, reach, (1, dilation))
    return _drawn(layer, generator, scale)


def _empty(kind: type[Layer], generator: torch.Generator, *sizes: Any) -> Layer:
    layer: Layer = skip_init(kind, *sizes, device=generator.device)  # type: ignore[no-untyped-call]
    return layer


def _drawn(layer: Layer, generator: torch.Generator, scale: float) -> Layer:
    bound = scale * layer.weight[0].numel() ** -0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
