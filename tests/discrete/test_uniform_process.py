"""The uniform chain against Bayes' rule by brute force, and its bound against the enumerated likelihood."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from braid_discrete.exact import ExactChain
from braid_discrete.uniform import Uniform
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical, kl_divergence

from braid_core.interfaces import Tokens
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, seeded
from tests.discrete.conftest import number
from tests.discrete.uniform_tables import (
    correlated,
    everything,
    exact_network,
    joint,
    looked_up,
    random_table,
)

ONE = Tokens("ABC", 1)
LETTERS = everything(ONE)
SPACE = Tokens("ABC", 3)
DESIGNS = everything(SPACE)
T = 4


@pytest.fixture(scope="module")
def process() -> Uniform:
    return Uniform(SPACE, T)


@pytest.fixture(scope="module")
def table(process: Uniform) -> Tensor:
    """Firm opinions that depend on everything."""
    return random_table(process, strength=1.5)


@pytest.fixture(scope="module")
def chain(process: Uniform, table: Tensor) -> ExactChain:
    return ExactChain(process, looked_up(process, table))


def one_step(process: Uniform, k: int) -> Tensor:
    """q(x_t | x_s) of one letter, from the survival probabilities alone: ``[x_s, x_t]``."""
    v = len(process.space.alphabet)
    kept = (k / process.steps) / ((k + 1) / process.steps)
    return kept * torch.eye(v, dtype=torch.float64) + (1 - kept) / v


def by_bayes(process: Uniform, k: int) -> Tensor:
    """q(x_s | x_t, x0) of one letter, ``[x0, x_t, x_s]``: multiply the forward steps, then normalise."""
    forward = torch.eye(len(process.space.alphabet), dtype=torch.float64)
    for later in range(process.steps - 1, k, -1):  # from the data up to time s
        forward = forward @ one_step(process, later)
    paths = forward[:, None, :] * one_step(process, k).T[None]  # q(x_s | x0)·q(x_t | x_s)
    return paths / paths.sum(-1, keepdim=True)


@pytest.mark.parametrize("k", range(T))
def test_letters_survive_with_the_schedules_probability(k: int) -> None:
    """α_t = 1 − t, and the forward steps multiply to it."""
    process, n = Uniform(ONE, T), 30_000
    x0 = LETTERS[:1].expand(n, 1, 3)
    drawn = process._noised(x0, torch.full((n,), k), seeded()).argmax(-1)[:, 0]
    forward = torch.eye(3, dtype=torch.float64)
    for later in range(T - 1, k - 1, -1):
        forward = forward @ one_step(process, later)
    assert agrees(drawn, forward[0])
    assert float(forward[0, 0]) == pytest.approx(k / T + (1 - k / T) / 3)


@pytest.mark.parametrize("k", range(T))
def test_the_posterior_of_the_loss_is_exact(k: int) -> None:
    """All combinations of three letters; the last step is x0 itself."""
    process = Uniform(ONE, T)
    x0, x = LETTERS.repeat_interleave(3, 0), LETTERS.repeat(3, 1, 1)
    posterior = process._posterior(x0.double(), x, torch.tensor([k]))[:, 0]
    torch.testing.assert_close(posterior.reshape(3, 3, 3), by_bayes(process, k))


@pytest.mark.parametrize("k", range(T))
def test_the_step_is_the_posterior_averaged_over_what_the_network_and_the_letter_say(k: int) -> None:
    """Σ_x0 q(x_s | x_t, x0)·p(x0 | x_t), with p(x0 | x_t) ∝ softmax(out)·q(x_t | x0): D3PM's eq. 4."""
    process = Uniform(ONE, T)
    out = torch.randn(3, 1, 3, generator=seeded(), dtype=torch.float64)
    step = process.transition(out, LETTERS, k)
    belief = process.denoised(out, LETTERS, k)[:, 0]  # [x_t, x0]
    alpha = k / T
    likelihood = alpha * torch.eye(3, dtype=torch.float64) + (1 - alpha) / 3
    expected = out[:, 0].softmax(-1) * likelihood
    torch.testing.assert_close(belief, expected / expected.sum(-1, keepdim=True))
    torch.testing.assert_close(step.logits.exp()[:, 0], torch.einsum("to,ots->ts", belief, by_bayes(process, k)))


