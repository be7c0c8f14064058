"""Multilayer perceptrons: one, or many side by side in stacked weights."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class StackedMLP(nn.Module):
    """``members`` independent perceptrons of equal shape, evaluated in one batched product per layer.

    Weights are ``(members, fan_in, fan_out)``. Hidden layers use SiLU; layers between equal widths are residual.
    Initialised from ``generator`` alone (the usual U(±1/√fan_in)), so that seeds do not depend on global state.
    """

    def __init__(self, members: int, n_in: int, width: int, depth: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [n_in, *[width] * depth, n_out]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            self.weights.append(uniform((members, fan_in, fan_out), fan_in, generator))
            self.biases.append(uniform((members, 1, fan_out), fan_in, generator))

    def hidden(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b width"]:
        """The last hidden layer; ``x`` is ``(b, n_in)`` shared by all members, or ``(m, b, n_in)`` one each."""
        members = self.weights[0].shape[0]
        h = x.expand(members, -1, -1) if x.ndim == 2 else x
        # What no gradient needs is overwritten: the same numbers in two thirds of the time.
        spare = not torch.is_grad_enabled()
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            update = F.silu(torch.baddbmm(bias, h, weight), inplace=spare)
            # SiLU's gradient needs its input, not what it gave: the sum may overwrite that.
            h = update.add_(h) if h.shape == update.shape else update
        return h

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "m b n_out"]:
        """The outputs of all members."""
        return torch.baddbmm(self.biases[-1], self.hidden(x), self.weights[-1])


def uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """A parameter drawn from U(±1/√fan_in), as torch's own layers are, but from ``generator``."""
    bound = fan_in**-0.5
    return nn.Parameter((torch.rand(shape, generator=generator, device=generator.device) * 2 - 1) * bound)
