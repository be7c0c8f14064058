"""A small U-Net for images (Ronneberger et al. 2015; residual blocks after Ho et al. 2020)."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.interfaces import Condition
from braid_core.nets.embedding import SIZE, Embedding
from braid_core.nets.layers import convolution, linear

SMALLEST = 4
MOST_HALVINGS = 2
PER_GROUP = 4  # channels at least: alone, a channel would lose whatever was added to it


class UNet(nn.Module):
    """Residual blocks at up to three resolutions, ``depth`` blocks each on the way down and on the way up.

    Images are ``(b, channels, height, width)`` of any size: halving rounds up, and what is enlarged again takes the
    size of the image that it is joined with. Channels double with each halving.
    """

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
        self.told = told
        told_size = 0 if told is None else SIZE
        halvings = min(MOST_HALVINGS, max(0, (min(state[1:]) // SMALLEST).bit_length() - 1))
        widths = [width * 2**level for level in range(halvings + 1)]

        def block(n_in: int, n_out: int) -> Block:
            return Block(n_in, n_out, told_size, generator)

        self.stem = convolution(state[0], width, (3, 3), generator)
        self.down, self.halve, self.join, self.up = (nn.ModuleList() for _ in range(4))
        for n_in, n_out in zip(widths[:1] + widths[:-1], widths, strict=True):
            self.down.append(nn.ModuleList(block(n_in if i == 0 else n_out, n_out) for i in range(depth)))
        for n_in, n_out in pairwise(widths):
            self.halve.append(convolution(n_in, n_in, (3, 3), generator, stride=2))
            self.join.append(convolution(n_in + n_out, n_in, (1, 1), generator))
            self.up.append(nn.ModuleList(block(n_in, n_in) for _ in range(depth)))
        self.middle = block(widths[-1], widths[-1])
        self.norm = _norm(width, generator)
        self.head = convolution(width, out[0], (3, 3), generator, scale=0.1)

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Float[Tensor, "b v h w"]:
        told = None if self.told is None else self.told(t, condition)
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        seen: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            if level:
                seen.append(h)
                h = self.halve[level - 1](h)
            h = self._through(blocks, h, told)
        h = self.middle(h, told)
        for level, earlier in reversed(list(enumerate(seen))):
            h = self.join[level](torch.cat([F.interpolate(h, size=earlier.shape[2:]), earlier], 1))
            h = self._through(self.up[level], h, told)
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out.contiguous()

    @staticmethod
    def _through(blocks: nn.Module, h: Tensor, told: Tensor | None) -> Tensor:
        for block in blocks.children():
            h = block(h, told)
        return h


class Block(nn.Module):
    """Two normalised convolutions with the embedding added between them, around a shortcut."""

    def __init__(self, n_in: int, n_out: int, told_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.before, self.between = _norm(n_in, generator), _norm(n_out, generator)
        self.first = convolution(n_in, n_out, (3, 3), generator)
        self.second = convolution(n_out, n_out, (3, 3), generator, scale=0.1)
        self.shift = linear(told_size, n_out, generator) if told_size else None
        self.shortcut = convolution(n_in, n_out, (1, 1), generator) if n_in != n_out else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b e"] | None) -> Float[Tensor, "b v h w"]:
        h = self.first(F.silu(self.before(x)))
        if self.shift is not None:
            h = h + self.shift(told)[:, :, None, None]
        h = self.second(F.silu(self.between(h)))
        out: Tensor = self.shortcut(x) + h
        return out


def _norm(channels: int, generator: torch.Generator) -> nn.GroupNorm:
    groups = next(g for g in range(max(1, channels // PER_GROUP), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, device=generator.device)