@pytest.mark.parametrize("k", range(T))
def test_the_exact_network_denoises_to_the_posterior_mean(process: Uniform, k: int) -> None:
    law = correlated(SPACE)
    out = exact_network(process, law)[k]
    both = joint(process, law, k)
    mean = torch.einsum("xt,xlv->tlv", both / both.sum(0), DESIGNS.double())
    torch.testing.assert_close(process.denoised(out, DESIGNS, k), mean)


def test_the_chain_starts_from_uniform_letters() -> None:
    x = Uniform(SPACE, T).prior(8000, seeded())
    assert bool(SPACE.contains(x).all())
    assert agrees(number(x), torch.full((27,), 1 / 27))


def test_a_step_is_a_product_of_categoricals(process: Uniform, table: Tensor) -> None:
    step = process.transition(table[1], DESIGNS, 1)
    expected = Categorical(logits=step.logits)
    x = DESIGNS.roll(5, 0)
    torch.testing.assert_close(step.log_prob(x), expected.log_prob(x.argmax(-1)).sum(1))
    other = process.transition(random_table(process, 1)[1], DESIGNS, 1)
    torch.testing.assert_close(step.kl(other), kl_divergence(expected, Categorical(logits=other.logits)).sum(1))


def test_exact_probabilities_are_those_of_samples(process: Uniform, table: Tensor, chain: ExactChain) -> None:
    probabilities = chain.probabilities()
    assert float(probabilities.sum()) == pytest.approx(1)
    assert torch.equal(chain.designs, DESIGNS)
    with torch.no_grad():
        x = rollout(process, looked_up(process, table), 20_000, seeded()).x
    assert agrees(number(x), probabilities)


def test_one_step_with_an_exact_network_loses_what_letters_tell_of_each_other() -> None:
    law, process = correlated(SPACE), Uniform(SPACE, 1)
    marginals = torch.einsum("x,xlv->lv", law, DESIGNS.double())
    independent = torch.einsum("xlv,lv->xl", DESIGNS.double(), marginals).prod(1)
    reached = ExactChain(process, looked_up(process, exact_network(process, law))).probabilities()
    torch.testing.assert_close(reached, independent)


def test_an_exact_network_gives_the_law_of_the_data_as_steps_grow() -> None:
    """The error of a factorised step is of second order, so their sum falls as 1/T: halved by doubling."""
    law, distance = correlated(SPACE), []
    for steps in (8, 16, 32, 64, 128):
        process = Uniform(SPACE, steps)
        reached = ExactChain(process, looked_up(process, exact_network(process, law))).probabilities()
        distance.append(float((reached - law).abs().sum() / 2))
    assert distance[-1] < 0.006
    assert all(0.45 < late / early < 0.55 for early, late in pairwise(distance))


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_one_letter_is_exact_in_any_number_of_steps(steps: int) -> None:
    law, process = torch.tensor([0.7, 0.29, 0.01], dtype=torch.float64), Uniform(ONE, steps)
    reached = ExactChain(process, looked_up(process, exact_network(process, law))).probabilities()
    torch.testing.assert_close(reached, law)


def exact_bound(process: Uniform, table: Tensor, x0: Tensor) -> Tensor:
    """Σ_k E[KL(q(x_s | x_t, x0) ‖ p(x_s | x_t))] of every design in ``x0``, by enumeration of x_t."""
    states = everything(process.space)
    letter_at = states.argmax(-1)
    total = torch.zeros(len(x0), dtype=torch.float64)
    for k in range(process.steps):
        model = process.transition(table[k], states, k).logits
        posterior = by_bayes(process, k)
        alpha, v = k / process.steps, len(process.space.alphabet)
        marginal = alpha * torch.eye(v, dtype=torch.float64) + (1 - alpha) / v
        for row, design in enumerate(x0.argmax(-1)):
            mass = marginal[design, letter_at].prod(1)
            q = posterior[design, letter_at]  # n l v
            divergence = torch.where(q > 0, q * (q.clamp(min=1e-300).log() - model), 0.0).sum((1, 2))
            total[row] += mass @ divergence
    return total


