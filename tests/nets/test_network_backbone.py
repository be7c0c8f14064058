"""A chain and a network: what training reads, what it keeps, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from braid_core.errors import BraidError, DataError, StoreError, UnsupportedError
from braid_core.interfaces import Backbone, Condition, ConditionSpec, Predict, Space, State
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import PretrainingSpec
from tests.checks import seeded
from tests.doubles import GaussianChain, Heard

SCALAR = ConditionSpec("scalar", 1)


class Recipe(PretrainingSpec):
    """Any spec with a network."""

    type: str = "recipe"

    def build(self, space: Space, device: torch.device) -> Backbone:
        raise NotImplementedError


def backbone(condition: ConditionSpec | None = None, dim: int = 2, **options: Any) -> NetworkBackbone:
    spec = Recipe(**{"network": {"width": 16, "depth": 2}, "train_steps": 60, "batch": 32, **options})
    return NetworkBackbone(GaussianChain(dim, 5), spec, torch.device("cpu"), condition)


def designs(n: int = 100) -> Tensor:
    return torch.randn(n, 2, generator=seeded(7)) * 0.3 + torch.tensor([1.0, -1.0])


def told(n: int, value: float = 0.0, null: bool = False) -> Condition:
    return Condition(torch.full((n, 1), value), torch.full((n,), null))


def same(one: NetworkBackbone, other: NetworkBackbone) -> bool:
    a, b = one.state().tensors, other.state().tensors
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Watched(GaussianChain):
    """Remembers what its loss was called with."""

    def __init__(self, dim: int, steps: int) -> None:
        super().__init__(dim, steps)
        self.trained: list[tuple[Tensor, Condition | None]] = []
        self.validated: list[tuple[Tensor, Tensor, Condition | None]] = []
        self.values: list[float] = []

    def loss(
        self, predict: Predict, x0: Tensor, generator: torch.Generator, condition: Condition | None = None
    ) -> Tensor:
        state = generator.get_state()
        value = super().loss(predict, x0, generator, condition)
        if torch.is_grad_enabled():
            self.trained.append((x0, condition))
        else:
            self.validated.append((state, x0, condition))
            self.values.append(float(value.mean()))
        return value


def watched(condition: ConditionSpec | None = None, **options: Any) -> tuple[NetworkBackbone, Watched]:
    model = backbone(condition, **options)
    chain = Watched(2, 5)
    model.process = chain
    return model, chain


def test_fit_learns() -> None:
    model = backbone(train_steps=300)
    before = float(model.process.loss(model.predict, designs(500), seeded()).mean())
    model.fit(designs(), seeded())
    assert float(model.process.loss(model.predict, designs(500), seeded()).mean()) < 0.5 * before


def test_fit_is_the_generators_alone() -> None:
    before, models = torch.random.get_rng_state(), [backbone() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        torch.randn(seed)
        model.fit(designs(), seeded(seed))
        torch.random.set_rng_state(before)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])
    models[2].fit(designs(), seeded(0))  # fitting again starts anew
    assert same(models[0], models[2])


def test_the_global_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    backbone(SCALAR).fit(designs(), seeded(), conditions=told(100))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_weight_of_zero_is_absence() -> None:
    """To the last bit: such designs are neither drawn nor held out."""
    x, junk = designs(), torch.full((40, 2), 50.0)
    without, weighted = backbone(), backbone()
    without.fit(x, seeded())
    weighted.fit(torch.cat([x, junk]), seeded(), weights=torch.cat([torch.full((100,), 3.0), torch.zeros(40)]))
    assert same(without, weighted)


def test_designs_count_in_proportion_to_their_weights() -> None:
    """Half-way between two designs, a state says nothing of which one it was: x̂0 is the weighted mean of both."""
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).repeat(200, 1)
    model = backbone(train_steps=300, learning_rate=1e-2)
    model.fit(x, seeded(), weights=torch.tensor([3.0, 1.0]).repeat(200))
    state, k = torch.zeros(1, 2), 2
    guess = model.process.denoised(model.predict(state, torch.tensor([model.process.time(k)])), state, k)
    assert guess[0].tolist() == pytest.approx([0.5, 0.5], abs=0.15)


@pytest.mark.parametrize("weights", [[1.0, -1.0, 1.0], [1.0, torch.nan, 1.0], [1.0, torch.inf, 1.0]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match=r"weights of 3 designs(.|\n)*design 2"):
        backbone().fit(designs(3), seeded(), weights=torch.tensor(weights))


def test_too_few_designs_are_refused_and_absent_ones_do_not_count() -> None:
    with pytest.raises(DataError, match=r"^1 design"):
        backbone().fit(designs(3), seeded(), weights=torch.tensor([1.0, 0.0, 0.0]))


def test_designs_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(3,\)(.|\n)*\(2,\)"):
        backbone().fit(torch.zeros(5, 3), seeded())


def test_conditions_are_hidden_in_training_only() -> None:
    model, chain = watched(SCALAR, label_dropout=0.3)
    conditions = Condition(designs()[:, :1], torch.zeros(100, dtype=torch.bool))
    model.fit(designs(), seeded(), conditions=conditions)
    hidden = torch.cat([condition.null for _, condition in chain.trained])
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=4 * (0.21 / len(hidden)) ** 0.5)
    assert not any(bool(condition.null.any()) for _, _, condition in chain.validated)
    for x, condition in chain.trained:
        assert torch.equal(condition.values[:, 0], x[:, 0])  # each design keeps its own


def test_a_condition_may_bring_its_own_dropout() -> None:
    """That is no part of what the weights are meant for: they are loaded into a twin with another one."""
    form = ConditionSpec("scalar", 1, dropout=0.6)
    model, chain = watched(form, label_dropout=0.1)
    model.fit(designs(), seeded(), conditions=told(100))
    hidden = torch.cat([condition.null for _, condition in chain.trained])
    assert float(hidden.float().mean()) == pytest.approx(0.6, abs=4 * (0.24 / len(hidden)) ** 0.5)
    assert not any(bool(condition.null.any()) for _, _, condition in chain.validated)
    twin = model.fresh(SCALAR)
    twin.load_state(model.state())


def test_without_dropout_nothing_is_hidden() -> None:
    model, chain = watched(SCALAR, label_dropout=0.0)
    model.fit(designs(), seeded(), conditions=told(100))
    assert not any(bool(condition.null.any()) for _, condition in chain.trained)


def test_what_is_held_out_is_never_trained_on() -> None:
    model, chain = watched()
    model.fit(designs(), seeded())
    trained = {tuple(row) for x, _ in chain.trained for row in x.tolist()}
    held = {tuple(row) for _, x, _ in chain.validated for row in x.tolist()}
    assert len(held) == 10
    assert not trained & held


def test_every_validation_is_the_same_question() -> None:
    model, chain = watched()
    model.fit(designs(), seeded())
    first, *others = chain.validated
    assert others
    assert all(torch.equal(a, b) for later in others for a, b in zip(first[:2], later[:2], strict=True))


def test_the_best_validated_weights_are_kept() -> None:
    """Of the averages: their loss on the same question is the lowest that was seen, and not the last."""
    model, chain = watched(train_steps=400, learning_rate=0.05, network={"width": 128})
    model.fit(designs(12), seeded())
    state, x, _ = chain.validated[0]
    source = seeded()
    source.set_state(state)
    with torch.no_grad():
        kept = float(GaussianChain(2, 5).loss(model.predict, x, source).mean())
    assert kept == pytest.approx(min(chain.values))
    assert kept < chain.values[-1]


def test_progress_is_reported() -> None:
    heard = Heard()
    backbone().fit(designs(), seeded(), log=heard)
    assert heard.steps[-1][:2] == (60, 60)


def test_conditions_of_another_form_are_refused() -> None:
    x, t, wide = torch.zeros(2, 2), torch.ones(2), Condition(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(UnsupportedError, match=r"unconditional(.|\n)*fresh"):
        backbone().predict(x, t, told(2))
    with pytest.raises(UnsupportedError, match="without a condition"):
        backbone(SCALAR).predict(x, t)
    with pytest.raises(UnsupportedError, match=r"\(2, 3\)(.|\n)*\(2, 1\)(.|\n)*scalar"):
        backbone(SCALAR).predict(x, t, wide)
    with pytest.raises(UnsupportedError, match=r"\(3, 1\)(.|\n)*\(2, 1\)"):
        backbone(SCALAR).predict(x, t, told(3))
    with pytest.raises(UnsupportedError, match="without a condition"):
        backbone(SCALAR).fit(designs(), seeded())


def test_a_twin_is_untrained_and_takes_its_own_condition() -> None:
    model = backbone()
    model.fit(designs(), seeded())
    twin = model.fresh(SCALAR)
    assert (twin.condition, twin.spec, twin.process) == (SCALAR, model.spec, model.process)
    assert twin.predict(torch.zeros(2, 2), torch.ones(2), told(2)).shape == (2, 2)
    assert same(model.fresh(None), backbone())


def test_it_is_reopened_from_its_state() -> None:
    model = backbone(SCALAR)
    model.fit(designs(), seeded(), conditions=told(100))
    state, twin = model.state(), backbone(SCALAR)
    twin.load_state(State(state.tensors, json.loads(json.dumps(state.meta))))
    assert same(model, twin)
    assert not any(p.requires_grad for p in twin.net.parameters())
    with torch.no_grad():
        next(iter(state.tensors.values())).add_(1)
    assert same(model, twin)  # what was handed out is a copy


def test_weights_of_another_network_are_refused_by_their_shapes() -> None:
    narrow, wide = backbone(), backbone(network={"width": 32, "depth": 2})
    with pytest.raises(
        StoreError, match=r"MLPDenoiser(.|\n)*mlp.weights.0 has shape \(1, 130, 32\), not \(1, 130, 16\)"
    ):
        narrow.load_state(wide.state())
    with pytest.raises(StoreError, match=r"is missing(.|\n)*options"):
        backbone(network={"width": 16, "depth": 3}).load_state(narrow.state())
    with pytest.raises(StoreError, match="is not part of it"):
        narrow.load_state(backbone(network={"width": 16, "depth": 3}).state())


def test_weights_for_another_condition_are_refused_even_of_equal_shapes() -> None:
    with pytest.raises(StoreError, match=r"class(.|\n)*embedding"):
        backbone(ConditionSpec("embedding", 3)).load_state(backbone(ConditionSpec("class", 3)).state())
    with pytest.raises(StoreError, match=r"scalar(.|\n)*None is expected"):
        backbone().load_state(backbone(SCALAR).state())


def test_refused_weights_leave_the_network_as_it_was() -> None:
    model = backbone()
    before = model.state()
    with pytest.raises(StoreError):
        model.load_state(backbone(network={"width": 32}).state())
    assert all(torch.equal(before.tensors[name], tensor) for name, tensor in model.state().tensors.items())


def test_opened_for_tuning_it_starts_equal_and_apart() -> None:
    model = backbone()
    x, t = torch.randn(4, 2, generator=seeded()).requires_grad_(), torch.rand(4, generator=seeded())
    before, opened = model.predict(x, t), model.tunable()
    assert torch.equal(opened.tuned.predict(x, t), before)
    with torch.no_grad():
        for parameter in opened.parameters:
            assert parameter.requires_grad
            parameter.add_(1)
    assert torch.equal(model.predict(x, t), before)
    reference = opened.reference(x, t, None)
    assert torch.equal(reference, before)
    reference.square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())
    assert all(p.grad is None for p in [*opened.parameters, *model.net.parameters()])


def test_an_untrained_model_takes_no_gradient() -> None:
    assert not any(p.requires_grad for p in backbone().net.parameters())


def test_diverged_training_says_so() -> None:
    with pytest.raises(BraidError, match="diverged"):
        backbone().fit(torch.full((20, 2), 1e30), seeded())


def test_a_chain_may_predict_another_shape_than_a_design() -> None:
    spec = Recipe(network={"width": 8})
    model = NetworkBackbone(GaussianChain(3, 5), spec, torch.device("cpu"), out=(2,), timed=False)
    x = torch.zeros(4, 3)
    assert model.predict(x, torch.ones(4)).shape == (4, 2)
    assert torch.equal(model.predict(x, torch.ones(4)), model.predict(x, torch.zeros(4)))
    assert model.fresh(SCALAR).predict(x, torch.ones(4), told(4)).shape == (4, 2)
    assert isinstance(model.net, nn.Module)
