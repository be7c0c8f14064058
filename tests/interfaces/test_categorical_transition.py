"""The categorical step against torch.distributions and enumeration, with impossible letters and resting positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import one_hot

from braid_core.interfaces import CategoricalTransition, Tokens
from braid_core.interfaces.transition import categorical_kl, gumbel, straight_through
from tests.checks import agrees, cosine, seeded

B, L, V = 4, 3, 5
IMPOSSIBLE = torch.tensor([False, True, False, False, True])


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def normalised(raw: Tensor) -> Tensor:
    """Log probabilities of which two letters are impossible at the middle position."""
    ban = torch.zeros(raw.shape[-2:], dtype=torch.bool)
    ban[1] = IMPOSSIBLE
    return raw.masked_fill(ban, -torch.inf).log_softmax(-1)


def letters(seed: int, n: int = B) -> Tensor:
    return one_hot(torch.randint(V, (n, L), generator=seeded(seed)), V).double()


def step(seed: int, active: Tensor | None = None) -> CategoricalTransition:
    """A step in which the last position of every design rests, unless ``active`` says otherwise."""
    if active is None:
        active = torch.tensor([True, True, False]).expand(B, L)
    return CategoricalTransition(normalised(draw((B, L, V), seed)), letters(9), active)


def all_states() -> Tensor:
    """Every state of ``L`` positions."""
    return one_hot(torch.tensor(list(product(range(V), repeat=L))), V).double()


def one(transition: CategoricalTransition, times: int) -> CategoricalTransition:
    """The first design's step, for ``times`` designs."""
    return CategoricalTransition(
        transition.logits[:1].expand(times, L, V),
        transition.current[:1].expand(times, L, V),
        transition.active[:1].expand(times, L),
    )


def test_log_prob_is_that_of_torch_where_positions_move() -> None:
    transition, x = step(0), letters(5)
    x[:, 1] = one_hot(torch.tensor([0, 2, 3, 1]), V)  # the last is impossible
    x[:, 2] = transition.current[:, 2]
    expected = Categorical(logits=transition.logits).log_prob(x.argmax(-1))[:, :2].sum(1)
    torch.testing.assert_close(transition.log_prob(x), expected)
    assert transition.log_prob(x)[3] == -torch.inf


def test_a_resting_position_cannot_change() -> None:
    transition = step(0, torch.zeros(B, L, dtype=torch.bool))
    assert torch.equal(transition.log_prob(transition.current), torch.zeros(B, dtype=torch.float64))
    assert bool((transition.log_prob(transition.current.roll(1, -1)) == -torch.inf).all())
    assert torch.equal(transition.rsample(gumbel(torch.Size((B, L, V)), seeded())), transition.current)


def test_probabilities_of_all_next_states_sum_to_one() -> None:
    states = all_states()
    total = one(step(0), len(states)).log_prob(states).exp().sum()
    assert float(total) == pytest.approx(1)


def test_kl_is_that_of_torch_over_the_positions_that_move() -> None:
    p, q = step(0), step(1)
    each = kl_divergence(Categorical(logits=p.logits), Categorical(logits=q.logits))
    torch.testing.assert_close(p.kl(q), each[:, :2].sum(1))
    assert bool((p.kl(q) > 0.01).all())


def test_kl_is_the_mean_log_ratio_over_all_next_states() -> None:
    states = all_states()
    p, q = one(step(0), len(states)), one(step(1), len(states))
    log_p = p.log_prob(states)
    reached = log_p > -torch.inf
    expected = (log_p.exp() * (log_p - q.log_prob(states)))[reached].sum()
    torch.testing.assert_close(p.kl(q)[0], expected)


def test_kl_is_infinite_where_the_reference_cannot_follow() -> None:
    p = torch.tensor([[0.5, 0.5]]).log()
    q = torch.tensor([[1.0, 0.0]]).log()
    assert categorical_kl(p, q) == torch.inf
    assert float(categorical_kl(q, p)) == pytest.approx(math.log(2))


def test_kl_of_lost_logits_is_lost() -> None:
    """NaN is not an impossible letter, which would cost nothing."""
    lost = torch.tensor([[torch.nan, torch.nan], [0.0, -torch.inf]])
    kl = categorical_kl(lost, torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log())
    assert kl.isnan().tolist() == [True, False]


def test_kl_gradient_is_finite_and_that_of_finite_differences() -> None:
    def kl(p: Tensor, q: Tensor) -> Tensor:
        active = torch.tensor([[True, True, False], [True, False, True]])
        first = CategoricalTransition(normalised(p), letters(9, 2), active)
        return first.kl(CategoricalTransition(normalised(q), letters(9, 2), active))

    p, q = (draw((2, L, V), seed).requires_grad_() for seed in (0, 1))
    assert gradcheck(kl, (p, q))
    gradients = torch.autograd.grad(kl(p, q).sum(), (p, q))
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients)


def test_log_prob_gradient_is_that_of_finite_differences() -> None:
    x = letters(5)
    x[:, 1] = one_hot(torch.tensor(3), V)
    x[:, 2] = letters(9)[:, 2]

    def log_prob(raw: Tensor) -> Tensor:
        return CategoricalTransition(normalised(raw), letters(9), step(0).active).log_prob(x)

    assert gradcheck(log_prob, (draw((B, L, V), 0).requires_grad_(),))


