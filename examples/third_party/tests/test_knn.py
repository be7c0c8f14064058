"""What every oracle promises, inherited from the contract; and what is special to this one."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from braid_example_knn import KnnSpec
from braid_example_knn.oracle import KnnOracle

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Space, Tokens
from braid_core.registry.resolve import spec_class
from braid_core.testing import OracleContract

JUMPS = "one letter away, other designs are the nearest ones, and the mean jumps to theirs"


class TestKnn(OracleContract):
    spec = KnnSpec(neighbours=5)
    distance_aware = True
    expected_failures: ClassVar = {
        "test_gradients_at_designs[Tokens-ACGT-6]": JUMPS,
        "test_gradients_at_designs[Tokens-ACGT-6-reverse_complement]": JUMPS,
    }

    def test_a_measured_design_leaves_no_doubt(self, oracle: KnnOracle, space: Space) -> None:
        known = oracle.posterior(oracle.x[:50])
        new = oracle.posterior(space.random(50, torch.Generator().manual_seed(2)))
        assert (known.doubt < 1e-4).all()
        assert new.doubt.median() > 0.1


def fitted(table: LabelledDesigns) -> KnnOracle:
    oracle = KnnSpec().build(Tokens("ACGT", 8), torch.device("cpu"))
    oracle.fit(table, torch.Generator())
    return oracle


def table(n: int, variance: torch.Tensor | None = None) -> LabelledDesigns:
    """The reward is the share of the letter A."""
    x = Tokens("ACGT", 8).random(n, torch.Generator().manual_seed(1))
    return LabelledDesigns(x, x[..., 0].mean(1), variance)


def test_the_installed_name_is_this_spec() -> None:
    assert spec_class("oracle", "knn") is KnnSpec
    assert KnnSpec.model_validate_json(KnnSpec(neighbours=3).model_dump_json()) == KnnSpec(neighbours=3)


def test_a_noisy_measurement_counts_less() -> None:
    plain, noisy = fitted(table(200)), fitted(table(200, torch.linspace(1, 100, 200)))
    last = plain.x[-1:]
    assert noisy.posterior(last).weights[0, 0] < plain.posterior(last).weights[0, 0]


def test_too_few_designs_are_refused() -> None:
    with pytest.raises(DataError, match="too few for 10 neighbours"):
        fitted(table(10))


def test_copies_without_a_distance_are_refused() -> None:
    x = table(1).x.expand(50, -1, -1)
    with pytest.raises(DataError, match="no distance"):
        fitted(LabelledDesigns(x, torch.arange(50.0)))
