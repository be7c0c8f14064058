"""Conditions: null is told apart from zero, and dropped at random."""

from __future__ import annotations

import pytest
import torch

from braid_core.interfaces import Condition
from tests.checks import seeded


def test_features_are_the_values_and_the_null_flag() -> None:
    condition = Condition(torch.tensor([[2.0, -1.0], [3.0, 4.0]]), torch.tensor([False, True]))
    assert condition.features().tolist() == [[2, -1, 0], [0, 0, 1]]


def test_null_is_not_zero() -> None:
    zero, null = Condition(torch.zeros(2, 1), torch.tensor([False, True])).features()
    assert not torch.equal(zero, null)


def test_a_null_value_is_ignored_whatever_it_is() -> None:
    condition = Condition(torch.tensor([[torch.nan], [torch.inf], [7.0]]), torch.tensor([True, True, True]))
    assert torch.equal(condition.features(), torch.tensor([[0.0, 1.0]]).expand(3, 2))


def test_conditions_are_dropped_at_the_rate() -> None:
    condition = Condition(torch.randn(4000, 1, generator=seeded()), torch.arange(4000) < 1000)
    dropped = condition.dropped(0.15, seeded())
    assert bool(dropped.null[:1000].all())
    assert float(dropped.null[1000:].float().mean()) == pytest.approx(0.15, abs=0.02)
    assert torch.equal(dropped.values, condition.values)
    assert torch.equal(condition.null, torch.arange(4000) < 1000)
    assert torch.equal(dropped.null, condition.dropped(0.15, seeded()).null)
