"""How far designs look like natural ones: the words that occur in them, and how likely a model of nature finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Backbone, Streams, Task, Tokens

EVALUATIONS = 2048
"""Designs, with repeats, over which a bound is averaged."""


def kmers(x: Float[Tensor, "n l v"], space: Tokens, k: int = 3) -> Float[Tensor, " words"]:
    """The share of each of the v^k words of ``k`` letters, in the alphabet's order (float64).

    Designs are read by their most likely letters. Words with a pad are not counted: they say how long designs are.
    NaN where there is no word.
    """
    v = len(space.alphabet)
    windows = x.argmax(-1).unfold(1, k, 1)
    if space.pad:
        windows = windows[(windows != space.alphabet.index(space.pad)).all(-1)]
    codes = (windows * v ** torch.arange(k - 1, -1, -1, device=x.device)).sum(-1)
    counts = torch.bincount(codes.flatten(), minlength=v**k).double()
    return counts / counts.sum()


def correlation(x: Float[Tensor, "n l v"], natural: Float[Tensor, "m l v"], space: Tokens, k: int = 3) -> float:
    """Pearson's, of the k-mer frequencies of two sets of designs; with a ``pad`` over words without it.

    It compares what the sets hold on average: neither copies nor a lack of diversity lower it.
    """
    both = torch.stack([kmers(designs, space, k) for designs in (x, natural)])
    if space.pad:
        pad = space.alphabet.index(space.pad)
        words = torch.cartesian_prod(*[torch.arange(len(space.alphabet))] * k).reshape(-1, k)
        both = both[:, (words != pad).all(1)]
    return float(torch.corrcoef(both)[0, 1])


@torch.no_grad()
def letter_bound(
    backbone: Backbone, x: Float[Tensor, "n l v"], generator: torch.Generator, evaluations: int = EVALUATIONS
) -> float | None:
    """The mean negative evidence bound of designs in nats a letter, pads included; None where the chain has none.

    Every design is asked for equally often, about ``evaluations`` in all; of more designs, so many at random.
    """
    some = x[torch.randperm(len(x), generator=generator, device=x.device)[:evaluations]]
    values = []
    for _ in range(max(1, evaluations // len(some))):
        value = backbone.process.bound(backbone.predict, backbone.encode(some), generator)
        if value is None:
            return None
        values.append(value.double().mean())
    return float(torch.stack(values).mean()) / x.shape[1]


@dataclass(frozen=True)
class Nature:
    """What designs of a task are compared with: natural designs, and the pretrained model."""

    designs: Float[Tensor, "m l v"]
    space: Tokens
    pretrained: Backbone
    streams: Streams

    @classmethod
    def of(cls, task: Task, pretrained: Backbone, streams: Streams) -> Nature | None:
        """None where the task has no natural designs, or designs have no letters."""
        designs = task.natural()
        if designs is None or not isinstance(task.space, Tokens):
            return None
        return cls(designs.to(pretrained.device), task.space, pretrained, streams)

    def likeness(self, x: Float[Tensor, "n l v"]) -> dict[str, float | None]:
        """``naturalness``: the correlation of 3-mers; ``pretrained_bound``: nats a letter. None for no designs."""
        if not len(x):
            return dict.fromkeys(("naturalness", "pretrained_bound"))
        r = correlation(x, self.designs, self.space)
        bound = letter_bound(self.pretrained, x, self.streams.get("bound", x.device))
        return {"naturalness": r if math.isfinite(r) else None, "pretrained_bound": bound}

    def facts(self) -> dict[str, float | int | None]:
        """How many natural designs there are, and how the pretrained model finds them."""
        return {"n": len(self.designs), "pretrained_bound": self.likeness(self.designs)["pretrained_bound"]}
