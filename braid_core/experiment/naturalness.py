"""How far designs look like natural ones: the words that occur in them, wherever they stand."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Tokens


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
