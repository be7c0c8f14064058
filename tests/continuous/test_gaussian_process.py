"""The Gaussian chain against closed forms: its law, its KL, its guidance, its losses."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from braid_continuous.process import GaussianProcess
from braid_continuous.schedule import TIMES, signals
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Images, Vectors
from braid_core.tuning.rollout import rollout
from tests.checks import seeded
from tests.continuous.exact import DOUBLE, ExactNetwork, consistent, law, process

PREDICTIONS = ["epsilon", "x0", "v"]
MEAN = torch.tensor([0.7, -0.4], dtype=DOUBLE)
COVARIANCE = torch.tensor([[0.8, 0.5], [0.5, 0.9]], dtype=DOUBLE)


def state(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*(shape or (4, 2)), generator=seeded(seed), dtype=DOUBLE)


def signal(chain: GaussianProcess, k: int) -> float:
    """ᾱ before step k."""
    return float(signals(chain.schedule)[round(chain.time(k) * TIMES)]) if k < chain.steps else 1.0


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("eta", "schedule"), [(1.0, "linear"), (1.0, "cosine"), (0.5, "cosine"), (0.0, "linear")])
def test_a_perfect_network_gives_back_the_data(prediction: str, eta: float, schedule: str) -> None:
    """In 1,000 steps; what is left is the discretisation (measured: at most .8 % of the covariance)."""
    chain = process(1000, prediction=prediction, eta=eta, schedule=schedule)
    mean, covariance = law(chain, ExactNetwork(chain, MEAN, COVARIANCE))
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.01)
    torch.testing.assert_close(covariance, COVARIANCE, rtol=0, atol=0.01)


def test_fewer_steps_lose_spread_but_not_the_mean() -> None:
    """β̃ is the variance for data of one point: with few steps designs come out too close together."""
    spreads = []
    for steps in (5, 20, 100, 500):
        chain = process(steps)
        mean, covariance = law(chain, ExactNetwork(chain, MEAN, COVARIANCE))
        torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.03)
        spreads.append(float(covariance.trace() / COVARIANCE.trace()))
    assert spreads == sorted(spreads)
    assert spreads[0] < 0.75
    assert spreads[-1] == pytest.approx(1, abs=0.01)


def test_the_large_variance_is_exact_for_standard_normal_data() -> None:
    """Whatever the number of steps, if the last one has all of its noise (Ho et al. 2020, section 3.2)."""
    zero, one = torch.zeros(2, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE)
    for steps in (1, 3, 17):
        chain = process(steps, variance="large", last_noise=1.0)
        mean, covariance = law(chain, ExactNetwork(chain, zero, one))
        torch.testing.assert_close(mean, zero)
        torch.testing.assert_close(covariance, one)


def test_rollouts_follow_the_exact_law() -> None:
    chain = process(12)
    network = ExactNetwork(chain, MEAN, COVARIANCE)
    mean, covariance = law(chain, network)
    x = rollout(chain, network, 40_000, seeded()).x
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=5 * 40_000**-0.5)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=0.03)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_steps_are_the_posterior_of_the_forward_chain(prediction: str) -> None:
    """q(x_s | x_t, x0) by conditioning the joint Gaussian of (x_s, x_t) given x0, for any x0."""
    chain = process(7, prediction=prediction)
    x, x0 = state(), state(seed=1)
    for k in range(6):
        now, following = signal(chain, k), signal(chain, k + 1)
        covariance = (now / following) ** 0.5 * (1 - following)  # of x_s with x_t = √(ᾱ_t/ᾱ_s)·x_s + noise
        mean = following**0.5 * x0 + covariance / (1 - now) * (x - now**0.5 * x0)
        variance = 1 - following - covariance**2 / (1 - now)
        step = chain.transition(consistent(prediction, x, x0, now), x, k)
        torch.testing.assert_close(step.mean, mean)
        assert float(step.std) == pytest.approx(variance**0.5)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_keeps_the_marginals(eta: float) -> None:
    """Song et al. 2021, lemma 1: with the true x0, x_s has mean √ᾱ_s·x0 and variance 1 − ᾱ_s, for every η."""
    chain, x0 = process(9, eta=eta), state()
    for k in range(8):
        now, following = signal(chain, k), signal(chain, k + 1)
        mean, unit = (chain.transition(consistent("v", x, x0, now), x, k).mean for x in (now**0.5 * x0, x0 * 0 + 1))
        gain = (unit - mean) / (1 - now**0.5 * x0)  # the mean is affine in x_t
        variance = gain.square() * (1 - now) + chain.sigmas[k] ** 2
        torch.testing.assert_close(mean, following**0.5 * x0)
        torch.testing.assert_close(variance, torch.full_like(variance, 1 - following))


@pytest.mark.parametrize(("eta", "clip"), list(product((0.0, 0.5, 1.0), (None, 0.5))))
def test_predictions_say_the_same(eta: float, clip: float | None) -> None:
    """ε, x0 and v that mean the same x̂0 give one transition, one x̂0 and one guided transition."""
    x, x0 = state(), state(seed=1)
    found: dict[str, list[Tensor]] = {}
    for prediction in PREDICTIONS:
        chain = process(8, prediction=prediction, eta=eta, clip=clip)
        found[prediction] = []
        for k in (0, 3, 7):
            out = consistent(prediction, x, x0, signal(chain, k))
            step = chain.transition(out, x, k)
            found[prediction] += [step.mean, step.std.expand(1), chain.denoised(out, x, k)]
            if eta:
                found[prediction].append(chain.guided(out, x, k, lambda x: -x.square().sum(1), 1.0).mean)
    for a, b, c in zip(*found.values(), strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def test_a_clipped_design_is_what_the_step_is_made_from() -> None:
    free, clipped = process(8), process(8, clip=0.5)
    x, x0 = state(), 3 * state(seed=1)
    out, bounded = (consistent("v", x, value, signal(free, 3)) for value in (x0, x0.clamp(-0.5, 0.5)))
    torch.testing.assert_close(clipped.denoised(out, x, 3), x0.clamp(-0.5, 0.5))
    torch.testing.assert_close(clipped.transition(out, x, 3).mean, free.transition(bounded, x, 3).mean)


def test_transitions_agree_with_torch() -> None:
    chain = process(6)
    for k in range(6):
        p, q = (chain.transition(state(4, 2, seed=s), state(), k) for s in (1, 2))
        ours, theirs = (Independent(Normal(step.mean, step.std.expand(4, 2)), 1) for step in (p, q))
        torch.testing.assert_close(p.log_prob(state(seed=3)), ours.log_prob(state(seed=3)))
        torch.testing.assert_close(p.kl(q), kl_divergence(ours, theirs))


def test_tilting_moves_the_mean_by_the_variance() -> None:
    """Normal(μ, σ²)·exp(g·x) ∝ Normal(μ + σ²g, σ²): the log ratio to g·x is one number, Σ(g·μ + σ²g²/2)."""
    chain, g = process(6), torch.tensor([2.0, -1.0], dtype=DOUBLE)
    p = chain.transition(state(seed=1), state(), 2)
    x = p.rsample(state(seed=2))
    gained = p.tilt(g.expand(4, 2)).log_prob(x) - p.log_prob(x) - x @ g
    torch.testing.assert_close(gained, -(p.mean @ g + 0.5 * p.std.square() * g.square().sum()))


@pytest.mark.parametrize(("prediction", "schedule"), [("epsilon", "linear"), ("v", "cosine"), ("x0", "linear")])
def test_a_shifted_network_costs_what_the_shift_costs(prediction: str, schedule: str) -> None:
    """Path KL of a network shifted by a constant δ: Σ_k w_k²‖δ‖²/(2σ_k²), with w_k = ∂mean/∂out from Ho et al. 2020
    (eq. 7 and 11), and the expected log ratio of the paths."""
    chain = process(6, prediction=prediction, schedule=schedule)
    network, shift = ExactNetwork(chain, MEAN, COVARIANCE), torch.tensor([0.2, -0.1], dtype=DOUBLE)

    def shifted(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        return network(x, t) + shift

    expected = 0.0
    for k in range(6):
        now, following = signal(chain, k), signal(chain, k + 1)
        beta = 1 - now / following
        design = following**0.5 * beta / (1 - now)
        weight = {
            "epsilon": -beta / ((1 - now) * now / following) ** 0.5,
            "x0": design,
            "v": -design * (1 - now) ** 0.5,
        }[prediction]
        variance = beta * (1 - following) / (1 - now) if k < 5 else 0.25 * (1 - now)
        expected += weight**2 * float(shift.square().sum()) / (2 * variance)
    path = rollout(chain, shifted, 4000, seeded(), reference=network, record=True)
    torch.testing.assert_close(path.kl.sum(1), torch.full((4000,), expected, dtype=DOUBLE))

    ratio = path.log_prob.sum(1)
    for k in range(6):
        x = path.states[k]
        ratio = ratio - chain.transition(network(x, torch.full((4000,), chain.time(k))), x, k).log_prob(
            path.states[k + 1]
        )
    error = float(ratio.std()) / 4000**0.5
    assert abs(float(ratio.mean()) - expected) < 4 * error
    assert error < 0.2 * expected


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guidance_through_the_network_is_the_closed_form(prediction: str) -> None:
    """A quadratic potential −½q‖x̂0 − c‖² of x̂0 = Gx + h: the mean moves by level·σ²·Gᵀq(c − x̂0)."""
    chain, q, goal, level, k = process(5, prediction=prediction), 1.7, torch.tensor([1.0, 2.0], dtype=DOUBLE), 0.6, 2
    network, now = ExactNetwork(chain, MEAN, COVARIANCE), signal(process(5), 2)
    spread = now * COVARIANCE + (1 - now) * torch.eye(2, dtype=DOUBLE)
    gain = now**0.5 * COVARIANCE @ torch.linalg.inv(spread)
    x = state().requires_grad_()
    out = network(x, torch.full((4,), chain.time(k)))
    plain = chain.transition(out, x, k)
    guided = chain.guided(out, x, k, lambda x0: -0.5 * q * (x0 - goal).square().sum(1), level)
    x0 = MEAN + (x.detach() - now**0.5 * MEAN) @ gain.T
    moved = level * chain.sigmas[k] ** 2 * q * (goal - x0) @ gain
    torch.testing.assert_close((guided.mean - plain.mean).detach(), moved)
    assert torch.equal(guided.std, plain.std)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guidance_without_the_network_takes_standard_normal_designs(prediction: str) -> None:
    """∂x̂0/∂x = √ᾱ: what the network of N(0, I) has, whose guidance it therefore equals."""
    chain = process(5, prediction=prediction)
    network = ExactNetwork(chain, 0 * MEAN, torch.eye(2, dtype=DOUBLE))
    w = torch.tensor([1.0, -3.0], dtype=DOUBLE)

    def potential(x0: Tensor) -> Tensor:
        return (x0 @ w).sin()

    for k in (0, 2, 4):
        x = state().requires_grad_()
        through = chain.guided(network(x, torch.full((4,), chain.time(k))), x, k, potential, 0.7)
        with torch.no_grad():
            plain = network(state(), torch.full((4,), chain.time(k)))
            held = chain.guided(plain, state(), k, potential, 0.7)
        torch.testing.assert_close(held.mean, through.mean.detach())
        assert not held.mean.requires_grad


def test_one_guided_step_is_the_exact_posterior() -> None:
    """A chain of one step for standard normal data, tilted by a linear potential a·x̂0: x̂0 = √ᾱ·x, and ᾱ ≈ 0 of the
    start makes the step independent of it, so that the design is N(σ²·√ᾱ·a, I)."""
    chain = process(1, variance="large", last_noise=1.0, schedule="linear")
    network, a = ExactNetwork(chain, 0 * MEAN, torch.eye(2, dtype=DOUBLE)), torch.tensor([30.0, -10.0], dtype=DOUBLE)
    x = state().requires_grad_()
    step = chain.guided(network(x, torch.ones(4)), x, 0, lambda x0: x0 @ a, 1.0)
    now = signal(chain, 0)
    torch.testing.assert_close(step.mean.detach(), now**0.5 * (x.detach() + (1 - now) * a))


def test_a_chain_without_noise_is_neither_guided_nor_tuned() -> None:
    chain = process(5, eta=0.0)
    with pytest.raises(UnsupportedError, match=r"eta = 0(.|\n)*eta > 0"):
        chain.guided(state(), state(), 2, lambda x: x.sum(1), 1.0)
    assert not chain.tunable
    assert not process(5, last_noise=0.0).tunable
    assert process(5, eta=0.1).tunable
    assert process(1).tunable


def test_noise_shrinks_with_eta_in_every_step() -> None:
    full, half = process(7), process(7, eta=0.5)
    stds = [[float(c.transition(state(), state(), k).std) for k in range(7)] for c in (full, half)]
    assert stds[1] == pytest.approx([0.5 * s for s in stds[0]])
    assert stds[0][:-1] == pytest.approx(full.sigmas[:-1])
    assert full.sigmas[-1] == 0
    assert stds[0][-1] == pytest.approx(0.5 * (1 - signal(full, 6)) ** 0.5)


def test_the_loss_weighs_errors_as_its_paper_says() -> None:
    """An error δ in x̂0 at the same times: ε counts SNR·δ², x0 max(SNR, 1)·δ², v (1 + SNR)·δ²; averaged over the
    stratified times, and over dimensions. A perfect prediction costs nothing."""
    times, n = torch.arange(1, TIMES + 1), TIMES
    values = signals("linear")[times]
    snr = values / (1 - values)
    x0 = 2 * torch.ones(n, 3, dtype=DOUBLE)
    factor = {"epsilon": snr, "x0": snr.clamp(min=1), "v": 1 + snr}
    for prediction, weight in factor.items():
        chain = process(5, 3, prediction=prediction, schedule="linear")
        for delta in (0.0, 0.1):

            def predict(
                x: Tensor, t: Tensor, condition: Condition | None, p: str = prediction, d: float = delta
            ) -> Tensor:
                return consistent(p, x, x0 + d, signals("linear")[(t * TIMES).round().long()][:, None])

            loss = chain.loss(predict, x0, seeded())
            assert loss.shape == (n,)
            assert float(loss.mean()) == pytest.approx(delta**2 * float(weight.mean()), rel=1e-6, abs=1e-9)


def test_training_times_are_stratified_over_the_batch() -> None:
    """A batch of 1,000 sees every time once, in random order; a small one sees every part of the grid."""
    seen: list[Tensor] = []

    def predict(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        seen.append((t * TIMES).round().long())
        return x

    chain = GaussianProcess(Vectors(2))
    for n in (TIMES, 4, 1):
        chain.loss(predict, torch.zeros(n, 2), seeded())
    full, few, one = seen
    assert full.sort().values.tolist() == list(range(1, TIMES + 1))
    assert full.tolist() != sorted(full.tolist())
    assert ((few - 1) // 250).sort().values.tolist() == [0, 1, 2, 3]
    assert 1 <= int(one) <= TIMES


def test_the_noised_state_has_unit_variance_for_unit_designs() -> None:
    states: list[Tensor] = []

    def predict(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        states.append(x)
        return x

    GaussianProcess(Vectors(50)).loss(predict, torch.randn(2000, 50, generator=seeded(1)), seeded())
    assert float(states[0].var()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("space", [Vectors(3), Images(1, 4, 4)])
def test_paths_have_the_shape_of_the_space(space: Any) -> None:
    chain = GaussianProcess(space, 3)
    x = chain.prior(5, seeded())
    assert x.shape == (5, *space.event_shape)
    assert x.dtype == torch.float32
    path = rollout(chain, lambda x, t, c: 0 * x, 5, seeded(), record=True)
    assert path.x.shape == (5, *space.event_shape)
    assert torch.equal(path.states[0], x)


def test_other_numbers_of_steps_keep_the_options() -> None:
    chain = process(8, prediction="epsilon", schedule="linear", eta=0.5, last_noise=0.2, clip=1.0)
    other = chain.with_steps(20)
    assert (other.steps, other.time(0), len(other.sigmas)) == (20, 1.0, 20)
    assert other.with_steps(8).sigmas == chain.sigmas
    names = ("space", "prediction", "schedule", "eta", "variance", "last_noise", "clip")
    assert all(getattr(chain, name) == getattr(other, name) for name in names)


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(UnsupportedError, match="between 1 and 1000"):
        process(steps)


def test_the_large_variance_belongs_to_ddpm() -> None:
    with pytest.raises(UnsupportedError, match="eta"):
        process(5, eta=0.5, variance="large")
