"""The exact gradient of a score with respect to letters: what every single substitution would change."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import Tokens

Score = Callable[[Tensor], Tensor]
ROWS = {"cpu": 512, "cuda": 2**15}
"""The most substituted designs that are scored at once. On a CPU activations of more fall out of the cache and make the
allocator return memory to the system after every call: 2**15 took 1.6 times as long a step."""


MOST_REMEMBERED = 2**20
"""Designs of a space small enough to keep a score of each (10 letters of DNA, 4 MB)."""


class Memory:
    """The scores of all designs of a small space that were asked for so far: none is computed twice.

    A tuned generator comes back to the same designs and their neighbours: of the 1.3 million scores of 400 steps on
    8 letters of DNA at most 65,536 are different.
    """

    def __init__(self, score: Score, space: Tokens) -> None:
        v = len(space.alphabet)
        self.score, self.space = score, space
        self.places = v ** torch.arange(space.length - 1, -1, -1)
        self.known = torch.full((v**space.length,), torch.nan)

    @staticmethod
    def holds(space: Tokens, device: torch.device) -> bool:
        """Whether it is worth it. On an accelerator to score is cheaper than to look up what is known already."""
        return device.type == "cpu" and space.length * math.log(len(space.alphabet)) <= math.log(MOST_REMEMBERED)

    def around(self, x: Float[Tensor, "b l v"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b l v"]]:
        """The scores of one-hot designs, and of all their single substitutions; their own where nothing is changed."""
        here, letters = x.argmax(-1), torch.arange(x.shape[-1])
        own = (here * self.places).sum(1)
        codes = own[:, None, None] + (letters - here[..., None]) * self.places[:, None]
        values = self._at(codes.flatten()).view(codes.shape)
        return self.known[own], values

    def _at(self, codes: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        values = self.known[codes]
        new = torch.unique(codes[values.isnan()])
        if not len(new):
            return values
        for some in torch.split(new, ROWS["cpu"]):
            self.known[some] = self.score(self.space.one_hot(some[:, None] // self.places % len(self.space.alphabet)))
        return self.known[codes]


def by_substitution(score: Score, x: Float[Tensor, "b l v"], memory: Memory | None = None) -> Float[Tensor, " b"]:
    """``score(x)`` of one-hot designs, whose gradient at (i, j) is score(x with letter j at i) − score(x).

    A network between the letters is not what it is at the letters, so its autograd gradient misleads. With these
    differences the surrogate gradient of a revealed letter is unbiased for what that letter does to the score. It
    costs l·(v − 1) scores a design, without autograd, and needs no differentiable oracle; a ``memory`` of ``score``
    saves those that are known.
    """
    value: Tensor = _BySubstitution.apply(x, score, memory)  # type: ignore[no-untyped-call]
    return value


class _BySubstitution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, score: Score, memory: Memory | None) -> Tensor:
        with torch.no_grad():
            value, changed = (score(x), substituted(score, x)) if memory is None else memory.around(x)
        ctx.save_for_backward((changed - value[:, None, None]) * (1 - x))
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        return gradients[0][:, None, None] * difference, None, None


def substituted(score: Score, x: Float[Tensor, "b l v"]) -> Float[Tensor, "b l v"]:
    """Scores of all single substitutions; 0 at the letters that stand there already."""
    b, length, v = x.shape
    here = x.argmax(-1)
    others = (here[..., None] + torch.arange(1, v, device=x.device)) % v  # b l (v-1)
    changed = torch.zeros_like(x)
    most = ROWS.get(x.device.type, 2**15)
    positions = max(1, most // (b * (v - 1)))
    for block in torch.split(torch.arange(length, device=x.device), positions):
        # Row (b, i, j) is the design b with the letter others[b, i, j] at position i.
        at = F.one_hot(block, length).bool()[None, :, None, :, None]
        letters = F.one_hot(others[:, block], v).to(x.dtype)[..., None, :]
        rows = torch.where(at, letters, x[:, None, None])
        # Of a large batch, a single position may be too many already.
        scores = [score(some) for some in torch.split(rows.flatten(0, 2), most)]
        values = torch.cat(scores).reshape(b, len(block), v - 1)
        changed[:, block] = changed[:, block].scatter(-1, others[:, block], values)
    return changed
