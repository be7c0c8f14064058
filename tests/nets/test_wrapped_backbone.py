"""A network that is not ours as a backbone: a transformer made of torch's own layers, with dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from braid_core.errors import DataError, StoreError, UnsupportedError
from braid_core.interfaces import Condition, ConditionSpec
from braid_core.nets.spec import TrainingSpec
from braid_core.nets.wrapped import WrappedBackbone
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import GaussianChain

CPU = torch.device("cpu")
CHAIN = GaussianChain(4, 5)
QUICK = TrainingSpec(train_steps=40, batch=32)
SCALAR = ConditionSpec("scalar", 1)


class Transformer(nn.Module):
    """Reads each number of a vector as a token; knows nothing of this library but the call."""

    def __init__(self, condition: ConditionSpec | None, width: int = 8) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(4, width))
        self.read, self.write = nn.Linear(1, width), nn.Linear(width, 1)
        self.told = nn.Linear(1 + (condition.size + 1 if condition else 0), width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        known = t[:, None] if condition is None else torch.cat([t[:, None], condition.features()], 1)
        h = self.read(x[..., None]) + self.places + self.told(known)[:, None]
        return self.write(self.layer(h))[..., 0]


def wrapped(**options: object) -> WrappedBackbone:
    return WrappedBackbone(CHAIN, Transformer, CPU, **{"training": QUICK, **options})


def designs() -> Tensor:
    return torch.randn(100, 4, generator=seeded(7)) * 0.2 + 1


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_it_is_trained_by_the_same_loop() -> None:
    model = wrapped(training=TrainingSpec(train_steps=300, batch=64, learning_rate=5e-3))
    before = float(CHAIN.loss(model.predict, designs(), seeded()).mean())
    model.fit(designs(), seeded())
    assert float(CHAIN.loss(model.predict, designs(), seeded()).mean()) < 0.7 * before


def test_dropout_and_initial_weights_follow_the_generator() -> None:
    """Though torch's layers draw both from the global numbers, which are left as they were."""
    before, models = torch.random.get_rng_state(), [wrapped() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        model.fit(designs(), seeded(seed))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(models[0].net, models[1].net)
    assert not equal(models[0].net, models[2].net)


def test_dropout_is_off_outside_of_training() -> None:
    model = wrapped()
    model.fit(designs(), seeded())
    opened, x, t = model.tunable(), torch.randn(4, 4, generator=seeded()), torch.ones(4)
    for predict in (model.predict, opened.tuned.predict, opened.reference):
        assert torch.equal(predict(x, t, None), predict(x, t, None))
    assert model.net.layer.dropout.p == 0.1


def test_it_is_opened_for_tuning() -> None:
    model = wrapped()
    opened = model.tunable()
    path = rollout(CHAIN, opened.tuned.predict, 8, seeded(), reference=opened.reference)
    assert not bool(path.kl.any())
    (path.x.sum() + path.kl.sum()).backward()
    assert all(p.grad is not None for p in opened.parameters)
    assert all(p.grad is None for p in model.net.parameters())
    with torch.no_grad():
        opened.parameters[0].add_(1)
    assert not equal(opened.tuned.net, model.net)


def test_pretrained_weights_are_final(tmp_path: Path) -> None:
    """From a safetensors file or from a module in memory; `fit` leaves them alone."""
    pretrained, file = Transformer(None), tmp_path / "weights.safetensors"
    save_file(pretrained.state_dict(), file)
    for weights in (file, str(file), pretrained.state_dict()):
        model = WrappedBackbone(CHAIN, Transformer, CPU, weights=weights)
        model.fit(designs(), seeded())
        assert equal(model.net, pretrained)


def test_pretrained_weights_can_be_trained_on() -> None:
    pretrained = Transformer(None)
    model = wrapped(weights=pretrained.state_dict(), training=TrainingSpec(train_steps=1, learning_rate=1e-6, ema=0.0))
    model.fit(designs(), seeded())
    near = [(p - q).abs().max() for p, q in zip(model.net.parameters(), pretrained.parameters(), strict=True)]
    assert 0 < max(near) < 1e-5


def test_a_twin_is_untrained_and_conditional() -> None:
    model = WrappedBackbone(CHAIN, Transformer, CPU, weights=Transformer(None).state_dict())
    twin = model.fresh(SCALAR)
    assert not equal(model.fresh(None).net, model.net)
    conditions = Condition(designs()[:, :1], torch.zeros(100, dtype=torch.bool))
    twin.training = QUICK
    before = [p.clone() for p in twin.net.parameters()]
    twin.fit(designs(), seeded(), conditions=conditions)  # though the original's weights are final
    assert not all(torch.equal(p, q) for p, q in zip(before, twin.net.parameters(), strict=True))
    with pytest.raises(UnsupportedError, match="without a condition"):
        twin.predict(designs(), torch.ones(100))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    wide, file = Transformer(None, width=16), tmp_path / "weights.safetensors"
    save_file(wide.state_dict(), file)
    with pytest.raises(StoreError, match=r"Transformer(.|\n)*places has shape \(4, 16\), not \(4, 8\)"):
        wrapped(weights=file)
    with pytest.raises(StoreError, match=r"MLP|Linear|is missing"):
        wrapped(weights=nn.Linear(3, 3).state_dict())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not safetensors at all")
    for file in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(StoreError, match=file.name):
            wrapped(weights=file)


def test_batch_statistics_are_refused() -> None:
    def factory(condition: ConditionSpec | None) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    with pytest.raises(UnsupportedError, match=r"BatchNorm1d(.|\n)*LayerNorm"):
        WrappedBackbone(CHAIN, factory, CPU)


def test_it_is_reopened_from_its_state() -> None:
    model, twin = wrapped(), wrapped()
    model.fit(designs(), seeded())
    twin.load_state(model.state())
    assert equal(model.net, twin.net)
    with pytest.raises(StoreError):
        twin.load_state(wrapped(condition=SCALAR).state())


def test_one_design_is_too_few() -> None:
    with pytest.raises(DataError):
        wrapped().fit(designs()[:1], seeded())


def test_dropout_is_on_in_training_and_off_in_validation() -> None:
    model, modes = wrapped(), set()

    class Watched(GaussianChain):
        def loss(self, *arguments: object) -> Tensor:
            modes.add((torch.is_grad_enabled(), model.net.training))
            return super().loss(*arguments)

    model.process = Watched(4, 5)
    model.fit(designs(), seeded())
    assert modes == {(True, True), (False, False)}
    assert not model.net.training


class Adapted(nn.Module):
    """A frozen base, and a small adapter that learns."""

    def __init__(self, condition: ConditionSpec | None) -> None:
        super().__init__()
        self.base, self.adapter = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.base(x) + self.adapter(x)


def test_what_the_author_has_frozen_is_never_trained() -> None:
    model = WrappedBackbone(CHAIN, Adapted, CPU, weights=Adapted(None).state_dict(), training=QUICK)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    model.fit(designs(), seeded())
    changed = {name for name, value in model.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"adapter.weight", "adapter.bias"}
    opened = model.tunable()
    assert [p.shape for p in opened.parameters] == [(4, 4), (4,)]
    assert {name for name, p in opened.tuned.net.named_parameters() if p.requires_grad} == changed
    assert all(p is q for p, q in zip(opened.parameters, opened.tuned.net.adapter.parameters(), strict=True))


def test_a_network_without_anything_to_train_is_refused() -> None:
    def frozen(condition: ConditionSpec | None) -> nn.Module:
        return nn.Bilinear(4, 1, 4).requires_grad_(False)

    model = WrappedBackbone(CHAIN, frozen, CPU, training=QUICK)
    with pytest.raises(UnsupportedError, match=r"Bilinear(.|\n)*nothing to train"):
        model.tunable()
    with pytest.raises(UnsupportedError, match="nothing to train"):
        model.fit(designs(), seeded())


class Louder(WrappedBackbone):
    """With an option of its own."""

    def __init__(self, *given: Any, factor: float, **options: Any) -> None:
        super().__init__(*given, **options)
        self.factor = factor

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        return self.factor * super().predict(x, t, condition)


def test_a_twin_has_the_options_of_a_subclass() -> None:
    model = Louder(CHAIN, Transformer, CPU, factor=3.0, training=QUICK)
    before = model.net
    twin = model.fresh(SCALAR)
    assert twin.factor == 3.0
    assert model.net is before
    assert model.condition is None
    assert equal(twin.net, wrapped(condition=SCALAR).net)
