"""Judging an oracle, and choosing the scale of its penalty, against worked examples and simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from braid_rkhs import RKHSSpec
from sklearn.metrics import mean_pinball_loss
from torch import Tensor

from braid_core.errors import DataError
from braid_core.experiment.calibration import (
    FEWEST,
    FEWEST_HELD_OUT,
    LOWER,
    SCALES,
    Calibration,
    Rehearsal,
    calibrate,
    rehearse,
    with_scale,
)
from braid_core.experiment.promise import Beliefs, Promise, beliefs, conformal_scale, judge, promised
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State, Streams, Vectors
from braid_core.registry.spec import OracleSpec, ScaledOracleSpec
from tests.checks import seeded

CPU, SPACE, PLAIN = torch.device("cpu"), Vectors(2), Promise(1.0)


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

    def __init__(self, c: float, refuses: bool = False) -> None:
        self.c, self.space, self.seen, self.refuses = c, SPACE, torch.empty(0), refuses

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log = Silent()) -> None:  # noqa: B008
        self.seen = data.y
        FITTED.append(self)
        if self.refuses:
            data.merged(SPACE)

    def posterior(self, x: Tensor) -> LinePosterior:
        return LinePosterior(x, self.c)

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        del state


FITTED: list[Line] = []


class LineSpec(ScaledOracleSpec):
    type: str = "line"
    refuses: bool = False

    def build(self, space: Space, device: torch.device) -> Line:
        return Line(self.scale, self.refuses)


class PlainSpec(OracleSpec):
    type: str = "plain"

    def build(self, space: Space, device: torch.device) -> Line:
        return Line(3.0)


def believed(mean: list[float], conservative: list[float] | None = None) -> Beliefs:
    means = torch.tensor(mean)
    return Beliefs(means, 0 * means, 0 * means if conservative is None else means - torch.tensor(conservative))


def rehearsed(spec: OracleSpec, data: LabelledDesigns, quantile: float = LOWER) -> Rehearsal:
    return rehearse(spec, data, quantile, SPACE, CPU, Streams(0), Silent())


def calibrated(spec: OracleSpec, data: LabelledDesigns) -> Calibration:
    return calibrate(spec, data, SPACE, CPU, Streams(0), Silent())


def table(n: int, seed: int = 0) -> LabelledDesigns:
    """Rewards around the first coordinate, spread twice as far as the second says."""
    generator = seeded(seed)
    x = torch.randn(n, 2, generator=generator)
    return LabelledDesigns(x, x[:, 0] + 2 * x[:, 1].abs() * torch.randn(n, generator=generator))


def test_judging_by_hand() -> None:
    y = torch.tensor([1.0, 3.0, 2.5, 2.0])
    found = judge(believed([1.0, 2.0, 3.0, 4.0], [0.5, 2.0, 2.0, 3.0]), y, PLAIN)
    assert found["rmse"] == pytest.approx(math.sqrt((0 + 1 + 0.25 + 4) / 4))
    assert found["spearman"] == pytest.approx(1 - 6 * (0 + 4 + 0 + 4) / (4 * 15))
    assert found["coverage"] == 0.75  # 2.0 is less than the promised 3
    assert found["width"] == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert found["slack"] == pytest.approx((0.5 + 1 + 0.5 - 1) / 4)
    assert found["pinball"] == pytest.approx((0.05 + 0.1 + 0.05 + 0.9) / 4)
    assert (found["nll"], found["n_held_out"]) == (None, 4)


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    y, bound = torch.randn(50, generator=seeded()), torch.randn(50, generator=seeded(1))
    found = judge(Beliefs(y, y, (y - bound) / 3), y, Promise(3.0))
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
    assert judge(believed([2.0, 2.0], [1.0, 0.5]), torch.tensor([1.0, 0.4]), PLAIN)["coverage"] == 0.5


def test_beliefs_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid_core.experiment.promise.BLOCK", 7)
    x = torch.randn(20, 2, generator=seeded(), requires_grad=True)
    found, whole = beliefs(Line(1.5), x), LinePosterior(x.detach(), 1.5)
    assert torch.equal(found.mean, whole.mean)
    torch.testing.assert_close(found.conservative(1.0), whole.conservative())
    assert found.noise is not None
    assert found.noise.shape == (20,)
    assert not found.mean.requires_grad


def test_the_scale_by_hand() -> None:
    """Nine designs need the scales 1 … 9: the ⌈10·.9⌉ = 9th smallest covers a tenth; of nineteen the ⌈20·.9⌉ = 18th."""
    for n, expected in ((FEWEST_HELD_OUT, 9), (19, 18)):
        y = -torch.arange(1.0, n + 1) * 2
        assert conformal_scale(torch.zeros(n), torch.full((n,), 2.0), y) == expected


def test_the_scale_covers_what_is_promised() -> None:
    """The split-conformal guarantee, over many small tables: coverage in [.9, .9 + 1/(n + 1)] for continuous scores."""
    n, tables = 19, 4000
    generator = seeded()
    width = torch.rand(tables, n + 1, generator=generator) + 0.1
    y = width * torch.randn(tables, n + 1, generator=generator).exp().neg()  # skewed, and it does not matter
    hits = [
        float(y[k, -1] >= -conformal_scale(torch.zeros(n), width[k, :-1], y[k, :-1]) * width[k, -1])
        for k in range(tables)
    ]
    share = sum(hits) / tables
    assert 0.9 - 0.015 < share < 0.9 + 1 / (n + 1) + 0.015


def test_where_even_the_prediction_is_too_low_the_scale_is_negative() -> None:
    assert conformal_scale(torch.zeros(9), torch.full((9,), 2.0), torch.arange(9.0) + 1) == -0.5


@pytest.mark.parametrize("width", [0.0, math.nan, math.inf])
def test_no_scale_covers_without_a_width(width: float) -> None:
    assert conformal_scale(torch.zeros(20), torch.full((20,), width), -torch.ones(20)) == math.inf
    one = torch.full((20,), 1.0)
    one[3] = width
    assert conformal_scale(torch.zeros(20), one, -torch.ones(20)) == 1  # one of twenty may be missed


def test_a_promise_by_hand() -> None:
    """Predicted 2 with ĝ = 1 at c = 1 (half of what it is at c = 2): 2 − 3·(1 + 0.5)."""
    posterior = LinePosterior(torch.tensor([[2.0, 1.0]]), c=2.0)
    assert promised(Promise(3.0, 0.5), posterior, 2.0).tolist() == [-2.5]
    assert promised(None, posterior, 2.0).isnan().all()


def test_a_rehearsal_sees_the_lower_part_only() -> None:
    FITTED.clear()
    found = rehearsed(LineSpec(c=7.0), table(400))
    (oracle,) = FITTED
    assert oracle.c == 1
    assert len(found.y) == 100
    assert set(oracle.seen.tolist()).isdisjoint(found.y.tolist())
    assert float(oracle.seen.max()) <= found.cap
    assert len(oracle.seen) == 240
    assert float((found.y > found.cap).float().mean()) == pytest.approx(0.2, abs=0.08)  # all rewards are held out


def test_groups_stay_on_one_side_of_a_rehearsal() -> None:
    FITTED.clear()
    data = table(120)
    group = torch.arange(120) // 4
    found = rehearsed(LineSpec(), LabelledDesigns(data.x, data.y, None, group))
    of = dict(zip(data.y.tolist(), group.tolist(), strict=True))
    assert {of[y] for y in FITTED[0].seen.tolist()}.isdisjoint({of[y] for y in found.y.tolist()})


def test_the_promise_is_that_of_the_designs_that_look_best() -> None:
    """500 held out: the best 100 by prediction; half of all would need no penalty."""
    generator = seeded()
    mean = torch.randn(500, generator=generator)
    y = mean - (mean > 0.5) * 3 * torch.rand(500, generator=generator)
    found = Rehearsal(Beliefs(mean, mean, torch.ones(500)), y, 0.0)
    best = mean.topk(100).indices
    assert sorted(found.liked.tolist()) == sorted(best.tolist())
    assert found.floor == 1
    assert found.needs(0.0) == conformal_scale(mean[best], torch.ones(100), y[best])
    assert found.needs(0.0) == pytest.approx(2.7, abs=0.2)
    assert found.needs(1.0) == pytest.approx(found.needs(0.0) / 2)


def test_a_few_designs_that_are_wrongly_sure_do_not_set_the_promise_of_all() -> None:
    """A tenth and one of the designs fall short by 1 with hardly any penalty: without a floor, they set the scale."""
    mean, penalty = torch.arange(100.0), torch.ones(100)
    penalty[::9] = 0.001
    y = mean - torch.where(penalty < 1, 1.0, 0.5)
    found = Rehearsal(Beliefs(mean, penalty, penalty), y, 0.0)
    assert found.needs(0.0) == pytest.approx(1000, rel=1e-4)
    assert found.needs(found.floor) == pytest.approx(1 / found.floor, rel=0.01)


def test_no_more_is_promised_than_is_expected_and_nothing_of_what_is_no_number() -> None:
    mean = torch.arange(20.0)
    better = Rehearsal(Beliefs(mean, mean, torch.ones(20)), mean + 1, 0.0)
    assert better.needs(1.0) < 0
    assert Calibration(better, better).promise() == Promise(0.0, 1.0)
    lost = Rehearsal(Beliefs(torch.full((20,), math.nan), mean, mean), mean, 0.0)
    assert Calibration(better, lost).promise() is None
    odd = torch.cat([torch.ones(19), torch.tensor([math.inf])])
    assert Rehearsal(Beliefs(mean, mean, odd), mean, 0.0).floor == 1


def doubtful(wrong: int = 10) -> Rehearsal:
    """200 held out, of which 40 are delivered: the best by prediction, of which the ``wrong`` most doubted are bad."""
    mean = torch.cat([torch.full((40,), 2.0), torch.ones(40), torch.zeros(120)]) + torch.linspace(0.01, 0, 200)
    penalty = torch.cat([torch.linspace(0, 0.1, 40 - wrong), torch.full((wrong,), 3.0), torch.zeros(160)])
    y = mean + 0.1 * torch.randn(200, generator=seeded())
    y[40 - wrong : 40] -= 5
    return Rehearsal(Beliefs(mean, penalty, penalty), y, 0.0)


def test_the_choice_at_a_scale_by_hand() -> None:
    found = doubtful()
    assert found.chosen(0.0).nonzero().flatten().tolist() == list(range(40))
    assert found.chosen(1.0).nonzero().flatten().tolist() == [*range(30), *range(40, 50)]
    gain, error = found._difference(found.chosen(1.0), found.chosen(0.0))
    new, old = found.y[40:50], found.y[30:40]
    assert gain == pytest.approx(float((new.sum() - old.sum()) / 40), rel=1e-5)
    centre = found.y[:50].mean()
    assert error == pytest.approx(float(torch.cat([new, old]).sub(centre).square().sum().sqrt()) / 40, rel=1e-5)
    assert found._difference(found.chosen(1.0), found.chosen(1.0)) == (0, 0)


def test_pessimism_goes_as_far_as_it_chooses_no_worse_designs() -> None:
    """At 1/2 the bad ones are passed over; at 16 good ones are, because they are doubted a little."""
    assert doubtful().harmless() == 8
    mean = doubtful().beliefs.mean
    harmful = Rehearsal(Beliefs(mean, mean, mean), mean, 0.0)  # doubts the best most
    assert harmful.harmless() == 0.5
    constant = Rehearsal(Beliefs(mean, mean, torch.ones(200)), mean, 0.0)  # chooses nothing, at any scale
    assert constant.harmless() == SCALES[-1]


def test_designs_in_endless_doubt_are_chosen_by_nothing_but_their_prediction() -> None:
    mean = torch.arange(100.0)
    penalty = torch.where(mean > 94, torch.inf, 0.0)
    found = Rehearsal(Beliefs(mean, mean, penalty), mean, 0.0)
    assert found.chosen(0.0).nonzero().flatten().tolist() == list(range(80, 100))
    assert found.chosen(1.0).nonzero().flatten().tolist() == list(range(75, 95))
    assert found.harmless() == 0


@pytest.mark.parametrize("m", [12, 13, 40, 50, 60, 225])
def test_pessimism_is_not_free_where_the_table_is_small(m: int) -> None:
    """A penalty that doubts the best designs is seen to be harmful with few designs too."""
    for seed in range(20):
        mean = torch.randn(m, generator=seeded(seed))
        y = mean + 0.3 * torch.randn(m, generator=seeded(seed + 100))
        assert Rehearsal(Beliefs(mean, mean, (mean - mean.min()).square()), y, 0.0).harmless() <= 2


def test_pessimism_ends_where_the_conservative_reward_is_a_bound() -> None:
    """A penalty of 1 chooses nothing; what it is worth follows from how far the liked designs fall short: 2.5."""
    mean = torch.arange(100.0)
    part = Rehearsal(Beliefs(mean, mean, torch.ones(100)), mean - 2.5, 0.0)
    found, spec = Calibration(part, part), LineSpec(c="auto")
    assert part.harmless() == SCALES[-1]
    assert found.scale(spec) == 2
    sound = Rehearsal(part.beliefs, mean + 1, 0.0)
    assert Calibration(sound, sound).scale(spec) == SCALES[0]
    assert Calibration(sound, part).scale(spec) == 2


def test_a_rehearsal_is_judged_where_it_matters() -> None:
    x = torch.randn(200, 2, generator=seeded())
    y = torch.randn(200, generator=seeded(1))
    whole = beliefs(Line(1.0), x)
    found = Rehearsal(whole, y, 0.5).judge()
    assert found["better"] == judge(whole.take(y > 0.5), y[y > 0.5])
    best = x[:, 0].topk(50).indices
    assert found["liked"] == judge(whole.take(best), y[best])
    assert found["liked"]["coverage"] is None  # the promise was made from these very designs
    assert set(Rehearsal(whole, y, 9.0).judge()) == {"liked"}  # nothing was better


def test_a_promise_from_data_finds_the_spread() -> None:
    """Rewards spread twice as far as the penalty says, E|z| = .8: what is promised covers 90 % of others."""
    found, fresh = calibrated(LineSpec(), table(20_000)), table(20_000, seed=7)
    believed = beliefs(Line(1.0), fresh.x)
    liked = believed.mean.topk(4_000).indices
    promise = found.promise()
    assert promise is not None
    assert promise.floor == pytest.approx((2 / math.pi) ** 0.5, rel=0.05)
    assert judge(believed.take(liked), fresh.y[liked], promise)["coverage"] == pytest.approx(0.9, abs=0.015)


def test_a_scale_that_is_given_is_taken() -> None:
    assert calibrated(LineSpec(c=0.3), table(100)).scale(LineSpec(c=0.3)) == 0.3
    assert calibrated(PlainSpec(), table(100)).scale(PlainSpec()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_promise_is_kept_on_a_table_that_is_not_cut(seed: int) -> None:
    """A cut at a reward is a cut at its noise: an oracle fitted below it predicts too little of what it likes, and a
    scale from it alone covers .7 where .9 is promised."""
    generator = seeded(seed)
    x = torch.randn(4000, 5, generator=generator)
    y = x.sum(1) + 2 * torch.randn(4000, generator=generator)
    spec = RKHSSpec(features="nystroem", components=50, bandwidth=2.0)
    training, test = (LabelledDesigns(x[rows], y[rows]) for rows in (slice(0, 2000), slice(2000, None)))
    found = calibrate(spec, training, Vectors(5), CPU, Streams(seed), Silent())
    oracle = spec.build(Vectors(5), CPU)
    oracle.fit(training, seeded())
    final = beliefs(oracle, test.x)
    liked = final.mean.topk(400).indices
    promise = found.promise()
    assert found.lower is not None
    assert promise is not None
    kept = judge(final.take(liked), test.y[liked], promise)["coverage"]
    lower = Promise(found.lower.needs(promise.floor), promise.floor)
    alone = judge(final.take(liked), test.y[liked], lower)["coverage"]
    assert kept is not None
    assert alone is not None
    assert kept == pytest.approx(0.9, abs=0.05)
    assert alone < 0.85


def test_a_table_that_cannot_be_rehearsed_can_still_be_used() -> None:
    """Too small, or without a contrast among its lower rewards: c = 1 needs neither."""
    data, spec = table(400), LineSpec(refuses=True)
    flat, constant = (LabelledDesigns(data.x, data.y.clamp(min=least)) for least in (3.0, 99.0))
    for data, reason in (
        (table(FEWEST - 1), "too few"),
        (flat, "the lower 80% of the rewards are all equal"),
        (constant, "all rewards are equal"),
    ):
        found = calibrated(spec, data)
        assert found.lower is None
        assert reason in str(found.refused)
        assert found.scale(spec) == 1
        assert found.promise() is None
        with pytest.raises(DataError, match=rf"c = 'auto' cannot be chosen(.|\n)*{reason}"):
            found.scale(spec.model_copy(update={"c": "auto"}))


def test_a_table_of_few_families_is_not_rehearsed() -> None:
    """Of two families, one of two designs, a quarter is the one or the other."""
    data, streams = table(60), (Streams(seed) for seed in range(8))
    alike = LabelledDesigns(data.x, data.y, None, (torch.arange(60) < 2).long())
    reasons = [calibrate(LineSpec(), alike, SPACE, CPU, stream, Silent()).refused for stream in streams]
    assert any("a quarter of the families is 2 designs" in str(reason) for reason in reasons)


def test_a_calibration_is_stored_whole() -> None:
    for data in (table(400), table(10)):
        found = calibrated(LineSpec(c="auto"), data)
        again = Calibration.from_state(found.state())
        assert (again.refused, again.promise()) == (found.refused, found.promise())
        for one, other in ((found.lower, again.lower), (found.whole, again.whole)):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert one.judge() == other.judge()


def test_an_oracle_without_a_scale_stays_as_it_is() -> None:
    assert with_scale(PlainSpec(), 2.0) == PlainSpec()
    assert with_scale(LineSpec(c="auto"), 2.0) == LineSpec(c=2.0)
