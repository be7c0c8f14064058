"""The Gaussian backbone: real units, images, its state, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_continuous import GaussianSpec
from braid_continuous.backbone import GaussianBackbone
from pydantic import ValidationError
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import Images, Space, Tokens, Vectors
from braid_core.tuning.rollout import rollout
from tests.checks import seeded

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"steps": 10, "train_steps": 100, "learning_rate": 5e-3, "network": {"width": 32}}
LOCATION, SCALE = torch.tensor([40.0, -3e-4, 1e6]), torch.tensor([7.0, 2e-5, 1e3])


def untrained(space: Space | None = None, **options: Any) -> GaussianBackbone:
    return GaussianSpec(**{**QUICK, **options}).build(space or Vectors(3), CPU)


def fitted(designs: Tensor, space: Space | None = None, **options: Any) -> GaussianBackbone:
    model = untrained(space, **options)
    model.fit(designs, seeded())
    return model


def drawn(model: GaussianBackbone, n: int = 500, seed: int = 0) -> Tensor:
    with torch.no_grad():
        return model.decode(rollout(model.process, model.predict, n, seeded(seed)).x)


def correlated(n: int, seed: int = 0) -> Tensor:
    """Standard normal, with a correlation of .8 between the first two."""
    z = torch.randn(n, 3, generator=seeded(seed))
    return torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1], z[:, 2]], 1)


def test_designs_are_learned_in_their_own_units() -> None:
    """Means from 1e-4 to 1e6; the samples keep location, scale and correlation."""
    model = fitted(LOCATION + SCALE * correlated(2000), steps=30, train_steps=500, network={"width": 64})
    z = (drawn(model, 4000) - LOCATION) / SCALE
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=0.12)
    torch.testing.assert_close(z.std(0), torch.ones(3), rtol=0, atol=0.12)
    assert float(torch.corrcoef(z.T)[0, 1]) == pytest.approx(0.8, abs=0.08)


def test_units_change_nothing_but_units() -> None:
    """The same designs in other units: equal networks, and samples that differ by the change of units alone."""
    designs = correlated(200).double()
    one, other = fitted(designs.float()), fitted((8 * designs + 64).float())
    torch.testing.assert_close(drawn(other), 8 * drawn(one) + 64, rtol=1e-3, atol=1e-2)


def test_encoding_standardises_and_decoding_undoes_it() -> None:
    designs = LOCATION + SCALE * correlated(400)
    model = fitted(designs, train_steps=1)
    z = model.encode(designs)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), rtol=1e-3, atol=0)
    torch.testing.assert_close(model.decode(z), designs, rtol=1e-5, atol=1e-7)
    z.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(model.decode(z).sum(), z)[0][0], model.scaling.scale)


def test_what_never_varies_is_kept_exactly() -> None:
    designs = torch.cat([correlated(100)[:, :2], torch.full((100, 1), 0.1)], 1)
    model = fitted(designs, train_steps=20)
    assert torch.equal(drawn(model)[:, 2], torch.full((500,), 0.1))
    assert torch.equal(model.decode(model.encode(designs))[:, 2], designs[:, 2])


def test_a_twin_of_a_fitted_model_keeps_its_scaling_and_others_learn_their_own() -> None:
    """Chains of one scaling run on the same latents: there is a KL of one to the other, whatever the twin has seen."""
    designs = LOCATION + SCALE * correlated(200)
    model = fitted(designs, train_steps=1)
    reloaded = untrained(train_steps=1)
    reloaded.load_state(model.state())
    for known in (model, reloaded):
        twin = known.fresh(None)
        twin.fit(2 * designs[:50] + 7, seeded())
        assert torch.equal(twin.decode(designs), model.decode(designs))
    own = untrained(train_steps=1).fresh(None)
    own.fit(designs, seeded())
    model.fit(designs, seeded())
    assert torch.equal(own.scaling.scale, model.scaling.scale)


def test_a_design_of_weight_zero_does_not_move_the_scaling() -> None:
    designs = torch.cat([correlated(100), 1e4 + correlated(100)])
    model, other = untrained(train_steps=1), untrained(train_steps=1)
    model.fit(designs, seeded(), weights=torch.tensor([1.0] * 100 + [0.0] * 100))
    other.fit(designs[:100], seeded())
    assert torch.equal(model.scaling.scale, other.scaling.scale)
    assert torch.equal(model.scaling.location, other.scaling.location)


def bars(n: int, low: float = 0.0, high: float = 255.0) -> Tensor:
    """Images 1×8×8, dark but for one bright row or column."""
    x, place = torch.full((n, 1, 8, 8), low), torch.arange(n) % 16
    for i, at in enumerate(place.tolist()):
        x[(i, 0, at) if at < 8 else (i, 0, slice(None), at - 8)] = high
    return x


def barred(x: Tensor) -> float:
    """The share of images in which one row or column is bright and none else is half as bright."""
    lines = torch.cat([x.mean(3)[:, 0], x.mean(2)[:, 0]], 1)
    bright, following = lines.topk(2, 1).values.T
    return float(((bright > 128) & (following < 0.5 * bright)).float().mean())


def test_images_are_drawn_in_their_own_range() -> None:
    """Grey values 0 to 255. A short training learns what independent pixels never show: a bright line on the dark."""
    model = fitted(bars(320), Images(1, 8, 8), train_steps=250, batch=32, steps=20, network={"width": 8})
    torch.testing.assert_close(model.encode(bars(16)), bars(16, -1.0, 1.0))
    x = drawn(model, 200)
    assert x.shape == (200, 1, 8, 8)
    independent = 255 * torch.bernoulli(bars(16).mean(0).expand_as(x) / 255, generator=seeded())
    assert barred(independent) < 0.02
    assert barred(x) > 0.3


def test_each_channel_has_its_own_range() -> None:
    designs = torch.cat([bars(32), bars(32, -1e-3, 3e-3)], 1)
    model = fitted(designs, Images(2, 8, 8), train_steps=1, network={"width": 8})
    torch.testing.assert_close(model.encode(designs), bars(32, -1.0, 1.0).expand(-1, 2, -1, -1))


def test_clipped_images_stay_in_the_range_of_the_training_images() -> None:
    """But for the noise of the last step."""
    free, clipped = (fitted(bars(64), Images(1, 8, 8), train_steps=5, clip=clip, last_noise=0.0) for clip in (0, 1))
    assert float(drawn(clipped, 50).min()) >= -0.01
    assert float(drawn(clipped, 50).max()) <= 255.01
    assert float(drawn(free, 50).max()) > 300


def test_a_run_of_the_model_is_its_generators() -> None:
    designs = correlated(100)
    one, again = fitted(designs), fitted(designs)
    assert torch.equal(drawn(one), drawn(again))
    assert not torch.equal(drawn(one), drawn(one, seed=1))


def test_it_is_reopened_with_its_units() -> None:
    model, empty = fitted(LOCATION + SCALE * correlated(100)), untrained()
    state = model.state()
    empty.load_state(state)
    assert torch.equal(drawn(empty), drawn(model))
    model.scaling.scale.mul_(2)
    assert torch.equal(state.tensors["scaling.scale"] * 2, model.scaling.scale)


def test_opened_and_twinned_models_know_the_units_they_should() -> None:
    """A tuned copy, and a twin, decode as the pretrained one."""
    model = fitted(LOCATION + SCALE * correlated(100))
    z = torch.ones(2, 3)
    assert torch.equal(model.tunable().tuned.decode(z), model.decode(z))
    assert torch.equal(model.fresh(None).decode(z), model.decode(z))


def test_the_spec_reaches_the_chain() -> None:
    options = {"prediction": "x0", "schedule": "linear", "eta": 0.5, "last_noise": 0.1}
    process = untrained(steps=7, **options).process
    assert {name: getattr(process, name) for name in options} == options
    assert process.steps == 7
    assert process.clip is None
    assert untrained(variance="large").process.variance == "large"
    assert untrained(Images(1, 8, 8), clip=True).process.clip == 1


def test_the_defaults_can_be_tuned() -> None:
    assert GaussianSpec().build(Vectors(2), CPU).process.tunable


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_designs_are_refused(n: int) -> None:
    with pytest.raises(DataError, match=rf"{n} design"):
        fitted(torch.zeros(n, 3))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_designs_that_are_not_finite_are_refused(bad: float) -> None:
    designs = correlated(10)
    designs[4, 1] = bad
    with pytest.raises(DataError, match=r"NaN or infinite(.|\n)*design 5(.|\n)*1 of 10"):
        fitted(designs)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(1, 6, 8\)(.|\n)*\(1, 8, 8\)"):
        fitted(torch.zeros(10, 1, 6, 8), Images(1, 8, 8))


def test_tokens_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="vectors and images, not on Tokens"):
        untrained(Tokens("ACGT", 4))


def test_clipping_is_for_images() -> None:
    with pytest.raises(UnsupportedError, match="clip"):
        untrained(clip=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"variance": "large", "eta": 0.5}, "eta"),
        ({"prediction": "epsilon"}, "linear"),
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"eta": 1.5}, "eta"),
        ({"last_noise": -0.1}, "last_noise"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        GaussianSpec(**options)
