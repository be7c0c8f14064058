"""The masked backbone: what it learns, from what, and what it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from braid_discrete import MaskedSpec
from braid_discrete.exact import ExactChain
from braid_discrete.masked import OneByOne, Parallel
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import Condition, ConditionSpec, Predict, Process, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.discrete.conftest import SPACE, backbone, number, strong
from tests.doubles import Heard

QUICK: dict[str, Any] = {"train_steps": 100, "batch": 64, "learning_rate": 2e-2}
CONDITION = ConditionSpec("scalar", 1)


def fitted(designs: Tensor, seed: int = 0, **options: Any) -> NetworkBackbone:
    model = backbone(**{**QUICK, **options})
    model.fit(designs, seeded(seed))
    return model


def probabilities(model: NetworkBackbone) -> Tensor:
    return ExactChain(model.process, model.predict).probabilities()


def share(model: NetworkBackbone, designs: list[str]) -> float:
    """The exact probability of drawing one of ``designs``."""
    return float(probabilities(model)[number(SPACE.encode(designs))].sum())


def told(values: list[float], null: bool = False) -> Condition:
    return Condition(torch.tensor(values)[:, None], torch.full((len(values),), null))


def test_fit_learns_a_correlated_distribution() -> None:
    """The cross-entropy of the exact model comes near the entropy, and its samples are drawn from the data's law."""
    truth = torch.full((64,), 0.1 / 64)
    truth[number(SPACE.encode(["AAA", "CGT"]))] += torch.tensor([0.6, 0.3])
    picks = torch.multinomial(truth, 3000, replacement=True, generator=seeded())
    designs = torch.nn.functional.one_hot(torch.stack([picks // 16, picks // 4 % 4, picks % 4], 1), 4).float()
    model = fitted(designs, train_steps=200, network={"width": 32}, batch=256)
    learned = probabilities(model)
    excess = float((truth * (truth.double() / learned).log()).sum())
    assert 0 <= excess < 0.06
    first, second, third = designs.mean(0)
    independent = (first[:, None, None] * second[:, None] * third).flatten()
    assert float((truth * (truth / independent).log()).sum()) > 0.5  # what independent letters would miss


def test_fit_keeps_the_weights_of_the_best_validation() -> None:
    """Mistake 7 of public code: thirty random designs are learned by heart if nothing holds the network back."""
    space = Tokens("ACGT", 6)
    model = fitted(space.random(30, seeded()), space=space, network={"width": 64}, train_steps=400, learning_rate=2e-3)
    fresh = space.random(1000, seeded(1))
    assert float(model.process.loss(model.predict, fresh, seeded()).mean()) < 1.1 * 6 * math.log(4)


def test_every_validation_sees_the_same_masks() -> None:
    """Or the best weights would be those of the luckiest masks."""
    model, states = backbone(**QUICK), []
    loss = model.process.loss

    def watching(predict: Predict, x0: Tensor, generator: torch.Generator, condition: Condition | None) -> Tensor:
        if not torch.is_grad_enabled():
            states.append((generator.get_state(), x0))
        return loss(predict, x0, generator, condition)

    model.process.loss = watching
    model.fit(SPACE.random(50, seeded()), seeded())
    first, *others = states
    assert others
    assert all(torch.equal(a, b) for later in others for a, b in zip(first, later, strict=True))


def test_fit_uses_the_weights() -> None:
    designs = SPACE.encode(["AAA"] * 100 + ["CCC"] * 100)
    model = backbone(**QUICK)
    model.fit(designs, seeded(), weights=torch.tensor([3.0] * 100 + [0.0] * 100))
    assert share(model, ["AAA"]) > 0.9
    assert 0.4 < share(fitted(designs), ["AAA"]) < 0.6


def test_fit_uses_the_conditions_and_null_is_not_zero() -> None:
    designs = SPACE.encode(["AAA"] * 100 + ["CCC"] * 100 + ["GGG"] * 100)
    values = torch.tensor([0.0] * 100 + [1.0] * 100 + [0.0] * 100)[:, None]
    model = backbone(CONDITION, **{**QUICK, "train_steps": 200})
    model.fit(designs, seeded(), conditions=Condition(values, torch.arange(300) >= 200))

    def drawn(value: float, null: bool) -> Tensor:
        def predict(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
            return model.predict(x, t, told([value] * len(x), null))

        return ExactChain(model.process, predict).probabilities()

    places = number(SPACE.encode(["AAA", "CCC", "GGG"]))
    for place, condition in zip(places, [(0.0, False), (1.0, False), (5.0, True)], strict=True):
        assert float(drawn(*condition)[place]) > 0.8


def test_an_unconditional_model_takes_no_condition_and_a_conditional_one_needs_it() -> None:
    x, t = torch.zeros(2, 3, 5), torch.ones(2)
    with pytest.raises(UnsupportedError, match=r"unconditional(.|\n)*fresh"):
        backbone().predict(x, t, told([0.0, 0.0]))
    with pytest.raises(UnsupportedError, match="without a condition"):
        backbone(CONDITION).predict(x, t)
    with pytest.raises(UnsupportedError, match="unconditional"):
        backbone(**QUICK).fit(SPACE.random(5, seeded()), seeded(), conditions=told([0.0] * 5))


def test_one_design_is_too_few() -> None:
    with pytest.raises(DataError, match="1 design"):
        fitted(SPACE.random(1, seeded()))


def test_two_designs_are_enough() -> None:
    assert float(probabilities(fitted(SPACE.encode(["AAA", "AAA"]), train_steps=5)).sum()) == pytest.approx(1)


def test_fit_is_the_generators_alone() -> None:
    designs = SPACE.random(50, seeded(9))
    before = torch.random.get_rng_state()
    one = fitted(designs, train_steps=10)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    again, other = fitted(designs, train_steps=10), fitted(designs, seed=1, train_steps=10)
    torch.random.set_rng_state(before)
    for name, tensor in one.state().tensors.items():
        assert torch.equal(tensor, again.state().tensors[name])
        assert not torch.equal(tensor, other.state().tensors[name])


def test_fitting_again_starts_anew() -> None:
    designs = SPACE.random(50, seeded(9))
    model = backbone(
        **QUICK,
    )
    model.fit(SPACE.encode(["AAA"] * 50), seeded(3))
    model.fit(designs, seeded())
    assert torch.equal(probabilities(model), probabilities(fitted(designs)))


def test_fit_reports_its_progress() -> None:
    heard, model = Heard(), backbone(**QUICK)
    model.fit(SPACE.random(50, seeded()), seeded(), log=heard)
    assert heard.steps[-1][:2] == (QUICK["train_steps"], QUICK["train_steps"])
    assert all(0 < figures["loss"] < 10 for _, _, figures in heard.steps)


def test_a_model_is_reopened_from_its_state() -> None:
    model, empty = strong(backbone()), backbone()
    state = model.state()
    empty.load_state(state)
    assert torch.equal(probabilities(empty), probabilities(model))
    assert all(tensor.data_ptr() != p.data_ptr() for tensor in state.tensors.values() for p in model.net.parameters())


def test_a_twin_is_untrained_and_separate() -> None:
    model = strong(backbone(reveal="parallel", steps=7, temperature=0.5))
    twin = model.fresh(CONDITION)
    assert (twin.condition, twin.spec, twin.process.space) == (CONDITION, model.spec, model.process.space)
    assert torch.equal(probabilities(model.fresh(None)), probabilities(backbone(reveal="parallel", steps=7)))


def test_opened_for_tuning_it_starts_equal_and_apart() -> None:
    model = strong(backbone())
    before = probabilities(model)
    opened = model.tunable()
    assert torch.equal(probabilities(opened.tuned), before)
    assert all(p.requires_grad for p in opened.parameters)
    with torch.no_grad():
        for p in opened.parameters:
            p.add_(torch.randn(p.shape, generator=seeded()))
    assert torch.equal(probabilities(model), before)
    assert torch.equal(ExactChain(model.process, opened.reference).probabilities(), before)
    assert not torch.allclose(probabilities(opened.tuned), before, atol=1e-3)


def test_the_references_weights_are_frozen_but_its_input_is_not() -> None:
    opened = backbone().tunable()
    x = torch.zeros(2, 3, 5, requires_grad=True)
    opened.reference(x, torch.ones(2), None).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())
    assert all(p.grad is None for p in opened.parameters)


def test_the_gradients_estimator_changes_no_sample() -> None:
    plain, soft = strong(backbone()), strong(backbone(temperature=0.5))
    soft.net.requires_grad_(True)
    one = rollout(plain.process, plain.predict, 20, seeded()).x
    assert torch.equal(one, rollout(soft.process, soft.predict, 20, seeded()).x.detach())


def test_steps_belong_to_parallel_only() -> None:
    for reveal in ("one", "auto"):
        with pytest.raises(ValueError, match="parallel"):
            backbone(reveal=reveal, steps=5)
    assert backbone(reveal="parallel").process.steps == 3


@pytest.mark.parametrize(("length", "chain", "steps"), [(3, OneByOne, 3), (100, OneByOne, 100), (101, Parallel, 16)])
def test_long_designs_are_revealed_in_fewer_steps_by_default(length: int, chain: type[Process], steps: int) -> None:
    process = MaskedSpec(network={"width": 8}).build(Tokens("ACGT", length), torch.device("cpu")).process
    assert type(process) is chain
    assert process.steps == steps
