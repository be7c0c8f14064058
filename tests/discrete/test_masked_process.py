"""The masked chain and its bound, against sums over every order of revealing."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from braid_discrete.exact import ExactChain, optimum
from braid_discrete.masked import OneByOne, Parallel
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import one_hot, pad

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Tokens, Vectors
from braid_core.nets.backbone import NetworkBackbone
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, flat, seeded, slopes
from tests.discrete.conftest import (
    SPACE,
    backbone,
    each_row,
    letter_log_probs,
    number,
    ordered,
    partly,
    strong,
    subsets,
)
from tests.doubles import GaussianChain

DESIGNS = one_hot(torch.tensor(list(product(range(4), repeat=3))), 4).float()


def bound(model: NetworkBackbone, x0: Tensor) -> float:
    """The exact bound of one design: the mean of −log p over all orders."""
    return -float(ordered(model.predict, x0[None]).mean())


def test_all_positions_start_masked(model: NetworkBackbone) -> None:
    x = model.process.prior(2, seeded())
    assert torch.equal(x, partly(DESIGNS[:1], ()).expand(2, 3, 5))


def test_a_uniform_predictor_has_exactly_the_uniform_bound() -> None:
    """L·ln v for each design, not only on average: m masked letters count L/m each."""
    loss = OneByOne(Tokens("ACGTU", 7)).loss(
        lambda x, t, condition: torch.zeros(len(x), 7, 5), Tokens("ACGTU", 7).random(50, seeded()), seeded()
    )
    torch.testing.assert_close(loss, torch.full((50,), 7 * math.log(5)))


def test_the_bound_is_above_the_exact_negative_log_probability() -> None:
    model = strong(backbone())
    probabilities = ExactChain(model.process, model.predict).probabilities()
    bounds = -ordered(model.predict, DESIGNS).mean(0)
    assert bool((bounds >= -probabilities.log() - 1e-6).all())
    assert float((bounds + probabilities.log()).max()) > 0.1  # the orders disagree, or this would prove little


@pytest.mark.parametrize("reveal", ["one", "parallel"])
def test_the_mean_loss_is_the_order_averaged_bound(reveal: str) -> None:
    """Even where two designs share a batch, and whichever comes first."""
    model = strong(backbone(reveal=reveal))
    first, second = DESIGNS[5], DESIGNS[62]
    x0 = torch.cat([first.expand(2000, 3, 4), second.expand(2000, 3, 4)])
    loss = model.process.loss(model.predict, x0, seeded())
    for x, part in ((first, loss[:2000]), (second, loss[2000:])):
        assert float(part.mean()) == pytest.approx(bound(model, x), abs=4 * float(part.std()) / 2000**0.5)


def test_the_number_of_masked_letters_is_stratified() -> None:
    """Among L·k designs every number of masked letters occurs k times, and the network is told its share."""
    seen: list[Tensor] = []

    def predict(x: Tensor, t: Tensor, condition: object) -> Tensor:
        seen.extend([x[..., -1].sum(1), t])
        return torch.zeros(len(x), 3, 4)

    OneByOne(SPACE).loss(predict, DESIGNS[:60], seeded())
    masked, t = seen
    assert torch.bincount(masked.long()).tolist() == [0, 20, 20, 20]
    assert not torch.equal(masked, masked.sort().values)
    torch.testing.assert_close(t, masked / 3)


def test_the_loss_is_the_generators() -> None:
    model = strong(backbone())
    one, again, other = (model.process.loss(model.predict, DESIGNS, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_exact_probabilities_sum_to_one(probabilities: Tensor) -> None:
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-6)


def test_exact_designs_come_in_the_order_of_their_probabilities() -> None:
    model = strong(backbone())
    assert torch.equal(ExactChain(model.process, model.predict).designs, DESIGNS)


def test_one_by_one_is_the_mean_over_all_orders() -> None:
    model = strong(backbone(reveal="one"))
    expected = ordered(model.predict, DESIGNS).exp().mean(0)
    torch.testing.assert_close(ExactChain(model.process, model.predict).probabilities(), expected, rtol=1e-5, atol=1e-9)


def test_parallel_in_one_step_is_the_product_of_the_first_marginals() -> None:
    model = strong(backbone(reveal="parallel", steps=1))
    expected = letter_log_probs(model.predict, DESIGNS)[()].sum(1).exp()
    torch.testing.assert_close(ExactChain(model.process, model.predict).probabilities(), expected, rtol=1e-5, atol=1e-9)


def test_parallel_in_two_steps_is_the_sum_over_what_the_first_reveals() -> None:
    """Each letter is in the first half with probability 1/2."""
    model = strong(backbone(reveal="parallel", steps=2))
    table, expected = letter_log_probs(model.predict, DESIGNS), 0.0
    for shown in subsets(3):
        rest = [place for place in range(3) if place not in shown]
        expected = expected + (table[()][:, list(shown)].sum(1) + table[shown][:, rest].sum(1)).exp() / 2**3
    torch.testing.assert_close(ExactChain(model.process, model.predict).probabilities(), expected, rtol=1e-5, atol=1e-9)


def test_sample_frequencies_are_the_exact_probabilities(model: NetworkBackbone, probabilities: Tensor) -> None:
    with torch.no_grad():
        x = rollout(model.process, model.predict, 20_000, seeded()).x
    assert agrees(number(x), probabilities)


def test_letters_are_revealed_at_the_schedules_rate() -> None:
    """α_t = 1 − t: after k of T steps the share k/T is revealed, and all of it at the end."""
    model = backbone(space=Tokens("ACGT", 20), reveal="parallel", steps=5)
    with torch.no_grad():
        states = rollout(model.process, model.predict, 1000, seeded(), record=True).states
    shown = 1 - states[..., -1].mean((1, 2))
    torch.testing.assert_close(shown, torch.arange(6) / 5, rtol=0, atol=0.01)
    assert shown[-1] == 1


def test_path_kl_is_the_mean_kl_of_rollouts_and_bounds_the_marginal(model: NetworkBackbone) -> None:
    other = strong(backbone(reveal=model.spec.reveal, steps=model.spec.steps), seed=1)
    chain = ExactChain(model.process, model.predict, other.predict)
    exact = float(chain.path_kl())
    with torch.no_grad():
        drawn = rollout(model.process, model.predict, 4000, seeded(), reference=other.predict).kl.sum(1)
    assert exact == pytest.approx(float(drawn.mean()), abs=4 * float(drawn.std()) / 4000**0.5 + 1e-5)

    p = chain.probabilities()
    q = ExactChain(other.process, other.predict).probabilities()
    marginal = float(kl_divergence(torch.distributions.Categorical(p), torch.distributions.Categorical(q)))
    assert 0.1 < marginal <= exact + 1e-6
    one_draw = model.process.steps == 1  # then the path is the design
    assert (exact - marginal < 1e-5) == one_draw


def test_exact_objective_has_the_gradient_of_finite_differences() -> None:
    model, other = (strong(backbone(space=Tokens("AB", 2), network={"width": 3, "depth": 1}), seed) for seed in (0, 1))
    model.net.double().requires_grad_()
    reward = torch.randn(4, generator=seeded(2))
    parameters = list(model.net.parameters())

    def value() -> Tensor:
        chain = ExactChain(model.process, lambda x, t, c: model.predict(x.double(), t, c), other.predict)
        return chain.objective(reward, 0.3)

    gradient = flat(torch.autograd.grad(value(), parameters))
    torch.testing.assert_close(gradient, flat(slopes(value, parameters)), rtol=1e-5, atol=1e-7)


def test_optimum_is_the_best_of_all_distributions() -> None:
    """J(p*) = α·log E_pre[exp(r/α)], and no other distribution has more."""
    p = torch.rand(20, generator=seeded(0), dtype=torch.float64)
    p, reward, alpha = p / p.sum(), torch.randn(20, generator=seeded(1), dtype=torch.float64), 0.4

    def value(q: Tensor) -> float:
        return float(q @ reward - alpha * (q * (q / p).log()).sum())

    best, height = optimum(p, reward, alpha)
    assert float(best.sum()) == pytest.approx(1)
    assert value(best) == pytest.approx(height)
    for seed in range(5):
        nearby = best * torch.exp(0.1 * torch.randn(20, generator=seeded(seed), dtype=torch.float64))
        assert value(nearby / nearby.sum()) < height


def test_only_small_token_chains_are_enumerated(model: NetworkBackbone) -> None:
    with pytest.raises(UnsupportedError, match="enumerated"):
        ExactChain(GaussianChain(2, 3), model.predict)
    with pytest.raises(UnsupportedError, match="enumerated"):
        ExactChain(OneByOne(Tokens("ACGT", 6)), model.predict)


def test_denoised_keeps_what_is_shown(model: NetworkBackbone) -> None:
    x = torch.cat([partly(DESIGNS[27:28], shown) for shown in subsets(3)])
    out = model.predict(x, torch.ones(len(x)))
    x0 = model.process.denoised(out, x, 0)
    masked = x[..., -1] == 1
    torch.testing.assert_close(x0[masked], out.softmax(-1)[masked])
    assert torch.equal(x0[~masked], x[..., :-1][~masked])


def linear(x: Tensor) -> Tensor:
    weight = torch.randn(3, 4, generator=seeded(7), dtype=torch.float64)
    return (x.double() * weight).sum((1, 2))


def test_guidance_along_a_linear_potential_tilts_the_letters_exactly() -> None:
    """In one step, p(x)·exp(level·f(x)) over all designs."""
    model = strong(backbone(reveal="parallel", steps=1))
    x, n = partly(DESIGNS[:1], ()), len(DESIGNS)
    guided = model.process.guided(model.predict(x, torch.ones(1)).double(), x, 0, linear, 1.0)
    reached = each_row(guided, 0, n).log_prob(pad(DESIGNS, (0, 1))).exp()
    weight = ExactChain(model.process, model.predict).probabilities() * linear(DESIGNS).exp()
    torch.testing.assert_close(reached, weight / weight.sum(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_guidance_leaves_the_rate_of_revealing_alone(model: NetworkBackbone, level: float) -> None:
    """Which positions are revealed keeps its law: not even a constant added to all letters may change it."""
    x = torch.cat([partly(DESIGNS[27:28], shown) for shown in subsets(3) if len(shown) < 3])
    out = model.predict(x, torch.ones(len(x)))
    steps = [
        model.process.transition(out, x, 0),
        model.process.guided(out, x, 0, lambda x0: linear(x0) + 5 * x0.sum((1, 2)), level),
    ]
    states = ExactChain(model.process, model.predict).states
    pattern = (states[..., -1] * torch.tensor([4, 2, 1])).sum(1).long()
    moved = []
    for row in range(len(x)):
        plain, guided = (each_row(step, row, len(states)).log_prob(states).exp() for step in steps)
        laws = [torch.zeros(8).scatter_add(0, pattern, p) for p in (plain, guided)]
        torch.testing.assert_close(*laws, rtol=0, atol=1e-5)
        moved.append(not torch.allclose(plain, guided, atol=1e-5))
    assert any(moved) == (level > 0)


def test_guidance_works_without_gradients_and_leaves_none(model: NetworkBackbone) -> None:
    x = partly(DESIGNS[:1], ())
    with torch.no_grad():
        guided = model.process.guided(model.predict(x, torch.ones(1)), x, 0, linear, 1.0)
    assert not guided.rsample(guided.noise(x, seeded())).requires_grad


def test_steps_can_be_changed_where_that_makes_sense() -> None:
    assert Parallel(SPACE, 3, 0.5).with_steps(7).steps == 7
    assert Parallel(SPACE, 3, 0.5).with_steps(7).temperature == 0.5
    assert OneByOne(SPACE).with_steps(3).steps == 3
    with pytest.raises(UnsupportedError, match="parallel"):
        OneByOne(SPACE).with_steps(4)


def test_the_space_must_be_tokens() -> None:
    with pytest.raises(UnsupportedError, match="tokens, not on Vectors"):
        backbone(space=Vectors(3))


@pytest.mark.parametrize("reveal", ["one", "parallel"])
def test_a_network_may_forbid_a_letter_that_does_not_occur(reveal: str) -> None:
    out = torch.tensor([0.0, 0.0, 0.0, -torch.inf], requires_grad=True)
    process, x0 = backbone(reveal=reveal).process, SPACE.encode(["ACG", "GGA"])
    loss = process.loss(lambda x, t, condition: out.expand(len(x), 3, 4), x0, seeded())
    torch.testing.assert_close(loss, torch.full((2,), 3 * math.log(3)))
    (gradient,) = torch.autograd.grad(loss.sum(), out)
    assert bool(gradient.isfinite().all())
