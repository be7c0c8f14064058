"""A coin and a letter: the same law as one categorical, and gradients that survive short steps."""

from __future__ import annotations

import pytest
import torch
from braid_discrete.exact import ExactChain
from braid_discrete.uniform import Resample, Uniform
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import one_hot

from braid_core.interfaces import Tokens
from braid_core.tuning.letters import by_substitution
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, cosine, flat, seeded
from tests.discrete.conftest import each_row, number
from tests.discrete.uniform_tables import everything

L, V = 2, 3
SPACE = Tokens("ABC", L)
STATES = everything(SPACE).double()
CURRENT = one_hot(torch.tensor([[2, 0]]), V).double()
WEIGHTS = [0.0, 0.5, 40.0]


def raw(seed: int) -> Tensor:
    return torch.randn(1, L, V, generator=seeded(seed), dtype=torch.float64)


def step(letters: Tensor, weight: float, current: Tensor = CURRENT, temperature: float | None = None) -> Resample:
    return Resample(letters.log_softmax(-1), current.expand_as(letters), weight, temperature)


def by_hand(transition: Resample) -> Tensor:
    """Coin and letter, summed over which of them it was: all next states of one design."""
    q = transition.letters[0].exp()
    stays = transition.weight * (q * CURRENT[0]).sum(-1, keepdim=True)
    table = q / (1 + stays) + CURRENT[0] * stays / (1 + stays)
    return (STATES[:, :, None, :] @ table[None, :, :, None]).prod(1).flatten()


@pytest.mark.parametrize("weight", WEIGHTS)
def test_log_prob_is_coin_and_letter_and_one_categorical(weight: float) -> None:
    transition = step(raw(0), weight)
    log_prob = each_row_of(transition, len(STATES)).log_prob(STATES)
    torch.testing.assert_close(log_prob.exp(), by_hand(transition))
    assert float(log_prob.exp().sum()) == pytest.approx(1)
    expected = Categorical(logits=transition.logits).log_prob(STATES.argmax(-1)).sum(1)
    torch.testing.assert_close(log_prob, expected)


def each_row_of(transition: Resample, n: int) -> Resample:
    repeated: Resample = each_row(transition, 0, n)
    return repeated


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_sample_frequencies_are_the_probabilities(weight: float, temperature: float | None) -> None:
    n = 30_000
    transition = step(raw(0).expand(n, L, V).float().requires_grad_(), weight, CURRENT.float(), temperature)
    x = transition.rsample(Resample.noise(transition.current, seeded())).detach()
    assert bool(SPACE.contains(x).all())  # to the last bit, with gradients too
    assert agrees(number(x), by_hand(step(raw(0), weight)))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_kl_is_that_of_torch(weight: float) -> None:
    p, q = step(raw(0), weight), step(raw(1), weight)
    expected = kl_divergence(Categorical(logits=p.logits), Categorical(logits=q.logits)).sum(1)
    torch.testing.assert_close(p.kl(q), expected)


def test_kl_is_linear_in_the_letter_that_stands_there() -> None:
    """So its gradient with respect to the state is the true difference, letter by letter."""

    def kl(x: Tensor) -> Tensor:
        return step(raw(0), 7.0, x).kl(step(raw(1), 7.0, x))

    x = CURRENT.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kl(x).sum(), x)
    for place in range(L):
        for letter in range(V):
            other = CURRENT.clone()
            other[0, place] = one_hot(torch.tensor(letter), V)
            predicted = (gradient * (other - CURRENT)).sum()
            torch.testing.assert_close(kl(other)[0] - kl(CURRENT)[0], predicted)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_tilt_is_the_exponential_tilting_by_enumeration(weight: float) -> None:
    transition, direction = step(raw(0), weight), raw(3)
    mass = by_hand(transition) * (STATES * direction).sum((1, 2)).exp()
    torch.testing.assert_close(by_hand(transition.tilt(direction)), mass / mass.sum())


