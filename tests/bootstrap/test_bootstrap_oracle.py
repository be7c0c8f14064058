"""The bootstrap ensemble: resamples, penalties, symmetry and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from braid_bootstrap import BootstrapSpec
from braid_bootstrap.oracle import BootstrapOracle, EnsemblePosterior
from torch import Tensor, nn
from torch.autograd import gradcheck

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Space, Tokens, Vectors
from braid_core.nets.reward import RewardModel, _resamples
from tests.checks import seeded
from tests.doubles import Heard

SPACE = Tokens("ACGT", 6)
STRANDED = Tokens("ACGT", 6, ("reverse_complement",))
NETWORK: dict[str, Any] = {
    "width": 16,
    "depth": 2,
    "train_steps": 60,
    "batch": 64,
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
}


def linear(x: Tensor) -> Tensor:
    """A reward that is linear in the letters."""
    weight = torch.randn(x[0].shape, generator=seeded(5))
    return (x * weight).flatten(1).sum(1)


def data(n: int = 100, space: Space = SPACE, reward: Callable[[Tensor], Tensor] = linear) -> LabelledDesigns:
    x = space.random(n, seeded(8))
    return LabelledDesigns(x, reward(x))


def built(space: Space = SPACE, **options: Any) -> BootstrapOracle:
    network = {name: options.pop(name) for name in NETWORK if name in options}
    spec = BootstrapSpec(**{"members": 3, "network": {**NETWORK, **network}, **options})
    return spec.build(space, torch.device("cpu"))


def fitted(
    table: LabelledDesigns | None = None, seed: int = 0, space: Space = SPACE, **options: Any
) -> BootstrapOracle:
    oracle = built(space, **options)
    oracle.fit(table or data(space=space), seeded(seed))
    return oracle


def members(oracle: BootstrapOracle, x: Tensor) -> Tensor:
    return oracle.posterior(x).members


def test_each_member_learns_from_its_own_resample_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 1 − 1/e of the rows, and rows that were drawn twice come twice as often (Efron 1979)."""
    n, count = 400, 4
    seen = torch.zeros(count, n)
    original = RewardModel._standardised

    def watching(self: RewardModel, x: Tensor) -> Tensor:
        if x.ndim == 3:  # the members' own batches
            for member, rows in enumerate(x[..., 0].long()):
                seen[member] += torch.bincount(rows, minlength=n)
        return original(self, x)

    monkeypatch.setattr(RewardModel, "_standardised", watching)
    x = torch.arange(n).float()[:, None].expand(n, 2) * torch.tensor([1.0, 0.0])
    options = {"members": count, "batch": 500, "train_steps": 100, "learning_rate": 1e-6}
    fitted(LabelledDesigns(x, (x[:, 0] / n).sin()), space=Vectors(2), **options)

    training = round(0.9 * n)  # the rest validates and is seen by nobody
    share = (seen > 0).sum(1) / training
    torch.testing.assert_close(share, torch.full((count,), 1 - 1 / torch.e), rtol=0, atol=0.06)
    assert int((seen.sum(0) == 0).sum()) >= n - training
    for a in range(count):
        for b in range(a):
            both = float(((seen[a] > 0) & (seen[b] > 0)).sum()) / training
            assert both == pytest.approx((1 - 1 / torch.e) ** 2, abs=0.08)  # as for independent resamples
    times = seen / seen.sum(1, keepdim=True) * training
    assert float((times[times > 0] - times[times > 0].round()).abs().max()) < 0.5
    assert float((times.round() == 2).float().mean()) * n / training == pytest.approx(1 / (2 * torch.e), abs=0.05)


@pytest.mark.parametrize("space", [SPACE, STRANDED], ids=["plain", "stranded"])
def test_the_ensemble_is_its_members_one_by_one(space: Tokens) -> None:
    oracle = fitted(space=space)
    x = space.random(20, seeded(1)) * 0.7 + 0.1
    for m, prediction in enumerate(members(oracle, x)):
        first, second, third = (
            nn.Linear(*weight.shape[1:]).requires_grad_(False) for weight in oracle.model.mlp.weights
        )
        for layer, weight, bias in zip(
            (first, second, third), oracle.model.mlp.weights, oracle.model.mlp.biases, strict=True
        ):
            layer.weight.data, layer.bias.data = weight[m].T, bias[m, 0]
        forms = []
        for form in (x, x.flip(1, 2))[: len(space.symmetries) + 1]:
            h = nn.functional.silu(first(form.flatten(1)))
            forms.append(third(h + nn.functional.silu(second(h))).squeeze(1))
        expected = torch.stack(forms).mean(0) * oracle.model.scale + oracle.model.location
        torch.testing.assert_close(prediction, expected, rtol=1e-4, atol=1e-5)