def test_the_bound_is_above_the_exact_negative_log_probability(
    process: Uniform, table: Tensor, chain: ExactChain
) -> None:
    bound, exact = exact_bound(process, table, DESIGNS), -chain.probabilities().log()
    assert bool((bound >= exact - 1e-9).all())
    assert float((bound - exact).max()) > 0.1  # or this would prove little


def test_the_bound_of_an_exact_network_closes_as_steps_grow() -> None:
    """256 designs of eight letters. What is left is the dependence between letters within a step, of order 1/T."""
    space = Tokens("AC", 8)
    law, designs = correlated(space), everything(space)
    entropy, excess = -float(law @ law.log()), []
    for steps in (4, 8, 16):
        process = Uniform(space, steps)
        table = exact_network(process, law)
        nll = -ExactChain(process, looked_up(process, table)).probabilities().log()
        bound = exact_bound(process, table, designs)
        assert bool((bound >= nll - 1e-9).all())
        excess.append(float(law @ bound) - entropy)
        assert 0 < float(law @ nll) - entropy < excess[-1]
    assert all(0.4 < late / early < 0.6 for early, late in pairwise(excess))


@pytest.mark.parametrize("steps", [1, T])
def test_the_mean_loss_is_the_exact_bound(steps: int) -> None:
    """For two designs that share a batch, whichever comes first."""
    process = Uniform(SPACE, steps)
    table = random_table(process, strength=1.5)
    pair, n = DESIGNS[[5, 22]], 20_000
    with torch.no_grad():
        loss = process.loss(looked_up(process, table), pair.repeat_interleave(n, 0), seeded()).reshape(2, n)
    for expected, part in zip(exact_bound(process, table, pair), loss, strict=True):
        assert float(part.mean()) == pytest.approx(float(expected), abs=4 * float(part.std()) / n**0.5)


@pytest.mark.parametrize("steps", [1, 5, 500])
def test_a_network_that_knows_nothing_has_exactly_the_bound_of_uniform_designs(steps: int) -> None:
    """L·ln v for each design, not only on average, in any number of steps."""
    space = Tokens("ACGT", 7)
    loss = Uniform(space, steps).loss(lambda x, t, condition: torch.zeros_like(x), space.random(50, seeded()), seeded())
    torch.testing.assert_close(loss, torch.full((50,), 7 * math.log(4)))


def test_that_bound_is_the_sum_of_divergences_too(process: Uniform) -> None:
    """L·ln v is not assumed: it is what the enumeration of every step gives."""
    bound = exact_bound(process, torch.zeros(T, 27, 3, 3, dtype=torch.float64), DESIGNS)
    torch.testing.assert_close(bound, torch.full((27,), 3 * math.log(3), dtype=torch.float64))


def test_steps_are_stratified_and_the_network_is_told_its_time(process: Uniform) -> None:
    seen: list[Tensor] = []

    def predict(x: Tensor, t: Tensor, condition: object) -> Tensor:
        seen.append(t)
        return torch.zeros_like(x)

    process.loss(predict, DESIGNS.repeat(4, 1, 1)[:100], seeded())
    k = (1 - seen[0]) * T
    assert torch.bincount(k.round().long()).tolist() == [25] * T
    assert not torch.equal(k, k.sort().values)
    assert sorted(set(seen[0].tolist())) == pytest.approx(sorted(process.time(k) for k in range(T)))


