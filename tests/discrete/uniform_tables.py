"""Uniform chains whose networks are tables: exact for given data, or drawn at random."""

from __future__ import annotations

from itertools import product

import torch
from braid_discrete.uniform import Uniform
from torch import Tensor
from torch.nn.functional import one_hot

from braid_core.interfaces import Condition, Predict, Tokens
from tests.checks import seeded
from tests.discrete.conftest import number


def everything(space: Tokens) -> Tensor:
    """All designs, in the order of enumeration."""
    v = len(space.alphabet)
    return one_hot(torch.tensor(list(product(range(v), repeat=space.length))), v).float()


def correlated(space: Tokens, seed: int = 0, strength: float = 1.5) -> Tensor:
    """A law over all designs in which letters depend on each other."""
    n = len(space.alphabet) ** space.length
    return (strength * torch.randn(n, generator=seeded(seed), dtype=torch.float64)).softmax(0)


def likelihood(process: Uniform, k: int) -> Tensor:
    """q(x_t | x0) of one position before step ``k``, ``(v, v)`` [x0, x_t]: from the definition."""
    v, alpha = len(process.space.alphabet), k / process.steps
    return alpha * torch.eye(v, dtype=torch.float64) + (1 - alpha) / v


def joint(process: Uniform, law: Tensor, k: int) -> Tensor:
    """p(x0, x_t) of whole designs, ``(n, n)``."""
    matrix, one = torch.ones(1, 1, dtype=torch.float64), likelihood(process, k)
    for _ in range(process.space.length):
        matrix = torch.kron(matrix, one)
    return law[:, None] * matrix


def exact_network(process: Uniform, law: Tensor) -> Tensor:
    """log p(x0 at i | x_t elsewhere) for every step and state, ``(T, n, l, v)``, by enumeration of x0.

    What is elsewhere determines p(x0 at i, x_t) up to the factor q(x_t at i | x0 at i), which is divided out.
    """
    designs = everything(process.space).double()
    own = designs.argmax(-1)
    table = []
    for k in range(process.steps):
        letters = torch.einsum("xt,xlv->tlv", joint(process, law, k), designs)
        table.append((letters / likelihood(process, k)[:, own].permute(1, 2, 0)).log().log_softmax(-1))
    return torch.stack(table)


def looked_up(process: Uniform, table: Tensor) -> Predict:
    """The network that knows ``table`` ``(T, n, l, v)`` by heart."""

    def predict(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        steps = ((1 - t) * process.steps).round().long()
        return table[steps, number(x.detach())]

    return predict


def random_table(process: Uniform, seed: int = 0, strength: float = 1.0) -> Tensor:
    """Opinions that depend on the step, the state and the position."""
    length, v = process.space.event_shape
    return strength * torch.randn(process.steps, v**length, length, v, generator=seeded(seed), dtype=torch.float64)
