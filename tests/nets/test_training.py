"""The supervised loop on losses whose course is known in advance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from braid_core.errors import BraidError
from braid_core.nets.training import RunningMean, Schedule, train
from tests.doubles import Heard


class Walk:
    """Parameters that grow steadily by Adam, one entry per member, past the ``best`` place of their validation."""

    def __init__(self, *best: float) -> None:
        self.w, self.best = nn.Parameter(torch.zeros(len(best), 2)), torch.tensor(best)
        self.stacks: list[list[int]] = []

    @property
    def seen(self) -> int:
        return len(self.stacks)

    def loss(self, left: Tensor) -> Tensor:
        self.stacks.append(left.tolist())
        return -self.w.sum(1)

    def validate(self, left: Tensor) -> Tensor:
        return (self.w.detach().mean(1) - self.best[left]).square()

    def train(self, steps: int = 100, log: Heard | None = None, **options: float) -> Tensor:
        schedule = Schedule(steps, 0.1, **{"every": 1, "patience": 1000, **options})
        return train([self.w], self.loss, self.validate, schedule, log or Heard(), len(self.best))


@pytest.mark.parametrize("best", [(1.0,), (1.0, 2.0, 100.0)])
def test_each_member_keeps_the_weights_of_its_best_validation(best: tuple[float, ...]) -> None:
    """Mistake 7 of public code: `best = state_dict()` without a copy makes the last weights the best."""
    walk = Walk(*best)
    values = walk.train()
    reached = walk.w.detach().mean(1)
    assert reached[0] == pytest.approx(1, abs=0.06)
    torch.testing.assert_close(values, (reached - walk.best).square())
    if len(best) > 1:
        assert reached[1] == pytest.approx(2, abs=0.06)
        assert reached[2] == pytest.approx(5, abs=0.5)  # the sum of the cosine-decayed rates: 100 · 0.1 / 2
    assert walk.w.grad is None


def test_gradients_of_any_strides_are_taken_as_they_are() -> None:
    """Fused Adam reads an expanded or transposed gradient as if it were contiguous; torch's plain Adam does not."""
    target = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    def loss(w: Tensor) -> Tensor:
        return (w.T * target).sum()[None]

    w, v = nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(3, 5))
    assert not torch.autograd.grad(loss(v).sum(), v)[0].is_contiguous()
    train([w], lambda _: loss(w), lambda _: -w.detach().square().sum()[None], Schedule(1, 0.1, every=1), Heard())
    loss(v).sum().backward()
    torch.optim.AdamW([v], lr=0.1, weight_decay=0, fused=False).step()
    torch.testing.assert_close(w, v)


def test_the_learning_rate_decays_to_nothing() -> None:
    """Adam on a constant gradient walks the sum of the rates: steps · rate / 2 along a cosine."""
    walk = Walk(100.0)
    walk.train(steps=200)
    assert walk.w.detach().mean() == pytest.approx(10, abs=0.2)


def test_it_stops_when_no_member_improves_any_more() -> None:
    walk, log = Walk(1.0, 2.0), Heard()
    walk.train(patience=5, log=log)
    assert 20 < walk.seen < 35  # 2.0 is reached after about 21 steps
    assert log.steps[-1][:2] == (walk.seen, 100)  # and no step is reported that was not made
    assert all(figures["loss"] >= 0 for _, _, figures in log.steps)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_member_trains_as_it_would_alone(ema: float) -> None:
    """Whoever has finished leaves the stack, and takes its moments and its average along."""
    places = (1.0, 2.0, 0.5, 100.0)
    together = Walk(*places)
    values = together.train(patience=5, ema=ema)
    for member, place in enumerate(places):
        alone = Walk(place)
        torch.testing.assert_close(alone.train(patience=5, ema=ema), values[member : member + 1])
        torch.testing.assert_close(alone.w[0], together.w[member])
        assert sum(member in stack for stack in together.stacks) == alone.seen
    order = [stack for step, stack in enumerate(together.stacks) if step == 0 or stack != together.stacks[step - 1]]
    assert order == [[0, 1, 2, 3], [0, 1, 3], [1, 3], [3]]