@pytest.mark.parametrize("weight", WEIGHTS)
def test_gradients_are_those_of_finite_differences(weight: float) -> None:
    def kl(letters: Tensor, other: Tensor, x: Tensor) -> Tensor:
        return step(letters, weight, x).kl(step(other, weight, x))

    def log_prob(letters: Tensor, x: Tensor) -> Tensor:
        return step(letters, weight, x).log_prob(STATES[[4]])

    letters, other, x = (t.clone().requires_grad_() for t in (raw(0), raw(1), CURRENT))
    assert gradcheck(kl, (letters, other, x))
    assert gradcheck(log_prob, (letters, x))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_letters_gradient_is_unbiased_for_quadratic_functions(weight: float) -> None:
    """The mean of the surrogate over all coins and letters of one position is the gradient of the enumerated mean."""
    letters = raw(0)[:, :1].clone().requires_grad_()
    transition = step(letters, weight, CURRENT[:, :1])
    own = torch.randn(V, V, generator=seeded(4), dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        return torch.einsum("blv,vw,blw->b", x, own, x)

    mass = transition.logits[0, 0].exp()
    (expected,) = torch.autograd.grad(mass @ value(torch.eye(V).double()[:, None]), letters, retain_graph=True)
    q = transition.letters[0, 0].exp()
    takes = 1 / (1 + weight * q.detach() @ CURRENT[0, 0])
    surrogate = torch.zeros_like(letters)
    for letter in range(V):
        for coin, chance in ((0, takes), (1, 1 - takes)):
            force = torch.zeros(1, 1, V + 2, dtype=torch.float64)
            force[..., letter] = force[..., V + coin] = 100
            if chance > 0:
                x = transition.rsample(force)
                (gradient,) = torch.autograd.grad(value(x).sum(), letters, retain_graph=True)
                surrogate += float(q[letter].detach() * chance) * gradient
    torch.testing.assert_close(surrogate, expected)


def test_gradients_pass_through_the_letters_that_stay_and_no_others() -> None:
    """With equal letters the coin does not depend on x, but for a constant over its letters."""
    current, weight, n = CURRENT.expand(50, L, V).clone().requires_grad_(), raw(5), 50
    transition = step(torch.zeros(n, L, V, dtype=torch.float64), 3.0, current)
    noise = Resample.noise(current, seeded())
    coin = 100.0 * (torch.arange(n) % 2)[:, None]  # every second design stays
    noise[..., -1], noise[..., -2] = coin, 100 - coin
    (gradient,) = torch.autograd.grad((transition.rsample(noise) * weight).sum(), current)
    expected = torch.where(coin[..., None] > 0, weight, 0.0)
    torch.testing.assert_close(gradient - gradient.mean(-1, keepdim=True), expected - expected.mean(-1, keepdim=True))


def test_noise_is_the_generators() -> None:
    x = torch.zeros(3, L, V)
    assert torch.equal(Resample.noise(x, seeded(1)), Resample.noise(x, seeded(1)))
    assert Resample.noise(x, seeded()).shape == (3, L, V + 2)


class Net(torch.nn.Module):
    """A perceptron of letters and time."""

    def __init__(self, seed: int, shift: float = 0.0) -> None:
        super().__init__()
        source, other = seeded(seed), seeded(seed + 100)
        shapes = [(L * V + 1, 16), (16, L * V)]
        self.a, self.b = (
            torch.nn.Parameter(0.7 * torch.randn(shape, generator=source) + shift * torch.randn(shape, generator=other))
            for shape in shapes
        )

    def forward(self, x: Tensor, t: Tensor, condition: object) -> Tensor:
        features = torch.cat([x.flatten(1), t[:, None]], 1)
        out: Tensor = (torch.tanh(features @ self.a) @ self.b).reshape(-1, L, V)
        return out


@pytest.mark.parametrize("steps", [4, 16])
def test_gradients_of_rollouts_point_along_the_enumerated_ones(steps: int) -> None:
    """And are as long: as one categorical that of the reward had a third of its length at 32 steps."""
    process, tuned, reference = Uniform(SPACE, steps), Net(0, 0.2), Net(0)
    weight = torch.randn(L * V, L * V, generator=seeded(3))

    def reward(x: Tensor) -> Tensor:
        return ((x.flatten(1) @ weight) * x.flatten(1)).sum(1)

    parameters = list(tuned.parameters())
    chain = ExactChain(process, tuned, reference)
    value = chain.probabilities() @ reward(everything(SPACE)).double()
    exact = [torch.autograd.grad(target, parameters, retain_graph=True) for target in (value, chain.path_kl())]
    path = rollout(process, tuned, 10_000, seeded(1), reference=reference)
    targets = (by_substitution(reward, path.x).mean(), path.kl.sum(1).mean())
    drawn = [torch.autograd.grad(target, parameters, retain_graph=True) for target in targets]
    for one, other, least in zip(drawn, exact, (0.9, 0.98), strict=True):
        assert cosine(flat(one), flat(other)) > least
        assert float(flat(one).norm() / flat(other).norm()) == pytest.approx(1, abs=0.3)
