"""Networks of backbones, ``net(x, t, condition) -> out``, for states of any shape."""

from __future__ import annotations

from itertools import cycle, islice
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, ConditionSpec
from braid_core.nets.embedding import SIZE, Embedding, embedding
from braid_core.nets.layers import convolution, linear
from braid_core.nets.mlp import StackedMLP, uniform
from braid_core.nets.spec import DenoiserSpec
from braid_core.nets.unet import UNet

SHORT = 100
"""Sequences up to this many letters are read by a perceptron, longer ones by convolutions."""
SIZES = {  # (width, depth)
    "small": {"mlp": (256, 2), "conv": (32, 2), "unet": (16, 1)},
    "paper": {"mlp": (1024, 4), "conv": (256, 20), "unet": (128, 2)},
}
KERNEL = 9
DILATIONS = (1, 1, 4, 16, 64)
LONGEST_MIXED = 256
"""Up to this many letters a small network also mixes positions: a matrix of length x length in each block."""


def kind_of(spec: DenoiserSpec, state: tuple[int, ...]) -> str:
    """What ``spec.kind`` means for states of this shape; raises :class:`UnsupportedError` where it does not fit."""
    wanted = {"conv": 2, "unet": 3}
    if spec.kind in wanted and len(state) != wanted[spec.kind]:
        raise UnsupportedError(
            f"a network of kind {spec.kind!r} cannot read states of shape {state}",
            where="network.kind",
            why="'conv' is for sequences (length, letters), 'unet' for images (channels, height, width)",
            fix="leave it out, or use 'mlp'",
        )
    if spec.kind != "auto":
        return spec.kind
    return "unet" if len(state) == 3 else "conv" if len(state) == 2 and state[0] > SHORT else "mlp"


def denoiser(
    spec: DenoiserSpec,
    state: tuple[int, ...],
    out: tuple[int, ...],
    generator: torch.Generator,
    *,
    condition: ConditionSpec | None = None,
    timed: bool = True,
) -> nn.Module:
    """An untrained network from states ``(b, *state)`` to predictions ``(b, *out)``, on the generator's device.

    A network that is not ``timed`` ignores ``t``. Sequences and images keep their length and size: only the last
    number of ``state`` (images: the first) may differ in ``out``. Weights are drawn from ``generator`` alone; those
    of the last layer are small.
    """
    kind = kind_of(spec, state)
    width, depth = SIZES[spec.preset][kind]
    width, depth = spec.width or width, spec.depth or depth
    told = embedding(timed, condition, generator)
    if kind == "mlp":
        return MLPDenoiser(state, out, width, depth, told, generator)
    if kind == "conv":
        mixing = spec.preset == "small" and state[0] <= LONGEST_MIXED
        return ConvDenoiser(state, out, width, depth, told, generator, mixing)
    return UNet(state, out, width, depth, told, generator)


class MLPDenoiser(nn.Module):
    """A perceptron on the flattened state and the embedding."""

    def __init__(
        self,
        state: tuple[int, ...],
        out: tuple[int, ...],
        width: int,
        depth: int,
        told: Embedding | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.out, self.told = out, told
        n_in = prod(state) + (0 if told is None else SIZE)
        self.mlp = StackedMLP(1, n_in, width, depth, prod(out), generator)

    def forward(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Float[Tensor, " b *out"]:
        h = x.flatten(1)
        if self.told is not None:
            h = torch.cat([h, self.told(t, condition)], 1)
        out: Tensor = self.mlp(h)[0]
        return out.reshape(-1, *self.out)


class ConvDenoiser(nn.Module):
    """Residual dilated convolutions over a sequence, the embedding added in each block (Avdeyev et al. 2023, DDSM).

    Sequences are ``(b, length, letters)``, in and out. Dilations cycle through 1, 1, 4, 16, 64, leaving out those
    that reach past the end. Blocks are normalised over the whole sequence (GroupNorm of one group; its scale and
    shift are left to the convolution that follows). With ``mixing`` each block also adds a learned linear map over
    positions, the same for all channels: a few blocks then see the whole sequence and where they are in it.
    """

    def __init__(
        self,
        state: tuple[int, ...],
        out: tuple[int, ...],
        width: int,
        depth: int,
        told: Embedding | None,
        generator: torch.Generator,
        mixing: bool,
    ) -> None:
        super().__init__()
        self.told, kernel, length = told, (1, KERNEL), state[0]
        self.shifts = None if told is None else linear(SIZE, depth * width, generator)
        self.stem = convolution(state[1], width, kernel, generator)
        dilations = islice(cycle(d for d in DILATIONS if d < max(length, 2)), depth)
        self.blocks = nn.ModuleList(convolution(width, width, kernel, generator, dilation=d) for d in dilations)
        self.mixers = nn.ParameterList(
            uniform((length, length), length, generator) for _ in range(depth if mixing else 0)
        )
        self.last = convolution(width, width, (1, 1), generator)
        self.head = convolution(width, out[1], (1, 1), generator, scale=0.1)

    def forward(
        self, x: Float[Tensor, "b l c"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Float[Tensor, "b l v"]:
        # An image of height 1, channels last in memory as they are in the state: nothing is copied, and it takes half
        # the time of a one-dimensional convolution.
        h = F.relu(self.stem(x.transpose(1, 2)[:, :, None]))
        shifts = None
        if self.shifts is not None and self.told is not None:
            shifts = self.shifts(self.told(t, condition)).view(len(x), len(self.blocks), -1, 1, 1)
        for i, block in enumerate(self.blocks):
            rows = _normalised(h if shifts is None else h + shifts[:, i])
            h = h + F.relu(block(rows.transpose(1, 2)[:, :, None]))
            if self.mixers:
                h = h + (self.mixers[i] @ rows).transpose(1, 2)[:, :, None]
        out: Tensor = self.head(F.gelu(self.last(h)))
        return out[:, :, 0].transpose(1, 2)


def _normalised(h: Float[Tensor, "b c 1 l"]) -> Float[Tensor, "b l c"]:
    """Mean 0 and variance 1 over channels and length. (torch's ``group_norm`` crashes on this memory layout.)"""
    rows = h[:, :, 0].transpose(1, 2)
    return F.layer_norm(rows, rows.shape[1:])
