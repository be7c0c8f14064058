"""The oracle as a whole: units, symmetry, gradients, repeats, features, state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from braid_gp import GPSpec
from braid_gp.inputs import Learned
from braid_gp.oracle import GPOracle
from torch import Tensor
from torch.autograd import gradcheck

from braid_core.errors import BraidError, DataError, SpecError
from braid_core.interfaces import LabelledDesigns, Silent, Space, Tokens, Vectors
from braid_core.nets.reward import RewardModel
from braid_core.nets.spec import NetworkSpec
from tests.checks import seeded
from tests.doubles import Heard

SPACE = Tokens("ACGT", 6)
STRANDED = Tokens("ACGT", 6, ("reverse_complement",))
LEARNED: dict[str, Any] = {"features": "learned", "network": {"width": 8, "train_steps": 50}}
OPTIONS: dict[str, dict[str, Any]] = {
    "exact": {},
    "matern": {"kernel": "matern"},
    "sparse": {"exact": 40, "inducing": 20},
    "learned": LEARNED,
}
every = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
Reward = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """A reward that is linear in the letters."""
    weight = torch.randn(x[0].shape, generator=seeded(5))
    return (x * weight).flatten(1).sum(1)


def data(n: int = 80, space: Space = SPACE, reward: Reward = linear, noise: float = 0.3) -> LabelledDesigns:
    x = space.random(n, seeded(8))
    return LabelledDesigns(x, reward(x) + noise * torch.randn(n, generator=seeded(9)))


def built(space: Space = SPACE, **options: Any) -> GPOracle:
    return GPSpec(**options).build(space, torch.device("cpu"))


def fitted(table: LabelledDesigns | None = None, seed: int = 0, space: Space = SPACE, **options: Any) -> GPOracle:
    oracle = built(space, **options)
    oracle.fit(table or data(space=space), seeded(seed))
    return oracle


def relaxed(n: int, space: Space = SPACE) -> Tensor:
    return torch.randn(n, *space.event_shape, generator=seeded(1), dtype=torch.float64).softmax(-1)


def beliefs(oracle: GPOracle, x: Tensor) -> Tensor:
    """Mean and standard deviation."""
    posterior = oracle.posterior(x)
    return torch.stack([posterior.mean, posterior.std])


@every
def test_a_smooth_reward_is_learned_with_honest_uncertainty(options: dict[str, Any]) -> None:
    if "exact" in options:
        options = {"exact": 200, "inducing": 100}
    elif "features" in options:
        options = {"features": "learned", "network": {"width": 32, "train_steps": 300}}
    oracle = fitted(data(300), **options)
    x = SPACE.random(400, seeded(77))
    posterior, truth = oracle.posterior(x), linear(x)
    assert float(1 - (posterior.mean - truth).square().mean() / truth.var()) > 0.9
    assert posterior.noise[0].item() == pytest.approx(0.09, rel=0.5)
    if "features" not in options:  # those learned from these data know too much of them
        inside = ((truth - posterior.mean).abs() < 1.645 * posterior.std).float().mean()
        assert float(inside) == pytest.approx(0.9, abs=0.08)


@every
@pytest.mark.parametrize("space", [SPACE, STRANDED], ids=["plain", "stranded"])
def test_the_posterior_is_differentiable_off_the_vertices(options: dict[str, Any], space: Tokens) -> None:
    """Against finite differences, in float64, at relaxed letters."""
    oracle = fitted(space=space, **options)
    if isinstance(oracle.inputs, Learned):
        oracle.inputs.model.mlp.double()
    x = relaxed(3).requires_grad_()
    assert gradcheck(lambda x: oracle.posterior(x).conservative(), (x,))
    (gradient,) = torch.autograd.grad(oracle.posterior(x).conservative().sum(), x)
    assert bool(gradient.flatten(1).any(1).all())


@pytest.mark.parametrize("kernel", ["rbf", "matern"])
def test_the_posterior_is_differentiable_at_a_measured_design(kernel: str) -> None:
    table = data()
    oracle = fitted(table, kernel=kernel)
    x = table.x[:2].double().requires_grad_()
    assert gradcheck(lambda x: oracle.posterior(x).conservative(), (x,))
    single = table.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(oracle.posterior(single).conservative().sum(), single)
    assert bool(gradient.isfinite().all())


@every
def test_single_precision_is_enough(options: dict[str, Any]) -> None:
    oracle = fitted(space=STRANDED, **options)
    x = STRANDED.random(50, seeded(3))
    rounded = beliefs(oracle, x)
    assert rounded.dtype == torch.float32
    if isinstance(oracle.inputs, Learned):
        oracle.inputs.model.mlp.double()
    torch.testing.assert_close(rounded.double(), beliefs(oracle, x.double()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("speed", "noise", "single"), [(2.0, 0.5, True), (0.2, 0.002, False)])
def test_smooth_rewards_with_little_noise_are_predicted_in_double_precision(
    speed: float, noise: float, single: bool
) -> None:
    """In single precision their standard deviation would be wrong by a tenth."""
    x = torch.randn(200, 3, generator=seeded())
    y = (speed * x).sin().sum(1) + noise * torch.randn(200, generator=seeded(1))
    oracle = fitted(LabelledDesigns(x, y), space=Vectors(3))
    assert bool(oracle.state().tensors["single"]) is single
    places = torch.randn(200, 3, generator=seeded(2))
    rounded, precise = oracle.posterior(places), oracle.posterior(places.double())
    assert rounded.mean.dtype == rounded.std.dtype == rounded.noise.dtype == torch.float32
    assert float(((rounded.mean - precise.mean) / precise.std).abs().max()) < 0.005
    assert float((rounded.std / precise.std - 1).abs().max()) < 0.005


@every
def test_both_strands_are_one_design(options: dict[str, Any]) -> None:
    oracle, plain = fitted(space=STRANDED, **options), fitted(**options)
    own, other = STRANDED.orbit(STRANDED.random(30, seeded(2)))
    torch.testing.assert_close(beliefs(oracle, own), beliefs(oracle, other), rtol=1e-4, atol=1e-5)
    assert float((beliefs(plain, own) - beliefs(plain, other)).abs().max()) > 0.1


@every
def test_c_scales_the_standard_deviation(options: dict[str, Any]) -> None:
    posterior = fitted(**options, c=2.5).posterior(SPACE.random(20, seeded(3)))
    torch.testing.assert_close(posterior.conservative(), posterior.mean - 2.5 * posterior.std)
    torch.testing.assert_close(posterior.penalty(), 2.5 * posterior.std)
    assert bool((posterior.std > 0).all())


@every
def test_predictions_follow_the_units_of_the_reward(options: dict[str, Any]) -> None:
    x = SPACE.random(20, seeded(3))
    plain = fitted(data(), **options).posterior(x)
    scaled = fitted(LabelledDesigns(data().x, 4 * data().y - 3), **options).posterior(x)
    torch.testing.assert_close(scaled.mean, 4 * plain.mean - 3, rtol=0.01, atol=0.01)
    torch.testing.assert_close(scaled.std, 4 * plain.std, rtol=0.01, atol=0.01)
    torch.testing.assert_close(scaled.noise, 16 * plain.noise, rtol=2e-2, atol=0)


@every
def test_units_of_given_variances_follow_too(options: dict[str, Any]) -> None:
    x, table = SPACE.random(20, seeded(3)), data()
    variance = torch.rand(80, generator=seeded()) + 0.05
    plain = fitted(LabelledDesigns(table.x, table.y, variance), **options).posterior(x)
    scaled = fitted(LabelledDesigns(table.x, 4 * table.y, 16 * variance), **options).posterior(x)
    torch.testing.assert_close(scaled.conservative(), 4 * plain.conservative(), rtol=0.01, atol=0.01)
    torch.testing.assert_close(scaled.noise, 16 * plain.noise, rtol=2e-2, atol=0)
    assert float(plain.noise[0]) > float(variance.median())


def test_precise_measurements_count_more() -> None:
    """At two neighbouring places, one of which is known exactly."""
    x = torch.linspace(-3, 3, 40)[:, None]
    y = x[:, 0].sin() + torch.tensor([0.0, 0.5]).repeat(20) * torch.randn(40, generator=seeded())
    variance = torch.tensor([1e-4, 0.25]).repeat(20)
    oracle = fitted(LabelledDesigns(x, y, variance), space=Vectors(1))
    posterior = oracle.posterior(x)
    assert float((posterior.mean - x[:, 0].sin()).abs().max()) < 0.1
    assert float(posterior.std.max()) < 0.1
    ignored = fitted(LabelledDesigns(x, y), space=Vectors(1)).posterior(x)
    assert float(ignored.std.mean()) > 3 * float(posterior.std.mean())


def test_a_table_that_lists_both_strands_is_the_table_of_one() -> None:
    """Copies that agree are one measurement; as repeats they would prove that there is no noise."""
    one, _ = data(space=STRANDED).merged(STRANDED)
    own, other = STRANDED.orbit(one.x)
    both = LabelledDesigns(torch.cat([own, other]), torch.cat([one.y, one.y]))
    x = STRANDED.random(20, seeded(3))
    first, second = fitted(one, space=STRANDED).posterior(x), fitted(both, space=STRANDED).posterior(x)
    torch.testing.assert_close(first.mean, second.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(first.noise, second.noise, rtol=1e-2, atol=0)


def test_repeats_tell_the_noise() -> None:
    """Independent repeats of a reward that no kernel could follow: σ² is what they differ by."""
    x = SPACE.random(60, seeded(8))
    y = torch.randn(60, generator=seeded(1)).repeat(3) + 0.1 * torch.randn(180, generator=seeded(2))
    oracle = fitted(LabelledDesigns(x.repeat(3, 1, 1), y))
    assert float(oracle.posterior(x).noise[0]) == pytest.approx(0.01, rel=0.3)


def test_far_away_there_is_the_prior_and_more_data_leave_less_uncertainty() -> None:
    x = torch.rand(200, 1, generator=seeded()) * 2 - 1
    y = (3 * x[:, 0]).sin() + 0.1 * torch.randn(200, generator=seeded(1))
    few, many = (fitted(LabelledDesigns(x[:n], y[:n]), space=Vectors(1)) for n in (20, 200))
    places = torch.linspace(-1, 1, 20)[:, None]
    assert float((many.posterior(places).std / few.posterior(places).std).mean()) < 0.6
    far = many.posterior(torch.tensor([[-100.0], [100.0], [1000.0]]))
    assert float(far.std.std()) == pytest.approx(0, abs=1e-5)
    assert float(far.mean.std()) == pytest.approx(0, abs=1e-5)
    assert float(far.std.min()) > 5 * float(many.posterior(places).std.max())


def test_an_offset_of_the_designs_changes_nothing() -> None:
    """Rows far from the origin would lose their distances to rounding."""
    x = torch.rand(50, 2, generator=seeded())
    places = torch.rand(10, 2, generator=seeded(1))
    near = fitted(LabelledDesigns(x, x[:, 0].sin() + x[:, 1]), space=Vectors(2))
    far = fitted(LabelledDesigns(x + 1024, x[:, 0].sin() + x[:, 1]), space=Vectors(2))
    torch.testing.assert_close(beliefs(near, places), beliefs(far, places + 1024), rtol=0.02, atol=0.01)


def test_above_the_limit_the_posterior_rests_on_inducing_designs() -> None:
    heard, oracle = Heard(), built(exact=40, inducing=20)
    oracle.fit(data(), seeded(), heard)
    state = oracle.state().tensors
    assert len(data().merged(SPACE)[0]) > 40
    assert state["weights"].shape == (20,)
    assert state["root"].shape == (20, 20)
    assert fitted(exact=80).state().tensors["weights"].shape == (len(data().merged(SPACE)[0]),)


@every
def test_the_evidence_is_reported(options: dict[str, Any]) -> None:
    heard, oracle = Heard(), built(**options)
    oracle.fit(data(), seeded(), heard)
    done, total, figures = heard.steps[-1]
    assert done == total
    assert -4 < figures["evidence"] < 0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (LabelledDesigns(SPACE.random(1, seeded()), torch.ones(1)), "nothing can be learned from 1 design"),
        (
            LabelledDesigns(SPACE.random(1, seeded()).repeat(5, 1, 1), torch.rand(5)),
            "nothing can be learned from 1 design",
        ),
        (data(reward=lambda x: torch.full((len(x),), 0.1), noise=0), "all rewards are equal"),
    ],
    ids=["one", "one five times", "constant"],
)
@every
def test_data_without_information_are_refused(table: LabelledDesigns, says: str, options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=says):
        fitted(table, **options)


def test_two_designs_are_enough() -> None:
    oracle = fitted(data(2))
    assert bool(beliefs(oracle, SPACE.random(5, seeded())).isfinite().all())


def test_nothing_is_believed_before_the_fit() -> None:
    with pytest.raises(BraidError, match="no data yet"):
        built().posterior(SPACE.random(1, seeded()))
    with pytest.raises(BraidError, match="no data yet"):
        built().state()


def test_a_network_goes_with_learned_features() -> None:
    with pytest.raises(ValueError, match="`network` has no meaning"):
        GPSpec(network={"width": 8})
    with pytest.raises(SpecError, match="'auto' has to be chosen"):
        built(c="auto")


@every
def test_fit_is_the_generators_alone(options: dict[str, Any]) -> None:
    x, before = SPACE.random(5, seeded(3)), torch.random.get_rng_state()
    one = beliefs(fitted(**options), x)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    again = beliefs(fitted(**options), x)
    torch.random.set_rng_state(before)
    assert torch.equal(one, again)


@every
def test_fitting_again_starts_anew(options: dict[str, Any]) -> None:
    x, oracle = SPACE.random(5, seeded(3)), built(**options)
    oracle.fit(data(reward=lambda x: 9 - linear(x)), seeded(4))
    beliefs(oracle, x)
    oracle.fit(data(), seeded())
    assert torch.equal(beliefs(oracle, x), beliefs(fitted(**options), x))


@every
def test_the_oracle_is_reopened_from_its_state(options: dict[str, Any]) -> None:
    oracle, empty, x = fitted(**options), built(**options), SPACE.random(5, seeded(3))
    state = oracle.state()
    kept = {name: tensor.clone() for name, tensor in state.tensors.items()}
    empty.load_state(state)
    for dtype in (torch.float32, torch.float64):
        if dtype == torch.float64 and options is LEARNED:
            continue  # the network is single
        assert torch.equal(beliefs(empty, x.to(dtype)), beliefs(oracle, x.to(dtype)))
    assert torch.equal(empty.posterior(x).noise, oracle.posterior(x).noise)
    oracle.fit(data(reward=lambda x: 9 - linear(x)), seeded(4))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state.tensors.items())
    assert not any(tensor.requires_grad for tensor in state.tensors.values())


def test_the_state_is_a_copy() -> None:
    oracle, x = fitted(), SPACE.random(5, seeded(3)).double()
    before = beliefs(oracle, x)
    for tensor in oracle.state().tensors.values():
        tensor.zero_()
    assert torch.equal(beliefs(oracle, x), before)


def test_prediction_needs_no_gpytorch() -> None:
    """It takes a second to import."""
    code = (
        "import sys, torch; from braid_gp import GPSpec; import braid_gp.oracle; "
        "from braid_core.interfaces import Vectors; GPSpec().build(Vectors(2), torch.device('cpu')); "
        "sys.exit('gpytorch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_mean_alone_costs_no_variance() -> None:
    posterior = fitted().posterior(SPACE.random(5, seeded(3)))
    assert posterior.mean.shape == (5,)
    assert "std" not in vars(posterior)
    assert posterior.std is posterior.std


def test_a_look_at_the_figures_leaves_the_gradient() -> None:
    posterior = fitted().posterior(SPACE.random(5, seeded(3)).requires_grad_())
    with torch.no_grad():
        assert bool((posterior.std > 0).all())
        assert bool(posterior.mean.isfinite().all())
    assert posterior.std.requires_grad
    assert posterior.mean.requires_grad


class Fixed(RewardModel):
    """Features that are given: twice the first coordinate, a millionth of the second, and a constant."""

    def features(self, x: Tensor) -> Tensor:
        return torch.stack([2 * x[:, 0], 1e-6 * x[:, 1], torch.ones(len(x))], dim=1)[None]

    def fit(self, *_: Any, **__: Any) -> None:
        pass


def test_features_are_standardised_but_those_that_hardly_vary_are_not_blown_up() -> None:
    x = torch.randn(50, 2, generator=seeded())
    inputs = Learned(Fixed(NetworkSpec(), Vectors(2), 1, torch.device("cpu")))
    inputs.fit(LabelledDesigns(x, x[:, 0]), seeded(), Silent())
    features = inputs(x)[0]
    torch.testing.assert_close(features.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(features[:, 0], (x[:, 0] - x[:, 0].mean()) / x[:, 0].std())
    assert float(features[:, 1:].abs().max()) < 0.01


def test_features_that_do_not_vary_at_all_give_the_average() -> None:
    inputs = Learned(Fixed(NetworkSpec(), Vectors(2), 1, torch.device("cpu")))
    inputs.fit(LabelledDesigns(torch.zeros(9, 2), torch.rand(9)), seeded(), Silent())
    assert inputs(torch.zeros(9, 2)).tolist() == [[[0, 0, 0]] * 9]
