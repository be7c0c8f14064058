"""Judging an oracle, and choosing the scale of its penalty, against worked examples and simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import Tensor

from braid_core.errors import DataError
from braid_core.experiment.calibration import (
    FEWEST,
    Beliefs,
    Shifted,
    beliefs,
    chosen_scale,
    conformal_scale,
    judge,
    shift,
    with_scale,
)
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State, Streams, Vectors
from braid_core.registry.spec import OracleSpec, ScaledOracleSpec
from tests.checks import seeded

CPU, SPACE = torch.device("cpu"), Vectors(2)


@dataclass(frozen=True)
class LinePosterior(Posterior):
    """The first coordinate, doubted by the second."""

    x: Tensor
    c: float

    @property
    def mean(self) -> Tensor:
        return self.x[:, 0]

    @property
    def std(self) -> Tensor:
        return self.x[:, 1].abs()

    @property
    def noise(self) -> Tensor | None:
        return torch.full((len(self.x),), 0.25)

    def conservative(self) -> Tensor:
        return self.mean - self.c * self.std


class Line(Oracle):
    """Learns nothing, but remembers what it was given."""

    def __init__(self, c: float) -> None:
        self.c, self.space, self.seen = c, SPACE, torch.empty(0)

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log = Silent()) -> None:  # noqa: B008
        self.seen = data.y
        FITTED.append(self)

    def posterior(self, x: Tensor) -> LinePosterior:
        return LinePosterior(x, self.c)

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        del state


FITTED: list[Line] = []


class LineSpec(ScaledOracleSpec):
    type: str = "line"

    def build(self, space: Space, device: torch.device) -> Line:
        return Line(self.scale)


class PlainSpec(OracleSpec):
    type: str = "plain"

    def build(self, space: Space, device: torch.device) -> Line:
        return Line(3.0)


def believed(mean: list[float], conservative: list[float] | None = None, **parts: Any) -> Beliefs:
    means = torch.tensor(mean)
    return Beliefs(means, torch.zeros_like(means), means if conservative is None else torch.tensor(conservative))


def table(n: int, seed: int = 0) -> LabelledDesigns:
    """Rewards around the first coordinate, spread twice as far as the second says."""
    generator = seeded(seed)
    x = torch.randn(n, 2, generator=generator)
    return LabelledDesigns(x, x[:, 0] + 2 * x[:, 1].abs() * torch.randn(n, generator=generator))


def test_judging_by_hand() -> None:
    y = torch.tensor([1.0, 3.0, 2.5, 2.0])
    found = judge(believed([1.0, 2.0, 3.0, 4.0], [0.5, 2.0, 2.0, 3.0]), y)
    assert found["rmse"] == pytest.approx(math.sqrt((0 + 1 + 0.25 + 4) / 4))
    assert found["spearman"] == pytest.approx(1 - 6 * (0 + 4 + 0 + 4) / (4 * 15))
    assert found["coverage"] == 0.75  # 2.0 is less than the promised 3
    assert found["width"] == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert found["slack"] == pytest.approx((0.5 + 1 + 0.5 - 1) / 4)
    assert found["pinball"] == pytest.approx((0.05 + 0.1 + 0.05 + 0.9) / 4)
    assert (found["nll"], found["n_held_out"]) == (None, 4)


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    y, bound = torch.randn(50, generator=seeded()), torch.randn(50, generator=seeded(1))
    found = judge(Beliefs(y, y, bound), y)
    assert found["pinball"] == pytest.approx(mean_pinball_loss(y.numpy(), bound.numpy(), alpha=0.1), rel=1e-5)


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    mean, std, y = (torch.randn(20, generator=seeded(seed)) for seed in range(3))
    variance = std.square() + 0.3
    found = judge(Beliefs(mean, std.abs(), mean, torch.full((20,), 0.3)), y)
    expected = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(y).mean()
    assert found["nll"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("mean", "y"), [([1.0, 2.0], [1.0, 2.0]), ([1.0] * 3, [1.0, 2.0, 3.0])])
def test_ranks_that_say_nothing_are_not_reported(mean: list[float], y: list[float]) -> None:
    assert judge(believed(mean), torch.tensor(y))["spearman"] is None


def test_a_promise_just_kept_is_kept() -> None:
    assert judge(believed([2.0, 2.0], [1.0, 0.5]), torch.tensor([1.0, 0.4]))["coverage"] == 0.5


def test_beliefs_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid_core.experiment.calibration.BLOCK", 7)
    x = torch.randn(20, 2, generator=seeded(), requires_grad=True)
    found, whole = beliefs(Line(1.5), x), LinePosterior(x.detach(), 1.5)
    assert torch.equal(found.mean, whole.mean)
    assert torch.equal(found.conservative, whole.conservative())
    assert found.noise is not None
    assert found.noise.shape == (20,)
    assert not found.mean.requires_grad


def test_the_scale_by_hand() -> None:
    """Nine designs need the scales 1 … 9: the ⌈10·0.9⌉ = 9th smallest covers a tenth; ⌈10·0.8⌉ = the 8th."""
    mean = torch.zeros(9)
    y, penalty = -torch.arange(1.0, 10) * 2, torch.full((9,), 2.0)
    assert conformal_scale(mean, penalty, y, 0.9) == 9
    assert conformal_scale(mean, penalty, y, 0.8) == 8


def test_the_scale_covers_what_is_promised() -> None:
    """The split-conformal guarantee, over many small tables: coverage in [.9, .9 + 1/(n + 1)] for continuous scores."""
    n, tables = 19, 4000
    generator = seeded()
    penalty = torch.rand(tables, n + 1, generator=generator) + 0.1
    y = penalty * torch.randn(tables, n + 1, generator=generator).exp().neg()  # skewed, and it does not matter
    hits = [
        float(y[k, -1] >= -conformal_scale(torch.zeros(n), penalty[k, :-1], y[k, :-1], 0.9) * penalty[k, -1])
        for k in range(tables)
    ]
    share = sum(hits) / tables
    assert 0.9 - 0.015 < share < 0.9 + 1 / (n + 1) + 0.015


def test_no_penalty_where_none_is_needed() -> None:
    assert 0 < conformal_scale(torch.zeros(9), torch.ones(9), torch.ones(9), 0.9) <= 0.01


def test_too_few_designs_promise_nothing() -> None:
    with pytest.raises(DataError, match=r"90% coverage from 8 held-out designs(.|\n)*at least 9"):
        conformal_scale(torch.zeros(8), torch.ones(8), torch.ones(8), 0.9)


@pytest.mark.parametrize("penalty", [0.0, math.nan])
def test_a_penalty_that_cannot_cover_says_so(penalty: float) -> None:
    with pytest.raises(DataError, match="no c makes the oracle cover 90%"):
        conformal_scale(torch.zeros(20), torch.full((20,), penalty), -torch.ones(20), 0.9)


def test_the_second_oracle_sees_the_lower_part_only() -> None:
    FITTED.clear()
    data = table(400)
    shifted = shift(LineSpec(c=7.0), data, SPACE, CPU, Streams(0), Silent())
    assert shifted is not None
    (oracle,) = FITTED
    assert oracle.c == 1
    assert len(shifted.y) == 100
    assert set(oracle.seen.tolist()).isdisjoint(shifted.y.tolist())
    assert float(oracle.seen.max()) <= shifted.threshold
    assert len(oracle.seen) == 240
    assert float((shifted.y > shifted.threshold).float().mean()) == pytest.approx(0.2, abs=0.08)  # all rewards are held


def test_groups_stay_on_one_side_of_the_shift() -> None:
    FITTED.clear()
    data = table(120)
    group = torch.arange(120) // 4
    shifted = shift(LineSpec(), LabelledDesigns(data.x, data.y, None, group), SPACE, CPU, Streams(0), Silent())
    assert shifted is not None
    of = dict(zip(data.y.tolist(), group.tolist(), strict=True))
    assert {of[y] for y in FITTED[0].seen.tolist()}.isdisjoint({of[y] for y in shifted.y.tolist()})


def test_small_tables_are_not_split_again() -> None:
    assert shift(LineSpec(), table(FEWEST - 1), SPACE, CPU, Streams(0), Silent()) is None
    with pytest.raises(DataError, match="too small to choose c"):
        chosen_scale(LineSpec(c="auto"), None)


def test_the_scale_is_that_of_the_designs_that_look_best() -> None:
    """500 held out: the best 100 by prediction; half of all would need no penalty."""
    generator = seeded()
    mean = torch.randn(500, generator=generator)
    y = mean - (mean > 0.5) * 3 * torch.rand(500, generator=generator)
    shifted = Shifted(Beliefs(mean, mean, mean - 1), y, 0.0)
    best = mean.topk(100).indices
    assert shifted.scale(0.9) == conformal_scale(mean[best], torch.ones(100), y[best], 0.9)
    assert shifted.scale(0.9) == pytest.approx(2.7, abs=0.2)


def test_a_scale_from_data_finds_the_spread() -> None:
    """Rewards spread twice as far as the penalty says: 90 % of a normal lie above −1.2816 sd."""
    shifted = shift(LineSpec(c="auto"), table(20_000), SPACE, CPU, Streams(0), Silent())
    assert chosen_scale(LineSpec(c="auto"), shifted) == pytest.approx(2 * 1.2816, rel=0.06)
    assert chosen_scale(LineSpec(c="auto", coverage=0.8), shifted) == pytest.approx(2 * 0.8416, rel=0.06)


def test_the_figures_at_a_scale_are_those_of_the_top() -> None:
    x = torch.randn(50, 2, generator=seeded())
    y = torch.randn(50, generator=seeded(1))
    shifted = Shifted(beliefs(Line(1.0), x), y, 0.5)
    assert shifted.judge(2.5) == pytest.approx(judge(beliefs(Line(2.5), x[y > 0.5]), y[y > 0.5]), rel=1e-5)


def test_a_number_stays_and_an_oracle_without_a_scale_has_none() -> None:
    assert chosen_scale(LineSpec(c=0.3), None) == 0.3
    assert chosen_scale(PlainSpec(), None) is None
    assert with_scale(PlainSpec(), None) == PlainSpec()
    assert with_scale(LineSpec(c="auto", coverage=0.8), 2.0) == LineSpec(c=2.0)
