"""Whether an image shows a digit, as judged by a network that has seen digits which methods never see."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.nets.layers import convolution, linear

DIGITS = 10
STEPS, BATCH, RATE = 800, 128, 5e-3
SHEAR, BEYOND = 0.9, (1.6, 4.0)
"""Digits are shown with a slant of up to ``SHEAR`` more or less; with one in ``BEYOND`` nobody reads them."""


class Judge(nn.Module):
    """Two convolutions and a layer, over eleven answers: the ten digits, and none.

    A classifier of ten classes is sure of anything, noise above all. This one is trained to answer none to noise, to
    blank, blotted, scrambled and torn images, to two digits at once, and to digits that lean too far; and to read
    digits at any slant up to that, since designs lean more than the data do.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = convolution(1, 16, (3, 3), generator, stride=2)
        self.second = convolution(16, 32, (3, 3), generator, stride=2)
        side = -(-size // 2)
        side = -(-side // 2)
        self.hidden = linear(32 * side * side, 64, generator)
        self.last = linear(64, DIGITS + 1, generator)

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 11"]:
        h = F.relu(self.second(F.relu(self.first(x.clamp(-1, 1)))))
        out: Tensor = self.last(F.relu(self.hidden(h.flatten(1))))
        return out

    @torch.no_grad()
    def digits(self, x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 10"]:
        """The probability of each digit; they sum to that of any."""
        answers: Tensor = self(x)
        return answers.softmax(1)[:, :DIGITS]


@torch.enable_grad()  # asked while designs are drawn, without gradients
def train_judge(x: Float[Tensor, "n 1 h w"], label: Int[Tensor, " n"], generator: torch.Generator) -> Judge:
    """A judge of images in [-1, 1] like ``x``; ``generator`` draws its weights and what it is shown."""
    judge = Judge(x.shape[-1], generator)
    optimiser = torch.optim.Adam(judge.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        row = torch.randint(len(x), (BATCH,), generator=generator)
        shown, none = _moved(x[row], generator), _spoiled(x, label, generator)
        answer = torch.cat([label[row], torch.full((len(none),), DIGITS)])
        loss = F.cross_entropy(judge(torch.cat([shown, none])), answer)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return judge.requires_grad_(False)


def _sheared(x: Float[Tensor, "b 1 h w"], shear: Float[Tensor, " b"], shift: Float[Tensor, "b 2"]) -> Tensor:
    """``x`` with each row moved to the right by ``shear`` times its height above the middle, and then shifted."""
    one, none = torch.ones_like(shear), torch.zeros_like(shear)
    source = torch.stack([torch.stack([one, shear, shift[:, 0]], 1), torch.stack([none, one, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(source, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside: -1, no ink


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _moved(x: Float[Tensor, "b 1 h w"], generator: torch.Generator) -> Tensor:
    """Digits that are still digits: other slants, other places, a little noise."""
    shift = _uniform(2 * len(x), -0.15, 0.15, generator).reshape(-1, 2)
    x = _sheared(x, _uniform(len(x), -SHEAR, SHEAR, generator), shift)
    noise = _uniform(len(x), 0, 0.25, generator)[:, None, None, None]
    return (x + noise * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def _spoiled(x: Float[Tensor, "n 1 h w"], label: Int[Tensor, " n"], generator: torch.Generator) -> Tensor:
    """Images that show no digit: an eighth of a batch of each of six kinds."""
    n = BATCH // 8
    row, other = (torch.randint(len(x), (n,), generator=generator) for _ in range(2))
    differ = label[row] != label[other]
    moved = _sheared(x[other], torch.zeros(n), _uniform(2 * n, -0.3, 0.3, generator).reshape(-1, 2))
    overlaid, ghosts = torch.maximum(x[row], moved)[differ], ((x[row] + x[other]) / 2)[differ]
    sign = torch.randint(2, (n,), generator=generator) * 2 - 1
    leaning = _sheared(x[other], sign * _uniform(n, *BEYOND, generator), torch.zeros(n, 2))
    scrambled, warped = _scrambled(x[row], generator), _warped(x[other], generator)
    none = torch.cat([overlaid, ghosts, leaning, scrambled, warped])
    noise = _uniform(len(none), 0, 0.25, generator)[:, None, None, None]
    none = (none + noise * torch.randn(none.shape, generator=generator)).clamp(-1, 1)
    return torch.cat([none, _noise(n, x.shape[-1], generator)])


def _scrambled(x: Float[Tensor, "b 1 h w"], generator: torch.Generator) -> Tensor:
    """The blocks of a grid of 4 x 4, shuffled anew for each image (sides that 4 does not divide lose their rest)."""
    block, n = x.shape[-1] // 4, len(x)
    whole = 4 * block
    parts = F.unfold(x[..., :whole, :whole], block, stride=block)
    order = torch.rand(n, 1, parts.shape[2], generator=generator).argsort(2).expand_as(parts)
    mixed = F.fold(parts.gather(2, order), whole, block, stride=block)
    return F.pad(mixed, (0, x.shape[-1] - whole) * 2, value=-1.0)


def _warped(x: Float[Tensor, "b 1 h w"], generator: torch.Generator) -> Tensor:
    """Strokes torn to and fro: each pixel comes from elsewhere, neighbours from about the same place."""
    still = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(len(x), 2, 3)
    grid = F.affine_grid(still, list(x.shape), align_corners=False)
    coarse = torch.randn(len(x), 2, 5, 5, generator=generator)
    field = F.interpolate(coarse, size=x.shape[2:], mode="bilinear").permute(0, 2, 3, 1)
    strength = _uniform(len(x), 0.3, 0.6, generator)[:, None, None, None]
    return F.grid_sample(x + 1, grid + strength * field, align_corners=False) - 1


def _noise(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Blots of any coarseness, lightness and contrast; the coarsest are blank."""
    coarse = int(torch.randint(1, size + 1, (), generator=generator))
    blots = F.interpolate(torch.randn(n, 1, coarse, coarse, generator=generator), size=(size, size), mode="bilinear")
    contrast, light = _uniform(n, 0, 2, generator), _uniform(n, -1.5, 1.5, generator)
    return (light[:, None, None, None] + contrast[:, None, None, None] * blots).clamp(-1, 1)


def recognised(judge: Judge, x: Float[Tensor, "b 1 h w"], threshold: float) -> Bool[Tensor, " b"]:
    """Which images the judge takes for one of the ten digits, with more than ``threshold`` on it."""
    return judge.digits(x).amax(1) > threshold
