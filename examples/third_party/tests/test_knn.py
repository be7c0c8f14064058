"""What an oracle promises, on a reward that is easy to check: the share of the letter A."""

from __future__ import annotations

import pytest
import torch
from braid_example_knn import KnnSpec
from braid_example_knn.oracle import KnnOracle

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Tokens
from braid_core.registry.resolve import spec_class

SPACE = Tokens("ACGT", 8)


def fitted(n: int = 200, space: Tokens = SPACE, variance: float | None = None) -> KnnOracle:
    generator = torch.Generator().manual_seed(1)
    x = space.random(n, generator)
    noise = None if variance is None else torch.linspace(1, variance, n)
    oracle = KnnSpec().build(space, torch.device("cpu"))
    oracle.fit(LabelledDesigns(x, x[..., 0].mean(1), noise), generator)
    return oracle


def test_the_installed_name_is_this_spec() -> None:
    assert spec_class("oracle", "knn") is KnnSpec
    assert KnnSpec.model_validate_json(KnnSpec(neighbours=3).model_dump_json()) == KnnSpec(neighbours=3)


def test_it_predicts_what_it_has_not_seen() -> None:
    x = SPACE.random(200, torch.Generator().manual_seed(2))
    predicted = fitted(2000).posterior(x).mean
    assert torch.corrcoef(torch.stack([predicted, x[..., 0].mean(1)]))[0, 1] > 0.7


def test_doubt_grows_with_the_distance_to_the_data() -> None:
    oracle = fitted()
    known = oracle.posterior(oracle.x[:50])
    unknown = oracle.posterior(SPACE.random(50, torch.Generator().manual_seed(2)))
    assert (known.doubt < 1e-6).all()
    assert unknown.std.mean() > known.std.mean()
    far = oracle.posterior(5 * oracle.x[:50])
    assert (far.penalty() > unknown.penalty().max()).all()


def test_it_is_differentiable_between_the_corners() -> None:
    oracle = fitted()
    x = torch.softmax(torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(3)), -1).double().requires_grad_()
    oracle.x, oracle.y, oracle.noise, oracle.h = (t.double() for t in (oracle.x, oracle.y, oracle.noise, oracle.h))
    assert torch.autograd.gradcheck(lambda x: oracle.posterior(x).conservative(), x)


def test_a_gradient_at_the_data_is_finite() -> None:
    oracle = fitted()
    x = oracle.x[:5].clone().requires_grad_()
    oracle.posterior(x).conservative().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_both_strands_are_one_design() -> None:
    space = Tokens("ACGT", 8, symmetries=("reverse_complement",))
    oracle = fitted(space=space)
    x = space.random(20, torch.Generator().manual_seed(2))
    assert torch.allclose(oracle.posterior(x).mean, oracle.posterior(space.orbit(x)[1]).mean, atol=1e-6)


def test_a_noisy_measurement_counts_less() -> None:
    oracle = fitted(variance=100.0)
    weights = oracle.posterior(oracle.x[-1:]).weights
    assert weights[0, 0] < fitted().posterior(oracle.x[-1:]).weights[0, 0]


def test_a_state_is_all_there_is() -> None:
    oracle, x = fitted(), SPACE.random(5, torch.Generator().manual_seed(2))
    twin = KnnSpec().build(SPACE, torch.device("cpu"))
    twin.load_state(oracle.state())
    assert torch.equal(twin.posterior(x).conservative(), oracle.posterior(x).conservative())


def test_too_few_designs_are_refused() -> None:
    with pytest.raises(DataError, match="too few for 10 neighbours"):
        fitted(10)


def test_copies_without_a_distance_are_refused() -> None:
    x = SPACE.random(1, torch.Generator().manual_seed(0)).expand(50, -1, -1)
    with pytest.raises(DataError, match="no distance"):
        KnnSpec().build(SPACE, torch.device("cpu")).fit(LabelledDesigns(x, torch.arange(50.0)), torch.Generator())
