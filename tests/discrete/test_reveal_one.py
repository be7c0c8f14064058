"""One position a step, against the enumeration of every position and letter."""

from __future__ import annotations

import pytest
import torch
from braid_discrete.masked import RevealOne
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import one_hot

from braid_core.interfaces import Tokens
from tests.checks import agrees, seeded
from tests.discrete.conftest import each_row

L, V = 4, 3
CURRENT = torch.tensor([1, V, V, V])  # one position is revealed already
STATE = one_hot(CURRENT, V + 1).double()


def raw(seed: int) -> tuple[Tensor, Tensor]:
    """Unnormalised scores of letters and positions; letter 0 is impossible at position 2."""
    letters = torch.randn(1, L, V, generator=seeded(seed), dtype=torch.float64)
    return letters, torch.randn(1, L, generator=seeded(seed + 50), dtype=torch.float64)


def transition(letters: Tensor, positions: Tensor, current: Tensor = STATE[None]) -> RevealOne:
    ban = torch.zeros(L, V, dtype=torch.bool)
    ban[2, 0] = True
    letters = letters.masked_fill(ban, -torch.inf).log_softmax(-1)
    positions = positions.masked_fill(CURRENT < V, -torch.inf).log_softmax(-1)
    return RevealOne(letters, positions, current)


def following() -> Tensor:
    """Every state that has one more letter than the present one, in the order position, letter."""
    states = []
    for place in range(1, L):
        for letter in range(V):
            x = CURRENT.clone()
            x[place] = letter
            states.append(one_hot(x, V + 1).double())
    return torch.stack(states)


def joint(step: RevealOne) -> Tensor:
    """p(position)·p(letter | position), in the order of ``following``."""
    return (step.positions[0, :, None] + step.letters[0])[1:].flatten().exp()


def test_probabilities_are_position_times_letter_and_sum_to_one() -> None:
    step, states = transition(*raw(0)), following()
    probabilities = each_row(step, 0, len(states)).log_prob(states).exp()
    torch.testing.assert_close(probabilities, joint(step))
    assert float(probabilities.sum()) == pytest.approx(1)
    assert int((probabilities == 0).sum()) == 1


def test_only_one_masked_position_can_change() -> None:
    two, none, changed, hidden = (CURRENT.clone() for _ in range(4))
    two[1:3] = 1
    changed[0] = 2
    hidden[0], hidden[1] = V, 0
    impossible = one_hot(torch.stack([two, none, changed, hidden]), V + 1).double()
    assert bool((each_row(transition(*raw(0)), 0, 4).log_prob(impossible) == -torch.inf).all())


def test_sample_frequencies_are_the_probabilities() -> None:
    step, n = transition(*raw(0)), 40_000
    x = each_row(step, 0, n).rsample(RevealOne.noise(step.current.expand(n, L, V + 1), seeded()))
    place = (x.argmax(-1) != CURRENT).double()
    assert torch.equal(place.sum(1), torch.ones(n, dtype=torch.float64))
    place = place.argmax(1)
    letter = x[torch.arange(n), place].argmax(-1)
    assert agrees((place - 1) * V + letter, joint(step))


def test_samples_with_gradients_are_states_to_the_last_bit() -> None:
    step = transition(*raw(0))
    n = 1000
    letters = step.letters.expand(n, L, V).float().requires_grad_()
    x = RevealOne(letters, step.positions.expand(n, L).float(), STATE.float().expand(n, L, V + 1)).rsample(
        RevealOne.noise(torch.zeros(n, L, V + 1), seeded())
    )
    assert x.requires_grad
    assert bool(Tokens("ABCD", L).contains(x.detach()).all())


def test_kl_is_the_mean_log_ratio_over_all_next_states() -> None:
    p, q = transition(*raw(0)), transition(*raw(1))
    mass, other = joint(p), joint(q)
    expected = torch.where(mass > 0, mass * (mass / other).log(), 0).sum()
    torch.testing.assert_close(p.kl(q), expected[None])
    assert float(expected) > 0.1


def test_kl_and_log_prob_gradients_are_finite_and_those_of_finite_differences() -> None:
    def kl(letters: Tensor, positions: Tensor, other: Tensor, order: Tensor) -> Tensor:
        return transition(letters, positions).kl(transition(other, order))

    def log_prob(letters: Tensor, positions: Tensor) -> Tensor:
        states = following()[[0, 2, 4, 8]]
        return each_row(transition(letters, positions), 0, 4).log_prob(states)

    inputs = [tensor.requires_grad_() for seed in (0, 1) for tensor in raw(seed)]
    assert gradcheck(kl, inputs)
    assert gradcheck(log_prob, inputs[:2])


def test_tilt_is_the_exponential_tilting_by_enumeration() -> None:
    """Revealing also takes the mask away, so the mask's own direction counts."""
    step, states = transition(*raw(0)), following()
    direction = torch.randn(1, L, V + 1, generator=seeded(3), dtype=torch.float64)
    weight = joint(step) * (states * direction).sum((1, 2)).exp()
    tilted = each_row(step.tilt(direction), 0, len(states)).log_prob(states).exp()
    torch.testing.assert_close(tilted, weight / weight.sum())


def test_the_letters_gradient_is_unbiased_for_quadratic_functions() -> None:
    """The mean of the surrogate over every position and letter is the gradient of the enumerated mean."""
    letters, positions = raw(0)
    letters.requires_grad_()
    weight = torch.randn(L, V + 1, L, V + 1, generator=seeded(4), dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        return torch.einsum("blv,lvmw,bmw->b", x, weight, x)

    step = transition(letters, positions)
    mass, states = joint(step), following()
    (expected,) = torch.autograd.grad((mass * value(states)).sum(), letters, retain_graph=True)
    surrogate = torch.zeros_like(letters)
    for number, p in enumerate(mass.tolist()):
        if p == 0:
            continue
        force = torch.zeros(1, L + V, dtype=torch.float64)  # for the positions, then for the letter
        force[0, 1 + number // V] = force[0, L + number % V] = 100
        x = step.rsample(force)
        assert torch.equal(x[0].detach(), states[number])
        surrogate += p * torch.autograd.grad(value(x).sum(), letters, retain_graph=True)[0]
    torch.testing.assert_close(surrogate, expected)


def test_gradients_pass_through_the_positions_that_stay() -> None:
    current = STATE[None].clone().requires_grad_()
    x = transition(*raw(0), current).rsample(RevealOne.noise(current, seeded()))
    x.sum().backward()
    assert current.grad is not None
    stays = (x.detach().argmax(-1) == CURRENT)[..., None].expand_as(current)
    assert torch.equal(current.grad, stays.double())


def test_noise_is_the_generators() -> None:
    x = torch.zeros(3, L, V + 1)
    assert torch.equal(RevealOne.noise(x, seeded(1)), RevealOne.noise(x, seeded(1)))
    assert RevealOne.noise(x, seeded()).shape == (3, L + V)
