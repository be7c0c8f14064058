"""Probabilities of few letters, against torch's own."""

from __future__ import annotations

import pytest
import torch

from braid_core.interfaces.transition import SHORT, log_softmax, softmax
from tests.checks import seeded


@pytest.mark.parametrize("shape", [(7,), (6, 4), (5, 3, 4), (2, 3, 5, 2), (3, SHORT - 1), (3, SHORT), (0, 3, 4)])
@pytest.mark.parametrize(("ours", "theirs"), [(log_softmax, torch.log_softmax), (softmax, torch.softmax)])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, ...], ours, theirs) -> None:  # type: ignore[no-untyped-def]
    x, weight = (torch.randn(shape, generator=seeded(seed)) for seed in range(2))
    if x.numel():
        x.view(-1)[0] = -torch.inf  # a letter that is impossible
    x.requires_grad_()
    value, expected = ours(x), theirs(x, -1)
    assert value.shape == x.shape
    torch.testing.assert_close(value, expected)
    gradients = [
        torch.autograd.grad((torch.where(x > -torch.inf, y, 0.0) * weight).sum(), x)[0] for y in (value, expected)
    ]
    torch.testing.assert_close(*gradients)


def test_where_every_letter_is_impossible_there_is_no_law() -> None:
    assert log_softmax(torch.full((2, 4), -torch.inf)).isnan().all()
