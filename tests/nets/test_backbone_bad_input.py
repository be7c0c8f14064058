"""Every mistake with a backbone's designs, conditions and weights, for all that are shipped: told, with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_discrete import MaskedSpec, UniformSpec
from braid_simplex import SimplexSpec
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from braid_core.errors import BraidError, DataError, StoreError, UnsupportedError
from braid_core.interfaces import Backbone, Condition, ConditionSpec, Images, Space, State, Tokens, Vectors
from braid_core.nets.wrapped import WrappedBackbone
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.doubles import GaussianChain

CPU = torch.device("cpu")
SCALAR = ConditionSpec("scalar", 1)
N = 12
SHORT, TINY = Tokens("ACGT", 3), {"network": {"width": 8, "depth": 1}, "train_steps": 1}
BUILDS: dict[str, tuple[Callable[[Space], Backbone], Space]] = {
    "masked": (lambda space: MaskedSpec(**TINY).build(space, CPU), SHORT),
    "uniform": (lambda space: UniformSpec(steps=4, **TINY).build(space, CPU), SHORT),
    "simplex": (lambda space: SimplexSpec(steps=4, **TINY).build(space, CPU), SHORT),
    "gaussian-vectors": (lambda space: GaussianSpec(steps=4, **TINY).build(space, CPU), Vectors(3)),
    "gaussian-images": (lambda space: GaussianSpec(steps=4, **TINY).build(space, CPU), Images(1, 4, 4)),
}
LETTERS = ("masked", "uniform", "simplex")


@pytest.fixture(params=BUILDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> Backbone:
    build, space = BUILDS[name]
    return build(space)


def designs(model: Backbone, n: int = N) -> Tensor:
    return model.process.space.random(n, seeded())


def told(n: int) -> Condition:
    return Condition(torch.ones(n, 1), torch.zeros(n, dtype=torch.bool))


def wider(space: Space) -> Space:
    """Another space of the same kind."""
    if isinstance(space, Tokens):
        return Tokens(space.alphabet, space.length + 1)
    return Vectors(4) if isinstance(space, Vectors) else Images(2, 4, 4)


def test_no_designs(model: Backbone) -> None:
    with pytest.raises(DataError, match=r"0 design\(s\) are too few(.|\n)*at least two"):
        model.fit(designs(model, 0), seeded())


def test_designs_of_another_shape(model: Backbone) -> None:
    other = wider(model.process.space)
    with pytest.raises(DataError) as error:
        model.fit(other.random(N, seeded()), seeded())
    assert str(other.event_shape) in str(error.value)
    assert str(model.process.space.event_shape) in str(error.value)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_designs_that_are_not_finite(model: Backbone, bad: float) -> None:
    x = designs(model)
    x[4].view(-1)[1] = bad
    with pytest.raises(DataError, match=r"design 5(.|\n)*1 of 12 designs"):
        model.fit(x, seeded())


@pytest.mark.parametrize("name", LETTERS, indirect=False)
def test_letters_that_are_none(name: str) -> None:
    """As text they are refused by the space; as numbers by the backbone."""
    build, space = BUILDS[name]
    with pytest.raises(DataError, match=r"letter 'N' is not in the alphabet 'ACGT'(.|\n)*design 2, position 3"):
        space.encode(["ACG", "ACN"])
    model = build(space)
    for row in (torch.full((3, 4), 0.25), torch.zeros(3, 4), torch.ones(3, 4)):
        x = designs(model)
        x[6] = row
        with pytest.raises(DataError, match=r"letters of the alphabet(.|\n)*design 7(.|\n)*'ACGT'"):
            model.fit(x, seeded())


def test_gaps_inside_a_design_of_unequal_length() -> None:
    space = Tokens("ACGT-", 3, pad="-")
    x = Tokens("ACGT-", 3).encode(["ACG", "A-G"]).repeat(4, 1, 1)
    with pytest.raises(DataError, match=r"design 2(.|\n)*4 of 8(.|\n)*'-' at their end"):
        MaskedSpec(**TINY).build(space, CPU).fit(x, seeded())


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 8 + [-2.0] + [1.0] * 3, r"design 9: -2(.|\n)*not negative"),
        ([1.0] * 11 + [torch.nan], r"design 12: nan(.|\n)*finite"),
        ([1.0] * 11 + [torch.inf], r"design 12: inf(.|\n)*finite"),
        ([0.0] * 12, r"0 design(.|\n)*12 of them with a weight of 0"),
        ([1.0] * 11, r"weights of 12 designs(.|\n)*\(11,\)"),
    ],
    ids=["negative", "nan", "infinite", "zero", "too few"],
)
def test_weights_that_cannot_be(model: Backbone, weights: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        model.fit(designs(model), seeded(), weights=torch.tensor(weights))


def test_a_condition_for_an_unconditional_model(model: Backbone) -> None:
    for wrong in (
        lambda: model.fit(designs(model), seeded(), conditions=told(N)),
        lambda: rollout(model.process, model.predict, N, seeded(), condition=told(N)),
    ):
        with pytest.raises(UnsupportedError, match=r"a condition was given to an unconditional model(.|\n)*fresh\("):
            wrong()


def test_a_conditional_model_without_conditions(model: Backbone) -> None:
    twin = model.fresh(SCALAR)
    for wrong in (
        lambda: twin.fit(designs(model), seeded()),
        lambda: rollout(twin.process, twin.predict, N, seeded()),
    ):
        with pytest.raises(UnsupportedError, match="a conditional model was asked without a condition"):
            wrong()


@pytest.mark.parametrize("n", [N - 1, N + 1])
def test_another_number_of_conditions_than_of_designs(model: Backbone, n: int) -> None:
    twin = model.fresh(SCALAR)
    with pytest.raises(UnsupportedError, match=rf"\({n}, 1\)(.|\n)*\({N}, 1\)"):
        twin.fit(designs(model), seeded(), conditions=told(n))
    with torch.no_grad(), pytest.raises(UnsupportedError, match=rf"{n} condition\(s\) were given for {N} designs"):
        rollout(twin.process, twin.predict, N, seeded(), condition=told(n))


def test_conditions_that_are_nan(model: Backbone) -> None:
    conditions = told(N)
    conditions.values[2] = torch.nan
    twin = model.fresh(SCALAR)
    with pytest.raises(DataError, match=r"conditions(.|\n)*design 3(.|\n)*null"):
        twin.fit(designs(model), seeded(), conditions=conditions)
    twin.fit(designs(model), seeded(), conditions=Condition(conditions.values, conditions.values[:, 0].isnan()))


def test_the_state_of_another_space(name: str, model: Backbone) -> None:
    build, space = BUILDS[name]
    with pytest.raises(StoreError, match=r"has shape|is expected"):
        model.load_state(build(wider(space)).state())


def test_the_state_of_another_network(model: Backbone) -> None:
    state = model.state()
    first = next(iter(state.tensors))
    with pytest.raises(StoreError, match=r"missing"):
        model.load_state(State({}, state.meta))
    with pytest.raises(StoreError, match=r"NaN(.|\n)*diverged"):
        model.load_state(State({**state.tensors, first: torch.nan * state.tensors[first]}, state.meta))


@pytest.mark.parametrize(
    ("scaling", "words"), [({}, "location is missing"), ({"scaling.location": torch.zeros(7)}, r"\(7,\)")]
)
def test_a_gaussian_state_with_another_scaling(scaling: dict[str, Tensor], words: str) -> None:
    build, space = BUILDS["gaussian-vectors"]
    state = build(space).state()
    network = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("scaling")}
    with pytest.raises(StoreError, match=words):
        build(space).load_state(State({**network, **scaling}, state.meta))


class Linear(nn.Module):
    """Somebody's network over vectors of three numbers."""

    def __init__(self, condition: ConditionSpec | None = None, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def opened(file: Path) -> Tensor:
    model = WrappedBackbone(GaussianChain(3, 4), Linear, CPU, weights=file)
    return model.predict(torch.zeros(1, 3), torch.ones(1))


def test_a_weights_file_of_another_architecture(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(Linear(width=5).state_dict(), file)
    with pytest.raises(StoreError, match=r"Linear(.|\n)*layer.weight has shape \(5, 5\), not \(3, 3\)"):
        opened(file)
    save_file(nn.Conv1d(3, 3, 1).state_dict(), file)
    with pytest.raises(
        StoreError, match=r"layer.weight \(3, 3\) is missing(.|\n)*weight \(3, 3, 1\) is not part of it"
    ):
        opened(file)


def test_a_damaged_weights_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(Linear().state_dict(), file)
    whole = file.read_bytes()
    assert opened(file).shape == (1, 3)
    for damaged in (b"", b"PK\x03\x04 a zip file", whole[:-8], whole[8:], whole[:8] + b"\xff" * (len(whole) - 8)):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"cannot be read(.|\n)*weights.safetensors(.|\n)*save_file"):
            opened(file)
    file.write_bytes(whole)
    save_file({name: torch.nan * tensor for name, tensor in load_file(file).items()}, file)
    with pytest.raises(StoreError, match="the weights hold NaN"):
        opened(file)


def test_a_weights_file_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(StoreError, match="cannot be read"):
            opened(path)


def test_final_weights_are_not_given_just_any_designs() -> None:
    """Though nothing is trained, what does not fit would not be told before it is drawn."""
    model = WrappedBackbone(GaussianChain(3, 4), Linear, CPU, weights=Linear().state_dict())
    for x in (torch.zeros(4, 2), torch.full((4, 3), torch.nan)):
        with pytest.raises(BraidError):
            model.fit(x, seeded())