def test_it_validates_every_so_often_and_at_the_end() -> None:
    walk, log = Walk(1.0), Heard()
    walk.train(steps=25, every=10, log=log)
    assert [done for done, _, _ in log.steps] == [10, 20, 25]


@pytest.mark.parametrize("broken", [lambda w: w.new_full((len(w),), torch.nan), lambda w: w.sum(1) / 0])
def test_diverged_training_says_so(broken: Callable[[Tensor], Tensor]) -> None:
    w = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(BraidError, match=r"diverged(.|\n)*learning rate 0.1"):
        train([w], lambda _: w.sum(1), lambda _: broken(w.detach()), Schedule(3, 0.1, every=1), Heard(), 2)


def test_one_diverged_member_is_enough() -> None:
    w = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(BraidError, match="diverged"):
        train([w], lambda _: w.sum(1), lambda _: torch.tensor([1.0, torch.nan]), Schedule(3, 0.1, every=1), Heard(), 2)


def test_a_passing_nan_does_not_cost_the_best_weights() -> None:
    walk = Walk(1.0)
    honest = walk.validate
    walk.validate = lambda left: honest(left) if walk.seen < 30 else torch.tensor([torch.nan])
    assert float(walk.train()) < 0.01
    assert walk.w.detach().mean() == pytest.approx(1, abs=0.06)


def test_the_running_mean_follows_its_recursion() -> None:
    """In closed form: weights (1 − d_i)·Π_{j > i} d_j on the i-th value, and what is left on the first."""
    w = nn.Parameter(torch.tensor([5.0, -1.0]))
    average, values = RunningMean([w], 0.7), [w.detach().clone()]
    for _ in range(40):
        with torch.no_grad():
            w.copy_(torch.randn(2, generator=torch.Generator().manual_seed(len(values))))
        values.append(w.detach().clone())
        average.update()
    decays = torch.tensor([min(0.7, (1 + k) / (10 + k)) for k in range(1, 41)])
    assert decays[0] < 0.2
    assert decays[-1] == pytest.approx(0.7)
    later = torch.cat([decays.flip(0).cumprod(0).flip(0), torch.ones(1)])  # the product from each on
    weights = torch.cat([torch.ones(1), 1 - decays]) * later
    torch.testing.assert_close(average.mean[0], weights @ torch.stack(values))
    own = w.detach().clone()
    with average.applied():
        torch.testing.assert_close(w.detach(), average.mean[0])
    assert torch.equal(w.detach(), own)


def test_the_averaged_weights_are_what_is_validated_and_kept() -> None:
    walk, seen = Walk(1.0), []
    honest = walk.validate

    def watched(left: Tensor) -> Tensor:
        seen.append(walk.w.detach().clone())
        return honest(left)

    walk.validate = watched
    values = walk.train(ema=0.95)
    torch.testing.assert_close(values, honest(torch.arange(1)))  # the kept weights are those of the best validation …
    assert float(values) < 1e-2
    plain = Walk(1.0)
    plain.train()
    assert len(seen) > 20
    assert not torch.equal(seen[10], seen[11])
    assert any(torch.equal(walk.w.detach(), one) for one in seen)  # … as they were validated
    raw, taken = Walk(1e9), []
    far = raw.validate
    raw.validate = lambda left: (taken.append(raw.w.detach().clone()), far(left))[1]
    raw.train()
    assert bool((seen[30] < taken[30]).all())  # an average lags behind steadily growing weights


def test_without_a_decay_nothing_is_averaged() -> None:
    one, other = Walk(1.0), Walk(1.0)
    one.train()
    other.train(ema=0.0)
    assert torch.equal(one.w, other.w)
