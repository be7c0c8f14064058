"""The stick-breaking map between the simplex and the cube, and how scores change with it.

A point x of the simplex over V letters is broken into V − 1 sticks v: letter i takes the share v_i of what the letters
before it have left, x_i = v_i·Π_{j<i}(1 − v_j), and the last letter takes the rest (Avdeyev et al. 2023, §3.2). A
one-hot letter c is v_i = 0 for i < c and v_c = 1; the sticks after c say nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def simplex(v: Float[Tensor, "*b sticks"]) -> Float[Tensor, "*b letters"]:
    """The point of the simplex that the sticks make."""
    left = (1 - v).cumprod(-1)
    return F.pad(v, (0, 1), value=1.0) * F.pad(left, (1, 0), value=1.0)


def sticks(x: Float[Tensor, "*b letters"]) -> Float[Tensor, "*b sticks"]:
    """The inverse of :func:`simplex`; sticks of which nothing is left are 0."""
    left = x.flip(-1).cumsum(-1).flip(-1)[..., :-1]  # sums from the end: 1 − (sum so far) would cancel
    return torch.where(left > 0, x[..., :-1] / torch.where(left > 0, left, 1.0), 0.0)


def log_volume(v: Float[Tensor, "*b sticks"]) -> Float[Tensor, " *b"]:
    """log |∂x/∂v| of :func:`simplex`, onto the first V − 1 letters: Σ_i (V − 2 − i)·log(1 − v_i)."""
    powers = torch.arange(v.shape[-1] - 1, -1, -1, dtype=v.dtype, device=v.device)
    return (torch.log1p(-v) * powers).sum(-1)


def score_of_sticks(score: Float[Tensor, "*b sticks"], v: Float[Tensor, "*b sticks"]) -> Float[Tensor, "*b sticks"]:
    """∇_v log p(v) from ∇_x log p(x) on the first V − 1 letters, at x = simplex(v): Jᵀ·score + ∇_v log |J|."""
    x, n = simplex(v), v.shape[-1]
    # ∂x_j/∂v_i = −x_j/(1 − v_i) for j > i, and Π_{j<i}(1 − v_j) for j = i
    later = (score * x[..., :-1]).flip(-1).cumsum(-1).flip(-1) - score * x[..., :-1]
    left = F.pad((1 - v).cumprod(-1), (1, 0), value=1.0)[..., :-1]
    powers = torch.arange(n - 1, -1, -1, dtype=v.dtype, device=v.device)
    return score * left - (later + powers) / (1 - v)
