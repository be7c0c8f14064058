"""Positions revealed independently: a coin and a letter each, against the enumeration of every next state."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from braid_discrete.masked import RevealEach
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical
from torch.nn.functional import logsigmoid, one_hot

from braid_core.interfaces import Tokens
from tests.checks import agrees, seeded
from tests.discrete.conftest import each_row

L, V = 3, 3
CURRENT = torch.tensor([V, 1, V])  # the middle position is revealed already
STATE = one_hot(CURRENT, V + 1).double()[None]


def raw(seed: int) -> tuple[Tensor, Tensor]:
    """Unnormalised scores of letters, and the log-odds of the coins."""
    letters = torch.randn(1, L, V, generator=seeded(seed), dtype=torch.float64)
    return letters, torch.randn(1, L, generator=seeded(seed + 50), dtype=torch.float64)


def step(letters: Tensor, odds: Tensor, current: Tensor = STATE) -> RevealEach:
    """Letter 0 is impossible at the last position."""
    ban = torch.zeros(L, V, dtype=torch.bool)
    ban[2, 0] = True
    letters = letters.masked_fill(ban, -torch.inf).log_softmax(-1)
    return RevealEach(letters, logsigmoid(odds).masked_fill(CURRENT < V, -torch.inf), current)


def following() -> Tensor:
    """Every next state: at each masked position a letter, or still the mask."""
    return torch.stack(
        [one_hot(torch.tensor([first, 1, last]), V + 1).double() for first, last in product(range(V + 1), repeat=2)]
    )


def by_hand(transition: RevealEach) -> Tensor:
    """The product of the two positions' tables, in the order of ``following``."""
    tables = []
    for place in (0, 2):
        coin = transition.reveal[0, place].exp()
        tables.append(torch.cat([coin * transition.letters[0, place].exp(), (1 - coin)[None]]))
    return torch.outer(*tables).flatten()


def test_probabilities_are_coins_times_letters_and_sum_to_one() -> None:
    transition, states = step(*raw(0)), following()
    probabilities = each_row(transition, 0, len(states)).log_prob(states).exp()
    torch.testing.assert_close(probabilities, by_hand(transition))
    assert float(probabilities.sum()) == pytest.approx(1)
    assert int((probabilities == 0).sum()) == V + 1


def test_a_revealed_letter_never_changes() -> None:
    transition = step(*raw(0))
    for letter in (0, 2, V):
        changed = one_hot(torch.tensor([[0, letter, 1]]), V + 1).double()
        assert transition.log_prob(changed) == -torch.inf
    drawn = each_row(transition, 0, 500).rsample(RevealEach.noise(STATE.expand(500, L, V + 1), seeded()))
    assert bool((drawn[:, 1] == STATE[0, 1]).all())


def test_sample_frequencies_are_the_probabilities() -> None:
    n = 40_000
    transition = step(*raw(0))
    letters = each_row(transition, 0, n).rsample(RevealEach.noise(STATE.expand(n, L, V + 1), seeded())).argmax(-1)
    assert agrees(letters[:, 0] * (V + 1) + letters[:, 2], by_hand(transition))


@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_certain_coins_are_certain(rate: float) -> None:
    """The last step reveals everything; it has no other states, and no NaN."""
    reveal = torch.full((400, L), rate, dtype=torch.float64).log()
    current = one_hot(torch.full((400, L), V), V + 1).double()
    transition = RevealEach(torch.zeros(400, L, V, dtype=torch.float64).log_softmax(-1), reveal, current)
    x = transition.rsample(RevealEach.noise(current, seeded()))
    assert bool((x[..., -1] == 1 - rate).all())
    assert bool(transition.log_prob(x).isfinite().all())
    assert float(transition.log_prob(current)[0].exp()) == 1 - rate
    assert float(transition.kl(transition).abs().max()) == 0


def test_samples_with_gradients_are_states_to_the_last_bit() -> None:
    letters = torch.randn(1000, L, V, generator=seeded()).log_softmax(-1).requires_grad_()
    current = one_hot(torch.full((1000, L), V), V + 1).float()
    x = RevealEach(letters, torch.full((1000, L), -0.5), current).rsample(RevealEach.noise(current, seeded()))
    assert x.requires_grad
    assert bool(Tokens("ABCD", L).contains(x.detach()).all())


