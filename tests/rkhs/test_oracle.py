"""The oracle: its predictions, gradients, choices, refusals and state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from braid_rkhs import RKHSSpec
from braid_rkhs import oracle as module
from braid_rkhs.features import LearnedFeatures
from pydantic import ValidationError
from safetensors.torch import save_file
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from torch.autograd import gradcheck

from braid_core.errors import DataError, SpecError
from braid_core.interfaces import LabelledDesigns, State, Vectors
from tests.checks import seeded
from tests.doubles import Heard
from tests.rkhs.tables import (
    KERNELS,
    KINDS,
    NETWORK,
    SPACE,
    STRANDED,
    built,
    data,
    fitted,
    gamma_of,
    relaxed,
    reward,
    scaled,
)


@pytest.mark.parametrize("kind", KERNELS)
def test_the_prediction_is_the_ridge_regression_of_scikit_learn(kind: str) -> None:
    table, asked = data(60, dtype=torch.float64), relaxed(20)
    variance = torch.rand(60, generator=seeded(3)).double() + 0.1
    oracle = fitted(kind, LabelledDesigns(table.x, table.y, variance), lam=0.3)
    weight = (1 / variance) / (1 / variance).mean()
    location = (weight * table.y).mean()
    theirs = Ridge(0.3, fit_intercept=False)
    theirs.fit(scaled(oracle, table.x).numpy(), (table.y - location).numpy(), sample_weight=weight.numpy())
    expected = location + torch.from_numpy(theirs.predict(scaled(oracle, asked).numpy()))
    torch.testing.assert_close(oracle.posterior(asked).mean, expected, rtol=0, atol=1e-8)


def test_with_all_landmarks_it_is_the_kernel_ridge_regression_of_scikit_learn() -> None:
    table, asked = data(40, dtype=torch.float64), relaxed(20)
    oracle = fitted("nystroem", table, lam=0.3, components=40)
    theirs = KernelRidge(alpha=0.3, kernel="rbf", gamma=gamma_of(oracle))
    theirs.fit(table.x.flatten(1).numpy(), (table.y - table.y.mean()).numpy())
    expected = table.y.mean() + torch.from_numpy(theirs.predict(asked.flatten(1).numpy()))
    torch.testing.assert_close(oracle.posterior(asked).mean, expected, rtol=0, atol=1e-8)


def test_with_learned_features_the_prediction_is_the_networks() -> None:
    oracle, x = fitted("learned", space=STRANDED), relaxed(20, torch.float32)
    assert isinstance(oracle.features, LearnedFeatures)
    torch.testing.assert_close(oracle.posterior(x).mean, oracle.features.model.predict(x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_is_differentiable_at_and_between_designs(kind: str) -> None:
    """Against finite differences, in float64."""
    oracle = fitted(kind, space=STRANDED, c=1.7)
    if isinstance(oracle.features, LearnedFeatures):
        oracle.features.model.mlp.double()
    x = torch.cat([relaxed(3), data(2).x.double()]).requires_grad_()
    assert gradcheck(lambda x: oracle.posterior(x).mean, (x,))
    assert gradcheck(lambda x: oracle.posterior(x).std, (x,))
    assert gradcheck(lambda x: oracle.posterior(x).conservative(), (x,))
    (gradient,) = torch.autograd.grad(oracle.posterior(x).penalty().sum(), x)
    assert bool(gradient.flatten(1).any(1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_both_strands_are_one_design(kind: str) -> None:
    oracle = fitted(kind, space=STRANDED)
    own, other = (oracle.posterior(form) for form in STRANDED.orbit(relaxed(30, torch.float32)))
    torch.testing.assert_close(own.mean, other.mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(own.std, other.std, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KERNELS)
def test_float32_is_enough(kind: str) -> None:
    oracle, x = fitted(kind, data(300), lam=0.1, components=200), relaxed(50, torch.float32)
    single, double = oracle.posterior(x), oracle.posterior(x.double())
    assert single.std.dtype == torch.float32
    torch.testing.assert_close(single.std.double(), double.std, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(single.mean.double(), double.mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reward_is_learned_and_its_units_are_followed(kind: str) -> None:
    table, x = data(400), SPACE.random(200, seeded(77))
    options: dict[str, Any] = {"components": None, "lam": 0.1}
    if kind == "learned":
        options = {"network": {**NETWORK, "train_steps": 300}}
    plain = fitted(kind, table, **options).posterior(x)
    assert float(torch.corrcoef(torch.stack([plain.mean, reward(x)]))[0, 1]) > 0.8
    other = fitted(kind, LabelledDesigns(table.x, 4 * table.y - 20), **options).posterior(x)
    torch.testing.assert_close(other.mean, 4 * plain.mean - 20, rtol=0.02, atol=0.5 if kind == "learned" else 1e-3)
    torch.testing.assert_close(other.std, 4 * plain.std, rtol=0.1 if kind == "learned" else 1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KERNELS)
def test_the_bandwidth_is_the_best_on_held_out_designs(kind: str) -> None:
    """Wide for a noisy line, narrow for a wave."""
    x, chosen = torch.rand(300, 1, generator=seeded()), []
    noise = torch.randn(300, generator=seeded(1)) / 2
    for y in (x[:, 0] + noise, (30 * x[:, 0]).sin()):
        heard, oracle = Heard(), built(kind, Vectors(1), bandwidth=None, lam=0.01, components=60)
        oracle.fit(LabelledDesigns(x, y), seeded(), log=heard)
        assert [(done, total) for done, total, _ in heard.steps] == [(i, 5) for i in range(1, 6)]
        errors = {figures["bandwidth"]: figures["error"] for _, _, figures in heard.steps}
        chosen.append(min(errors, key=errors.__getitem__))
        same = fitted(kind, LabelledDesigns(x, y), Vectors(1), bandwidth=chosen[-1], lam=0.01, components=60)
        torch.testing.assert_close(oracle.posterior(x).mean, same.posterior(x).mean)
    assert chosen[0] > chosen[1]


def test_the_bandwidth_is_in_typical_distances() -> None:
    x = torch.randn(300, 5, generator=seeded())
    y = x[:, 0].sin()
    one, ten = (fitted("nystroem", LabelledDesigns(f * x, y), Vectors(5), bandwidth=0.7) for f in (1, 10))
    torch.testing.assert_close(ten.posterior(10 * x).std, one.posterior(x).std, rtol=1e-3, atol=1e-5)
    typical = torch.pdist(x).median()
    assert gamma_of(one) == pytest.approx(1 / (2 * (0.7 * float(typical)) ** 2), rel=0.01)


def test_copies_never_judge_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[set[int]] = []
    original = LabelledDesigns.split

    def watching(self: LabelledDesigns, *args: Any) -> Any:
        parts = original(self, *args)
        sides.extend(set(part.group.tolist()) for part in parts if part.group is not None)
        return parts

    monkeypatch.setattr(LabelledDesigns, "split", watching)
    table = data(60)
    fitted("fourier", LabelledDesigns(table.x, table.y, None, torch.arange(60) // 3), bandwidth=None)
    training, held = sides
    assert len(held) == 2
    assert not training & held


def test_the_default_number_of_landmarks_follows_the_data() -> None:
    assert fitted("nystroem", components=None).features(data().x).shape == (80, 80)
    assert fitted("fourier", components=None).features(data().x).shape == (80, module.COMPONENTS)


def test_more_landmarks_than_designs_are_refused() -> None:
    """Copies count once."""
    table = data(20)
    with pytest.raises(DataError, match=r"21 landmarks(.|\n)*20 designs(.|\n)*lower `components`"):
        fitted("nystroem", table.take(torch.arange(40) % 20), components=21)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_rewards_are_refused(kind: str) -> None:
    x = data(6).x
    for y in ([0.1] * 6, [1, 2, 2, 3, 2, 2]):  # in the second, copies average to 2
        with pytest.raises(DataError, match="all rewards are equal"):
            fitted(kind, LabelledDesigns(x[[0, 1, 2, 0, 1, 2]], torch.tensor(y).float()), components=None, network=None)


@pytest.mark.parametrize("kind", KINDS)
def test_one_design_is_refused(kind: str) -> None:
    x = data(1).x
    for table in (LabelledDesigns(x, torch.ones(1)), LabelledDesigns(x[[0, 0]], torch.arange(2.0))):
        with pytest.raises(DataError, match="nothing can be learned from 1 design"):
            fitted(kind, table, components=None, network=None)


def test_a_ridge_that_rounds_away_is_refused() -> None:
    with pytest.raises(DataError, match=r"cannot be inverted(.|\n)*1e-30(.|\n)*larger `lam`"):
        fitted("fourier", data(20), lam=1e-30)


def test_options_of_other_features_are_refused() -> None:
    for options in ({"features": "learned", "components": 5}, {"features": "fourier", "network": {}}):
        with pytest.raises(ValidationError, match="has no meaning"):
            RKHSSpec(**options)
    with pytest.raises(SpecError, match="c = 'auto'"):
        built("fourier", c="auto")


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_is_reopened_from_its_state(kind: str) -> None:
    oracle, x = fitted(kind, space=STRANDED), relaxed(20, torch.float32)
    state, empty = oracle.state(), built(kind, STRANDED)
    empty.load_state(state)
    before, after = oracle.posterior(x), empty.posterior(x)
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.std, after.std)
    again = oracle.state()
    assert not any(tensor.requires_grad for tensor in state.tensors.values())
    assert all(tensor.data_ptr() != again.tensors[name].data_ptr() for name, tensor in state.tensors.items())
    for tensor in again.tensors.values():
        tensor.zero_()
    assert torch.equal(oracle.posterior(x).std, before.std)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_the_generators_alone(kind: str) -> None:
    x, options = relaxed(5, torch.float32), dict[str, Any]({} if kind == "learned" else {"bandwidth": None})
    torch_before, numpy_before = torch.random.get_rng_state(), str(np.random.get_state())
    one = fitted(kind, **options).posterior(x)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert str(np.random.get_state()) == numpy_before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        again, other = fitted(kind, **options).posterior(x), fitted(kind, seed=1, **options).posterior(x)
    assert torch.equal(one.mean, again.mean)
    assert torch.equal(one.std, again.std)
    assert not torch.equal(one.std, other.std)


@pytest.mark.parametrize("kind", KINDS)
def test_fitting_again_starts_anew(kind: str) -> None:
    x, oracle = relaxed(5, torch.float32), built(kind)
    oracle.fit(LabelledDesigns(data(50).x, -data(50).y), seeded(4))
    oracle.fit(data(), seeded())
    assert torch.equal(oracle.posterior(x).conservative(), fitted(kind).posterior(x).conservative())


def test_prediction_needs_no_scikit_learn(tmp_path: Path) -> None:
    """It takes seconds to import, and a tuned sampler never needs it."""
    oracle, x = fitted("nystroem"), relaxed(5, torch.float32)
    save_file({**oracle.state().tensors, "x": x}, tmp_path / "state.safetensors")
    code = (
        "import sys\nsys.modules['sklearn'] = None\n"
        "from safetensors.torch import load_file\nfrom braid_core.interfaces import State\n"
        "from tests.rkhs.tables import built\n"
        f"tensors = load_file({str(tmp_path / 'state.safetensors')!r})\n"
        "oracle = built('nystroem')\noracle.load_state(State(tensors))\n"
        "print(oracle.posterior(tensors['x']).std.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(oracle.posterior(x).std.tolist())


def test_states_fit_their_own_features_alone() -> None:
    names = {kind: set(fitted(kind).state().tensors) for kind in KINDS}
    assert "features.projection" in names["nystroem"]
    assert "features.weight" in names["fourier"]
    assert any(name.startswith("features.mlp.") for name in names["learned"])
    shared = {"location", "scale", "ridge.factor", "ridge.coefficients", "ridge.unit", "ridge.residual"}
    assert all(shared <= own for own in names.values())
    assert isinstance(fitted("fourier").state(), State)
