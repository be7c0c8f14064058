"""The chain against the schedulers of diffusers (values made by ``make_scheduler_values.py``) and published numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from braid_continuous.process import GaussianProcess
from braid_continuous.schedule import TIMES, signals
from torch import Tensor

from braid_core.interfaces import Vectors

VALUES: dict[str, Any] = json.loads(Path(__file__).with_name("scheduler_values.json").read_text())
PREDICTIONS = ["epsilon", "x0", "v"]


def chain(case: dict[str, Any]) -> GaussianProcess:
    """Without noise in the last step, as theirs; but diffusers adds β in it if the variance is the large one and the
    steps do not end at the first training time, which is our ``last_noise = 1``."""
    eta = 1.0 if case["eta"] is None else case["eta"]
    end = 1.0 if case["variance"] == "large" and case["steps"] < TIMES else 0.0
    return GaussianProcess(
        Vectors(2), case["steps"], case["prediction"], case["schedule"], eta, case["variance"], last_noise=end
    )


def inputs(dtype: torch.dtype) -> list[Tensor]:
    return [torch.tensor(VALUES["inputs"][name], dtype=dtype) for name in ("x", "out", "noise")]


def gap(found: Tensor, expected: list[list[float]]) -> float:
    """The largest error, relative for numbers above 1."""
    known = torch.tensor(expected, dtype=torch.float64)
    return float(((found - known).abs() / known.abs().clamp(min=1)).max())


def errors(prediction: str, double: bool, schedule: str) -> list[float]:
    """Of the next state and of x̂0, in all stored cases: DDPM with both variances, DDIM with eta 0, .5 and 1."""
    cases = [
        case
        for case in VALUES["cases"]
        if (case["prediction"], case["double"], case["schedule"]) == (prediction, double, schedule)
    ]
    assert len(cases) == (60 if double else 20)
    found = []
    for case in cases:
        x, out, noise = inputs(torch.float64 if double else torch.float32)
        process = chain(case)
        found.append(gap(process.transition(out, x, case["k"]).rsample(noise), case["next"]))
        found.append(gap(process.denoised(out, x, case["k"]), case["x0"]))
    return found


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_steps_are_those_of_diffusers_in_double_precision(prediction: str, schedule: str) -> None:
    """diffusers clamps a variance of 0 to 1e-20, a standard deviation of 1e-10."""
    assert max(errors(prediction, True, schedule)) < 1e-9


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("schedule", "rounding"), [("linear", 2e-6), ("cosine", 2e-5)])
def test_steps_are_those_of_diffusers_in_single_precision(prediction: str, schedule: str, rounding: float) -> None:
    """Their tables are single, ours double: the rest is their rounding of ᾱ (relatively 1e-5 at the end of cosine)."""
    assert max(errors(prediction, False, schedule)) < rounding


@pytest.mark.parametrize("steps", sorted(map(int, VALUES["spacing"])))
def test_times_are_spaced_as_trailing(steps: int) -> None:
    process = GaussianProcess(Vectors(1), steps)
    assert [round(process.time(k) * TIMES) - 1 for k in range(steps)] == VALUES["spacing"][str(steps)]


def test_signals_are_the_published_ones() -> None:
    """ᾱ at the training times 0, 1, 10, 100, 500, 999 of linear betas, in single precision."""
    published = [0.9998999834, 0.9997800589, 0.9978064895, 0.8951413631, 0.0777966529, 4.035830352e-05]
    found = signals("linear")[1:][[0, 1, 10, 100, 500, 999]]
    torch.testing.assert_close(found, torch.tensor(published, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("schedule", "rounding"), [("linear", 1e-6), ("cosine", 2e-5)])
def test_signals_are_those_of_diffusers(schedule: Any, rounding: float) -> None:
    known = torch.tensor(VALUES["signals"][schedule], dtype=torch.float64)
    found = signals(schedule)[1:][VALUES["indices"]]
    torch.testing.assert_close(found, known, rtol=rounding, atol=0)
    assert float(signals(schedule)[0]) == 1
