"""The exact gradient of a score with respect to letters: what every single substitution would change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Score = Callable[[Tensor], Tensor]
ROWS = {"cpu": 512, "cuda": 2**15}
"""The most substituted designs that are scored at once. On a CPU activations of more fall out of the cache and make the
allocator return memory to the system after every call: 2**15 took 1.6 times as long a step."""


def by_substitution(score: Score, x: Float[Tensor, "b l v"]) -> Float[Tensor, " b"]:
    """``score(x)`` of one-hot designs, whose gradient at (i, j) is score(x with letter j at i) − score(x).

    A network between the letters is not what it is at the letters, so its autograd gradient misleads. With these
    differences the surrogate gradient of a revealed letter is unbiased for what that letter does to the score. It
    costs l·(v − 1) scores a design, without autograd, and needs no differentiable oracle.
    """
    value: Tensor = _BySubstitution.apply(x, score)  # type: ignore[no-untyped-call]
    return value


class _BySubstitution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, score: Score) -> Tensor:
        with torch.no_grad():
            value, change = score(x), differences(score, x)
        ctx.save_for_backward(change - value[:, None, None] * (1 - x))
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return gradients[0][:, None, None] * difference, None


def differences(score: Score, x: Float[Tensor, "b l v"]) -> Float[Tensor, "b l v"]:
    """Scores of all single substitutions; 0 at the letters that stand there already."""
    b, length, v = x.shape
    here = x.argmax(-1)
    others = (here[..., None] + torch.arange(1, v, device=x.device)) % v  # b l (v-1)
    changed = torch.zeros_like(x)
    positions = max(1, ROWS.get(x.device.type, 2**15) // (b * (v - 1)))
    for block in torch.split(torch.arange(length, device=x.device), positions):
        # Row (b, i, j) is the design b with the letter others[b, i, j] at position i.
        at = F.one_hot(block, length).bool()[None, :, None, :, None]
        letters = F.one_hot(others[:, block], v).to(x.dtype)[..., None, :]
        rows = torch.where(at, letters, x[:, None, None])
        values = score(rows.flatten(0, 2)).reshape(b, len(block), v - 1)
        changed[:, block] = changed[:, block].scatter(-1, others[:, block], values)
    return changed