def test_kl_is_the_mean_log_ratio_over_all_next_states() -> None:
    p, q = step(*raw(0)), step(*raw(1))
    mass, other = by_hand(p), by_hand(q)
    expected = torch.where(mass > 0, mass * (mass / other).log(), 0).sum()
    torch.testing.assert_close(p.kl(q), expected[None])
    assert float(expected) > 0.1


def test_kl_and_log_prob_gradients_are_finite_and_those_of_finite_differences() -> None:
    def kl(letters: Tensor, odds: Tensor, other: Tensor, others: Tensor) -> Tensor:
        return step(letters, odds).kl(step(other, others))

    def log_prob(letters: Tensor, odds: Tensor) -> Tensor:
        states = following()[[1, 6, 14, 15]]
        return each_row(step(letters, odds), 0, 4).log_prob(states)

    inputs = [tensor.requires_grad_() for seed in (0, 1) for tensor in raw(seed)]
    assert gradcheck(kl, inputs)
    assert gradcheck(log_prob, inputs[:2])


def test_tilt_is_the_exponential_tilting_by_enumeration() -> None:
    transition, states = step(*raw(0)), following()
    direction = torch.randn(1, L, V + 1, generator=seeded(3), dtype=torch.float64)
    weight = by_hand(transition) * (states * direction).sum((1, 2)).exp()
    tilted = each_row(transition.tilt(direction), 0, len(states)).log_prob(states).exp()
    torch.testing.assert_close(tilted, weight / weight.sum())


def test_the_letters_gradient_is_unbiased_for_quadratic_functions() -> None:
    """The mean of the surrogate over all coins and letters is the gradient of the enumerated mean."""
    letters, odds = raw(0)
    letters.requires_grad_()
    own = torch.randn(L, V + 1, V + 1, generator=seeded(4), dtype=torch.float64)
    pair = torch.randn(V + 1, V + 1, generator=seeded(5), dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        """Quadratic in each position, and a product over the two that move."""
        return torch.einsum("blv,lvw,blw->b", x, own, x) + torch.einsum("bv,vw,bw->b", x[:, 0], pair, x[:, 2])

    transition, states = step(letters, odds), following()
    mass = by_hand(transition)
    (expected,) = torch.autograd.grad((mass * value(states)).sum(), letters, retain_graph=True)
    surrogate = torch.zeros_like(letters)
    for number, p in enumerate(mass.tolist()):
        if p == 0:
            continue
        force = torch.zeros(1, L, V + 1, dtype=torch.float64)
        for place, letter in ((0, number // (V + 1)), (2, number % (V + 1))):
            force[0, place, -1] = 100 if letter == V else -5  # a coin of almost 1, or of almost 0
            if letter < V:
                force[0, place, letter] = 100
        x = transition.rsample(force)
        assert torch.equal(x[0].detach(), states[number])
        if x.requires_grad:
            surrogate += p * torch.autograd.grad(value(x).sum(), letters, retain_graph=True)[0]
    torch.testing.assert_close(surrogate, expected)


def test_it_is_the_categorical_over_letters_and_mask() -> None:
    transition = step(*raw(0))
    table = torch.cat(
        [transition.reveal[..., None] + transition.letters, (1 - transition.reveal.exp()).log()[..., None]], -1
    )
    x = following()
    expected = Categorical(logits=table[0, [0, 2]]).log_prob(x[:, [0, 2]].argmax(-1)).sum(1)
    torch.testing.assert_close(each_row(transition, 0, len(x)).log_prob(x), expected)


def test_gradients_pass_through_the_positions_that_stay() -> None:
    current = STATE.clone().requires_grad_()
    x = step(*raw(0), current).rsample(RevealEach.noise(current, seeded()))
    x.sum().backward()
    assert current.grad is not None
    stays = (x.detach().argmax(-1) == CURRENT)[..., None].expand_as(current)
    assert torch.equal(current.grad, stays.double())