def test_the_loss_is_the_generators(process: Uniform, table: Tensor) -> None:
    one, again, other = (process.loss(looked_up(process, table), DESIGNS, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_loss_and_step_have_the_gradients_of_finite_differences(process: Uniform) -> None:
    """In the last step too, where letters that were not are impossible."""

    def loss(out: Tensor) -> Tensor:
        return process.loss(lambda x, t, condition: out, DESIGNS[[3, 9, 20, 26]], seeded())

    def step(out: Tensor, x: Tensor) -> Tensor:
        return torch.cat([process.transition(out, x, k).logits for k in range(T)])

    out = torch.randn(4, 3, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    assert gradcheck(loss, (out,))
    assert gradcheck(step, (out, DESIGNS[[1, 7, 11, 25]].double().requires_grad_()))


def test_path_kl_is_the_mean_kl_of_rollouts_and_bounds_the_marginal(process: Uniform, table: Tensor) -> None:
    predict, other = looked_up(process, table), looked_up(process, random_table(process, 1, 2.0))
    chain = ExactChain(process, predict, other)
    exact = float(chain.path_kl())
    with torch.no_grad():
        drawn = rollout(process, predict, 4000, seeded(), reference=other).kl.sum(1)
    assert exact == pytest.approx(float(drawn.mean()), abs=4 * float(drawn.std()) / 4000**0.5)
    p, q = chain.probabilities(), ExactChain(process, other).probabilities()
    assert 0.1 < float((p * (p / q).log()).sum()) < exact


def test_path_kl_is_the_sum_over_all_paths() -> None:
    """Every path x_0 → x_1 → x_2 → x_3 of one letter, with log p of the whole path."""
    process = Uniform(ONE, 3)
    tables = [random_table(process, seed) for seed in (0, 1)]
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)
    log_p = []
    for table in tables:
        total = torch.full((81,), -math.log(3), dtype=torch.float64)
        for k in range(3):
            step = process.transition(table[k], LETTERS, k).logits[:, 0]
            total = total + step[paths[:, k], paths[:, k + 1]]
        log_p.append(total)
    expected = (log_p[0].exp() * (log_p[0] - log_p[1])).sum()
    torch.testing.assert_close(
        ExactChain(process, *(looked_up(process, table) for table in tables)).path_kl(), expected
    )


def linear(x: Tensor) -> Tensor:
    weight = torch.randn(3, 3, generator=seeded(7), dtype=torch.float64)
    return (x.double() * weight).sum((1, 2))


def test_guidance_along_a_linear_potential_tilts_the_letters_exactly() -> None:
    """In one step, p(x)·exp(level·f(x)) over all designs."""
    process = Uniform(SPACE, 1)
    out, n = random_table(process)[0, :1], len(DESIGNS)
    guided = process.guided(out, DESIGNS[:1], 0, linear, 1.0)
    reached = Categorical(logits=guided.logits.expand(n, 3, 3)).log_prob(DESIGNS.argmax(-1)).sum(1).exp()
    plain = Categorical(logits=out.expand(n, 3, 3)).log_prob(DESIGNS.argmax(-1)).sum(1).exp()
    weight = plain * linear(DESIGNS).exp()
    torch.testing.assert_close(reached, weight / weight.sum())


@pytest.mark.parametrize("k", range(T))
def test_a_guided_step_is_the_step_of_a_tilted_x0(process: Uniform, table: Tensor, k: int) -> None:
    """p(x0 | x_t) is tilted by exp(level·∇f(x̂0)·x0), each position by itself, and averages the same posteriors."""

    def curved(x: Tensor) -> Tensor:
        return linear(x).square()

    out = table[k]
    guided = process.guided(out, DESIGNS, k, curved, 0.7)
    x0 = process.denoised(out, DESIGNS, k).requires_grad_()
    (direction,) = torch.autograd.grad(curved(x0).sum(), x0)
    belief = x0.detach() * (0.7 * direction).exp()
    belief = belief / belief.sum(-1, keepdim=True)
    expected = torch.einsum("tlo,otls->tls", belief, by_bayes(process, k)[:, DESIGNS.argmax(-1)])
    torch.testing.assert_close(guided.logits.exp(), expected)
    unguided = process.guided(out, DESIGNS, k, curved, 0.0)
    torch.testing.assert_close(unguided.logits, process.transition(out, DESIGNS, k).logits)


def test_guidance_works_without_gradients_and_leaves_none(process: Uniform, table: Tensor) -> None:
    with torch.no_grad():
        guided = process.guided(table[0], DESIGNS, 0, linear, 1.0)
    assert not guided.rsample(guided.noise(DESIGNS, seeded())).requires_grad


def test_steps_can_be_changed(process: Uniform) -> None:
    other = Uniform(SPACE, 3, 0.5).with_steps(7)
    assert (other.steps, other.temperature, other.space) == (7, 0.5, SPACE)
    assert process.tunable


def test_the_design_is_the_last_state(process: Uniform) -> None:
    assert torch.equal(process.finish(DESIGNS), DESIGNS)
