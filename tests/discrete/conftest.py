"""Tiny masked chains that can be enumerated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
from braid_discrete import MaskedSpec
from braid_discrete.exact import ExactChain
from torch import Tensor
from torch.nn.functional import pad

from braid_core.interfaces import ConditionSpec, Predict, Tokens
from braid_core.nets.backbone import NetworkBackbone
from tests.checks import seeded

SPACE = Tokens("ACGT", 3)
SMALL = {"network": {"width": 16, "depth": 2}}


def backbone(condition: ConditionSpec | None = None, space: Tokens = SPACE, **options: object) -> NetworkBackbone:
    built = MaskedSpec(**{**SMALL, **options}).build(space, torch.device("cpu"))
    return built if condition is None else built.fresh(condition)


def strong(model: NetworkBackbone, seed: int = 0) -> NetworkBackbone:
    """The same model with weights so large that it has firm and position-dependent opinions."""
    source = seeded(seed)
    with torch.no_grad():
        for p in model.net.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=source))
    model.net.requires_grad_(False)
    return model


@pytest.fixture(params=["one", "parallel 1", "parallel 2", "parallel 4"], scope="module")
def model(request: pytest.FixtureRequest) -> NetworkBackbone:
    """Firm opinions, for each way of revealing."""
    reveal, _, steps = request.param.partition(" ")
    return strong(backbone(reveal=reveal, steps=int(steps) if steps else None))


@pytest.fixture(scope="module")
def probabilities(model: NetworkBackbone) -> Tensor:
    """Of every design, exactly."""
    return ExactChain(model.process, model.predict).probabilities()


def each_row(step: Any, row: int, n: int) -> Any:
    """The transition of one design, for ``n`` designs."""
    tensors = {f.name: getattr(step, f.name) for f in fields(step)}
    return replace(
        step, **{name: t[row].expand(n, *t.shape[1:]) for name, t in tensors.items() if isinstance(t, Tensor)}
    )


def number(x: Tensor) -> Tensor:
    """The place of a design in the order of enumeration."""
    letters = x.argmax(-1)
    base = x.shape[-1] ** torch.arange(letters.shape[1] - 1, -1, -1)
    return (letters * base).sum(1)


def subsets(n: int) -> Iterator[tuple[int, ...]]:
    """Every set of places, the empty one first and all of them last."""
    for size in range(n + 1):
        yield from combinations(range(n), size)


def partly(x0: Tensor, shown: tuple[int, ...]) -> Tensor:
    """The states in which only the places ``shown`` of the designs ``x0`` can be seen."""
    x = pad(torch.zeros_like(x0), (0, 1), value=1.0)
    x[:, list(shown)] = pad(x0, (0, 1))[:, list(shown)]
    return x


def letter_log_probs(predict: Predict, x0: Tensor) -> dict[tuple[int, ...], Tensor]:
    """log p(each letter of the designs ``x0`` | what is shown), ``(n, l)`` for every set of shown places."""
    length, t = x0.shape[1], torch.ones(len(x0))
    return {
        shown: (predict(partly(x0, shown), t, None).double().log_softmax(-1) * x0).sum(-1) for shown in subsets(length)
    }


def ordered(predict: Predict, x0: Tensor) -> Tensor:
    """log p(design | order), ``(orders, n)``, for every order of revealing."""
    table, rows = letter_log_probs(predict, x0), []
    for order in permutations(range(x0.shape[1])):
        given = [tuple(sorted(order[:i])) for i in range(len(order))]
        rows.append(torch.stack([table[shown][:, place] for shown, place in zip(given, order, strict=True)]).sum(0))
    return torch.stack(rows)