def test_training_batches_go_to_their_own_members() -> None:
    """The form used in training, one batch a member, agrees with the shared form."""
    for space in (SPACE, STRANDED):
        oracle = fitted(space=space)
        x = space.random(3 * 10, seeded(1)).reshape(3, 10, 6, 4)
        own = oracle.model._standardised(x)
        shared = torch.stack([oracle.model._standardised(x[m])[m] for m in range(3)])
        torch.testing.assert_close(own, shared)


def test_both_strands_are_one_design() -> None:
    oracle, plain = fitted(space=STRANDED), fitted()
    own, other = STRANDED.orbit(STRANDED.random(30, seeded(2)))
    torch.testing.assert_close(members(oracle, own), members(oracle, other), rtol=0, atol=1e-6)
    assert float((members(plain, own) - members(plain, other)).abs().max()) > 0.1


@pytest.mark.parametrize("bound", ["min", "std"])
def test_the_posterior_is_differentiable_off_the_vertices(bound: str) -> None:
    """Against finite differences, in float64, at relaxed letters."""
    oracle = fitted(space=STRANDED, bound=bound, c=1.7)
    oracle.model.mlp.double()
    oracle.model.location, oracle.model.scale = oracle.model.location.double(), oracle.model.scale.double()
    x = torch.randn(3, 6, 4, generator=seeded(), dtype=torch.float64).softmax(-1).requires_grad_()
    assert gradcheck(lambda x: oracle.posterior(x).conservative(), (x,))
    assert gradcheck(lambda x: oracle.posterior(x).mean, (x,))
    (gradient,) = torch.autograd.grad(oracle.posterior(x).conservative().sum(), x)
    assert bool(gradient.flatten(1).any(1).all())


def test_fitted_weights_take_no_gradient() -> None:
    oracle = fitted()
    x = SPACE.random(2, seeded()).requires_grad_()
    oracle.posterior(x).conservative().sum().backward()
    assert all(p.grad is None for p in oracle.model.mlp.parameters())


PREDICTIONS = torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])


def test_the_minimum_by_hand() -> None:
    """Mean 3, minimum 1: ĝ = 2, and r̂ − ĝ the minimum itself at c = 1."""
    posterior = EnsemblePosterior(PREDICTIONS, 1.0, "min")
    assert posterior.mean.tolist() == [3, 5]
    assert posterior.conservative().tolist() == [1, 5]
    assert posterior.penalty().tolist() == [2, 0]


def test_the_standard_deviation_by_hand() -> None:
    """((−2)² + (−1)² + 3²)/2 = 7 over three members."""
    posterior = EnsemblePosterior(PREDICTIONS, 1.0, "std")
    torch.testing.assert_close(posterior.std, torch.tensor([7**0.5, 0]))
    torch.testing.assert_close(posterior.conservative(), torch.tensor([3 - 7**0.5, 5]))


@pytest.mark.parametrize("bound", ["min", "std"])
def test_c_scales_the_penalty(bound: str) -> None:
    one, three = (EnsemblePosterior(PREDICTIONS, c, bound) for c in (1.0, 3.0))
    torch.testing.assert_close(three.penalty(), 3 * one.penalty())
    torch.testing.assert_close(three.conservative(), one.mean - 3 * one.penalty())


@pytest.mark.parametrize("bound", ["min", "std"])
def test_the_spec_reaches_the_posterior_and_the_penalty_is_never_negative(bound: str) -> None:
    oracle = fitted(bound=bound, c=0.5)
    x = SPACE.random(200, seeded(3))
    posterior, predictions = oracle.posterior(x), members(oracle, x)
    spread = predictions.mean(0) - predictions.min(0).values if bound == "min" else predictions.std(0)
    torch.testing.assert_close(posterior.penalty(), 0.5 * spread, rtol=1e-3, atol=1e-5)
    assert bool((posterior.penalty() >= 0).all())
    assert bool((posterior.std >= 0).all())


@pytest.mark.parametrize("bound", ["min", "std"])
def test_equal_members_cost_nothing(bound: str) -> None:
    """The mean of equal numbers may round below them, and √0 has no gradient; neither may show."""
    values = torch.rand(1000, generator=seeded()).expand(5, 1000).clone().requires_grad_()
    posterior = EnsemblePosterior(values, 1.0, bound)
    assert bool((posterior.penalty() >= 0).all())
    assert float(posterior.penalty().detach().max()) < 1e-6
    (gradient,) = torch.autograd.grad(posterior.conservative().sum(), values)
    assert bool(gradient.isfinite().all())


def test_predictions_follow_the_units_of_the_reward() -> None:
    """y → 4y is exact in binary numbers; y → 4y − 3 up to rounding."""
    x = SPACE.random(20, seeded(3))
    plain = members(fitted(data()), x)
    scaled = members(fitted(data(reward=lambda x: 4 * linear(x))), x)
    shifted = members(fitted(data(reward=lambda x: 4 * linear(x) - 3)), x)
    assert torch.equal(scaled, 4 * plain)
    torch.testing.assert_close(shifted, 4 * plain - 3, rtol=0.02, atol=0.05)