def test_tilt_is_the_exponential_tilting_by_enumeration() -> None:
    states, direction = all_states(), draw((1, L, V), 3)
    p = one(step(0), len(states))
    weight = p.log_prob(states).exp() * (states * direction).sum((1, 2)).exp()
    tilted = p.tilt(direction.expand(len(states), L, V))
    torch.testing.assert_close(tilted.log_prob(states).exp(), weight / weight.sum())


def test_sample_frequencies_are_the_probabilities() -> None:
    n, states = 40_000, all_states()
    transition = one(step(0), n)
    x = transition.rsample(transition.noise(transition.current, seeded()))
    number = (x.argmax(-1) * torch.tensor([V * V, V, 1])).sum(1)
    assert agrees(number, one(step(0), len(states)).log_prob(states).exp())


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_samples_with_gradients_are_designs_to_the_last_bit(temperature: float | None) -> None:
    logits = draw((1000, L, 4), 0).float().log_softmax(-1).requires_grad_()
    x = straight_through(logits, gumbel(logits.shape, seeded()), temperature)
    assert x.requires_grad
    assert bool(Tokens("ACGT", L).contains(x.detach()).all())


def test_samples_do_not_depend_on_the_estimator() -> None:
    logits, noise = draw((50, L, V), 0).log_softmax(-1), gumbel(torch.Size((50, L, V)), seeded())
    plain = straight_through(logits, noise, None)
    for temperature in (None, 0.3):
        assert torch.equal(straight_through(logits.clone().requires_grad_(), noise, temperature), plain)


def linear(x: Tensor) -> Tensor:
    return x @ draw((V,), 6)


def quadratic(x: Tensor) -> Tensor:
    return linear(x) + ((x @ draw((V, V), 7)) * x).sum(-1)


def cubic(x: Tensor) -> Tensor:
    return 0.3 * linear(x) ** 3 + quadratic(x)


def enumerated(f: Callable[[Tensor], Tensor], raw: Tensor) -> Tensor:
    """d/draw of Σ p·f over the letters: the gradient that every estimator is after."""
    value = (raw.softmax(-1) * f(torch.eye(V, dtype=torch.float64))).sum()
    return torch.autograd.grad(value, raw)[0]


def expected_surrogate(f: Callable[[Tensor], Tensor], raw: Tensor) -> Tensor:
    """The mean of the second-order estimator, which depends on the noise through the letter alone."""
    total = torch.zeros_like(raw)
    for letter, p in enumerate(raw.softmax(-1).tolist()):
        force = torch.zeros(1, V, dtype=torch.float64)
        force[0, letter] = 100
        sample = straight_through(raw[None].log_softmax(-1), force, None)
        total += p * torch.autograd.grad(f(sample).sum(), raw)[0]
    return total


@pytest.mark.parametrize("f", [linear, quadratic])
@pytest.mark.parametrize("banned", [False, True])
def test_second_order_gradient_is_unbiased_up_to_quadratic_functions(
    f: Callable[[Tensor], Tensor], banned: bool
) -> None:
    """Liu et al. 2023, theorem 3.1: Heun's rule is exact for quadratic functions between letters."""
    raw = draw((V,), 8)
    if banned:
        raw[IMPOSSIBLE] = -torch.inf
    raw.requires_grad_()
    torch.testing.assert_close(expected_surrogate(f, raw), enumerated(f, raw))


def test_second_order_gradient_is_biased_beyond() -> None:
    """So that the two tests above can tell an estimator from the truth."""
    raw = draw((V,), 8).requires_grad_()
    surrogate, exact = expected_surrogate(cubic, raw), enumerated(cubic, raw)
    assert not torch.allclose(surrogate, exact, rtol=1e-3)
    assert cosine(surrogate, exact) > 0.9


def test_gumbel_softmax_gradient_points_the_right_way() -> None:
    raw, n = draw((V,), 8).requires_grad_(), 20_000
    sample = straight_through(raw.log_softmax(-1).expand(n, V), gumbel(torch.Size((n, V)), seeded()), 0.5)
    (gradient,) = torch.autograd.grad(quadratic(sample).mean(), raw)
    assert cosine(gradient, enumerated(quadratic, raw)) > 0.8


def test_gradients_pass_through_resting_positions() -> None:
    current = letters(9).requires_grad_()
    transition = CategoricalTransition(step(0).logits, current, step(0).active)
    transition.rsample(transition.noise(current, seeded())).sum().backward()
    assert torch.equal(current.grad, (~step(0).active)[..., None].expand(B, L, V).double())


def test_noise_is_the_generators_and_finite() -> None:
    x = torch.zeros(2000, L, V)
    first, again = (CategoricalTransition.noise(x, seeded(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert bool(first.isfinite().all())
    assert float(first.mean()) == pytest.approx(0.5772, abs=0.03)  # Euler's constant


def test_gumbel_survives_the_ends_of_the_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = torch.tensor([0.0, 1.0])
    monkeypatch.setattr(torch, "rand", lambda *args, **options: ends)
    assert bool(gumbel(torch.Size((2,)), seeded()).isfinite().all())
