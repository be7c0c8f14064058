"""Small distributions whose posterior is known, and the networks that know it."""

from __future__ import annotations

from itertools import product

import torch
from braid_simplex.process import TIMES, SimplexProcess
from torch import Tensor
from torch.nn.functional import one_hot

from braid_core.interfaces import Condition, Tokens

PAIR = Tokens("ACGT", 2)
DESIGNS = one_hot(torch.tensor(list(product(range(4), repeat=2))), 4).float()
"""All of them, in the order of :func:`number`."""


def law() -> Tensor:
    """Of pairs of letters that depend on each other: probabilities of ``DESIGNS``."""
    p = torch.full((16,), 0.2 / 16)
    p[0] += 0.4  # AA
    p[6] += 0.25  # CG
    p[13] += 0.15  # TC
    return p


def number(x: Tensor) -> Tensor:
    """The place of a design in the order of enumeration."""
    return (x.argmax(-1) * torch.tensor([4, 1])).sum(1)


class Bayes:
    """The optimal prediction for designs drawn from ``p``: what the other position tells about each letter.

    ``shift`` is added, as fine-tuning would.
    """

    def __init__(self, process: SimplexProcess, p: Tensor, shift: Tensor | None = None) -> None:
        self.process, self.p, self.shift = process, p, torch.zeros(2, 4) if shift is None else shift

    def _out(self, likely: Tensor) -> Tensor:
        joint = self.p.to(likely.dtype).log() + torch.einsum("blv,nlv->bn", likely, DESIGNS.to(likely.dtype))
        # of letter c at a position, without what the position itself says
        rest = joint[:, :, None] - torch.einsum("blv,nlv->bnl", likely, DESIGNS.to(likely.dtype))
        per_letter = torch.where(DESIGNS.bool(), rest[..., None], -torch.inf)
        return per_letter.logsumexp(1) + self.shift

    def at_step(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """For a rollout."""
        k = round((1 - float(t[0])) * (self.process.steps - 1))
        return self._out(self.process.evidence(x, k).letters())

    def in_training(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """For the loss, whose times are the middles of its cells; 0 is the end of the chain."""
        if not bool(t.any()):
            return self.at_step(x, t)
        index = (t * TIMES).long()
        return self._out(self.process.training(x.device).evidence(x, index).letters())