def test_precise_measurements_count_more() -> None:
    """Each design measured as r and as −r/2, the first nine times as precise: the average is .9·r − .1·r/2 = .85·r."""
    x = SPACE.random(60, seeded(8))
    y = torch.cat([linear(x), -linear(x) / 2])
    variance = torch.tensor([0.1, 0.9]).repeat_interleave(60)
    precise = fitted(LabelledDesigns(x.repeat(2, 1, 1), y, variance), train_steps=200)
    equal = fitted(LabelledDesigns(x.repeat(2, 1, 1), y), train_steps=200)
    slope = [float((members(o, x).mean(0) * linear(x)).sum() / linear(x).square().sum()) for o in (precise, equal)]
    assert slope == pytest.approx([0.85, 0.25], abs=0.05)


def test_a_linear_reward_is_learned_by_members_that_differ() -> None:
    oracle = fitted(data(600), train_steps=300, width=32)
    x = SPACE.random(500, seeded(77))
    truth, posterior = linear(x), oracle.posterior(x)
    assert float(1 - (posterior.mean - truth).square().mean() / truth.var()) > 0.97
    assert float(posterior.std.min()) > 0


def test_the_penalty_grows_off_the_data() -> None:
    """On a line, measured on [−1, 1]."""
    x = torch.rand(200, 1, generator=seeded()) * 2 - 1
    oracle = fitted(LabelledDesigns(x, (2 * x[:, 0]).sin()), space=Vectors(1), members=5, train_steps=200)
    on, off = (
        oracle.posterior(torch.tensor(places)[:, None]).penalty().mean() for places in ([-0.5, 0.0, 0.5], [-5.0, 5.0])
    )
    assert float(off) > 5 * float(on)


def test_fewer_designs_than_members_are_refused() -> None:
    with pytest.raises(DataError, match=r"2 labelled designs(.|\n)*3 ensemble members"):
        fitted(data(2))


def test_constant_rewards_are_refused() -> None:
    with pytest.raises(DataError, match="all rewards are equal"):
        fitted(data(reward=lambda x: torch.full((len(x),), 0.1)))


def test_fit_is_the_generators_alone() -> None:
    x, before = SPACE.random(5, seeded(3)), torch.random.get_rng_state()
    one = members(fitted(), x)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    again, other = members(fitted(), x), members(fitted(seed=1), x)
    torch.random.set_rng_state(before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_fitting_again_starts_anew() -> None:
    x, oracle = SPACE.random(5, seeded(3)), built()
    oracle.fit(data(reward=lambda x: 9 - linear(x)), seeded(4))
    oracle.fit(data(), seeded())
    assert torch.equal(members(oracle, x), members(fitted(), x))


def test_fit_reports_its_progress() -> None:
    heard, oracle = Heard(), built()
    oracle.fit(data(), seeded(), log=heard)
    assert heard.steps[-1][:2] == (60, 60)
    assert all(figures["loss"] > 0 for _, _, figures in heard.steps)


def test_the_oracle_is_reopened_from_its_state() -> None:
    oracle, empty, x = fitted(), built(), SPACE.random(5, seeded(3))
    state = oracle.state()
    empty.load_state(state)
    assert torch.equal(members(empty, x), members(oracle, x))
    kept = state.tensors["location"].clone()
    oracle.model.location += 1
    assert torch.equal(state.tensors["location"], kept)
    assert all(
        tensor.data_ptr() != p.data_ptr() for tensor in state.tensors.values() for p in oracle.model.mlp.parameters()
    )


def test_groups_stay_on_one_side_of_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a design must not validate what was learned from the other copies."""
    sides: list[set[int]] = []
    original = LabelledDesigns.split

    def watching(self: LabelledDesigns, *args: Any) -> Any:
        parts = original(self, *args)
        sides.extend(set(part.group.tolist()) for part in parts)
        return parts

    monkeypatch.setattr(LabelledDesigns, "split", watching)
    table = data(60)
    fitted(LabelledDesigns(table.x, table.y, None, torch.arange(60) // 3), train_steps=2)
    training, validation = sides
    assert len(training) + len(validation) == 20


def test_whole_groups_are_resampled() -> None:
    """Or both strands of a molecule would be missing together in 13.5 %, not 36.8 %, of the resamples."""
    groups = torch.arange(500).repeat_interleave(2)
    data = LabelledDesigns(SPACE.random(1000, seeded()), torch.randn(1000), group=groups)
    rows, size = _resamples(data, 4, seeded())
    for member, n in zip(rows, size, strict=True):
        drawn = member[: int(n)]
        counts = drawn.bincount(minlength=1000)
        assert torch.equal(counts[::2], counts[1::2])
        assert n == 1000
        assert len(groups[drawn].unique()) / 500 == pytest.approx(1 - 1 / math.e, abs=0.06)
