"""The chain, driven by networks that know the truth."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from braid_simplex.jacobi import Jacobi
from braid_simplex.process import SimplexProcess
from braid_simplex.transition import LetterTransition, StickTransition
from scipy.stats import beta, kstest
from torch import Tensor
from torch.distributions import Beta

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Tokens, Vectors
from braid_core.tuning.rollout import rollout
from tests.checks import agrees, cosine, seeded
from tests.simplex.conftest import DESIGNS, PAIR, Bayes, law, number

N = 8000


def silent(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
    """A network that says nothing."""
    return torch.zeros(len(x), x.shape[1], x.shape[2] + 1)


def drawn(process: SimplexProcess, n: int = N, seed: int = 0) -> Tensor:
    """The frequencies of ``DESIGNS`` where the prediction is optimal."""
    with torch.no_grad():
        x = rollout(process, Bayes(process, law()).at_step, n, seeded(seed)).x
    return torch.bincount(number(x), minlength=16) / n


def variation(found: Tensor) -> float:
    return 0.5 * float((found - law()).abs().sum())


def test_the_optimal_network_draws_from_the_data() -> None:
    """The distance falls with the number of steps, to about that of a sample of this size (.015)."""
    coarse, middle, fine = (variation(drawn(SimplexProcess(PAIR, steps, end=0.3))) for steps in (5, 20, 60))
    assert coarse > 1.5 * middle > 1.5 * fine
    assert fine < 0.025


def test_letters_that_depend_on_each_other_need_an_early_end() -> None:
    """At ``end`` the letters are drawn independently."""
    assert variation(drawn(SimplexProcess(PAIR, 20, end=1.5))) > 0.1
    assert variation(drawn(SimplexProcess(PAIR, 20, end=0.3))) < 0.06


@pytest.mark.parametrize("alphabet", ["AC", "ACGT", "ACDEFGHIKLMNPQRSTVWY"])
def test_a_silent_network_draws_uniform_letters(alphabet: str) -> None:
    process = SimplexProcess(Tokens(alphabet, 2), 40)
    with torch.no_grad():
        x = rollout(process, silent, 4000, seeded()).x
    assert bool(process.space.contains(x).all())
    assert agrees(x.argmax(-1).flatten(), torch.ones(len(alphabet)) / len(alphabet))


@pytest.mark.parametrize("speed", ["balanced", 0.7])
@pytest.mark.parametrize("end", [0.1, 0.5])
def test_the_bound_of_a_silent_network_is_that_of_uniform_letters(end: float, speed: float) -> None:
    """L·ln V with nothing to spare: tables, samples, rates and the last step agree with each other."""
    process = SimplexProcess(PAIR, 5, end=end, speed=speed)
    with torch.no_grad():
        bound = process.bound(silent, PAIR.random(N, seeded()), seeded())
    error = float(bound.std()) / N**0.5
    assert abs(float(bound.mean()) - 2 * math.log(4)) < 5 * error < 0.5


def test_the_bound_of_the_optimal_network_is_the_entropy() -> None:
    """Up to what letters drawn independently at ``end`` miss."""
    process, p = SimplexProcess(PAIR, 5), law()
    x = DESIGNS[torch.multinomial(p, N, replacement=True, generator=seeded())]
    with torch.no_grad():
        bound = process.bound(Bayes(process, p).in_training, x, seeded())
        worse = process.bound(Bayes(process, p, shift=torch.eye(4)[:2]).in_training, x, seeded())
    error, entropy = float(bound.std()) / N**0.5, -float((p * p.log()).sum())
    assert -5 * error < float(bound.mean()) - entropy < 5 * error + 0.02
    assert float((worse - bound).mean()) > 0.1


def test_the_optimal_network_has_the_least_cross_entropy() -> None:
    process, p = SimplexProcess(PAIR, 5), law()
    x = DESIGNS[torch.multinomial(p, N, replacement=True, generator=seeded())]
    values = []
    for shift in (torch.zeros(2, 4), 0.5 * torch.eye(4)[:2], -0.5 * torch.eye(4)[:2]):
        with torch.no_grad():
            values.append(float(process.loss(Bayes(process, p, shift).in_training, x, seeded()).mean()))
    assert values[0] < min(values[1:])


def test_the_prior_is_uniform_on_the_simplex() -> None:
    x = SimplexProcess(PAIR, 5).prior(4000, seeded())
    assert x.shape == (4000, 2, 3)
    for i, b in enumerate((3, 2, 1)):
        assert kstest(x[..., i].flatten().numpy(), beta(1, b).cdf).pvalue > 1e-3


def test_time_runs_to_the_end_and_steps_get_shorter() -> None:
    process = SimplexProcess(PAIR, 20, horizon=5.0, end=0.2, warp=2.0)
    assert process.time(0) == 1
    assert process.time(19) == 0
    assert process.tau[0] == pytest.approx(5)
    assert process.tau[-1] == pytest.approx(0.2)
    lengths = [a - b for a, b in pairwise(process.tau)]
    assert all(a > b > 0 for a, b in pairwise(lengths))
    again = process.with_steps(7)
    assert (again.steps, again.horizon, again.end, again.tau[-1]) == (7, 5.0, 0.2, process.tau[-1])


def some(process: SimplexProcess, n: int = 30) -> tuple[Tensor, Tensor]:
    """States on the way and predictions, in double precision."""
    x = 0.02 + 0.96 * torch.rand(n, 2, len(process.laws), generator=seeded(1), dtype=torch.float64)
    return x, torch.randn(n, 2, len(process.laws) + 1, generator=seeded(2), dtype=torch.float64)


def test_the_drift_is_the_time_reversal() -> None:
    """−f + ∂(g²) + g²·E[score | v] (Anderson 1982), the scores from the law itself rather than from the tables."""
    process, k = SimplexProcess(PAIR, 20), 12
    x, out = some(process)
    tau, delta = process.tau[k], process.tau[k] - process.tau[k + 1]
    step = process.transition(out, x, k)
    assert isinstance(step, StickTransition)

    def log_density(stick: int, v0: int | None, v: Tensor) -> Tensor:
        """log p(v | v0) of one stick; ``v0 = None``: nothing is known."""
        b = 3 - stick
        stationary = Beta(1.0, float(b)).log_prob(v)
        if v0 is None:
            return stationary
        order = v.flatten().argsort()
        theta = v.flatten()[order].sqrt().asin().numpy()
        ratio = torch.empty(v.numel(), dtype=v.dtype)
        ratio[order] = torch.tensor(Jacobi(1, b, 2 / (1 + b)).log_ratio(theta, np.array([tau]), v0)[0].copy())
        return stationary + ratio.reshape(v.shape)

    def start(letter: int, stick: int) -> int | None:
        return None if stick > letter else int(stick == letter)

    h = 1e-5
    likely = torch.stack([sum(log_density(i, start(c, i), x[..., i]) for i in range(3)) for c in range(4)], -1)
    share = torch.softmax(out + likely, -1)
    for i in range(3):
        v, (s, b) = x[..., i], (2 / (4 - i), 3 - i)
        scores = [(log_density(i, start(c, i), v + h) - log_density(i, start(c, i), v - h)) / (2 * h) for c in range(4)]
        score = (share * torch.stack(scores, -1)).sum(-1)
        f = 0.5 * s * (1 - v - b * v)
        drift = -f + s * (1 - 2 * v) + s * v * (1 - v) * score
        torch.testing.assert_close(step.mean[..., i], v + delta * drift, rtol=1e-3, atol=1e-3 * delta)
        torch.testing.assert_close(step.std[..., i], (delta * s * v * (1 - v)).sqrt())


def test_the_kl_has_the_first_power_of_the_diffusion() -> None:
    """½·Δ·s·v(1−v)·(difference of scores)², summed over sticks and positions (mistake 2 of public code)."""
    process, k = SimplexProcess(PAIR, 20), 5
    x, out = some(process)
    other = out.flip(0)
    p, q = process.transition(out, x, k), process.transition(other, x, k)
    evidence = process.evidence(x, k)
    scores = [evidence.slope(torch.softmax(o + evidence.letters(), -1)) for o in (out, other)]
    s = torch.tensor([2 / 4, 2 / 3, 2 / 2], dtype=x.dtype)
    terms = 0.5 * (process.tau[k] - process.tau[k + 1]) * s * x * (1 - x) * (scores[0] - scores[1]).square()
    torch.testing.assert_close(p.kl(q), terms.sum((1, 2)))


def test_the_last_step_draws_letters_from_their_posterior() -> None:
    process = SimplexProcess(PAIR, 6)
    x, out = some(process)
    step = process.transition(out, x, 5)
    assert isinstance(step, LetterTransition)
    torch.testing.assert_close(step.logits.exp(), process.denoised(out, x, 5))
    final = step.rsample(step.noise(x, seeded()))
    assert bool(PAIR.contains(process.finish(final).float()).all())
    assert torch.equal(process.finish(final).argmax(-1), torch.cat([final, 1 - final.sum(-1, True)], -1).argmax(-1))


ONE = Tokens("AC", 1)
"""One stick."""


def goodness(x: Tensor) -> Tensor:
    return 1.5 * x[:, 0, 0].square() - x[:, 0, 1]


def slope_of_goodness(process: SimplexProcess, network: object, x: Tensor, k: int) -> Tensor:
    """Of goodness(x̂0), by central differences in the state."""
    assert callable(network)
    h = 1e-3
    sides = [goodness(process.denoised(network(x + d), x + d, k)) for d in (-h, h)]
    return ((sides[1] - sides[0]) / (2 * h))[:, None, None]


def test_a_guided_step_is_the_tilted_one_by_quadrature() -> None:
    process, k, level = SimplexProcess(ONE, 10), 4, 3.0
    x = torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)[:, None, None]
    out = torch.tensor([[[0.2, -0.1]]], dtype=torch.float64).expand(3, 1, 2)
    plain, guided = process.transition(out, x, k), process.guided(out, x, k, goodness, level)
    assert isinstance(plain, StickTransition)
    assert isinstance(guided, StickTransition)
    direction = level * slope_of_goodness(process, lambda _: out, x, k)
    grid = torch.linspace(-3, 4, 20_001, dtype=torch.float64)
    for i in range(3):
        mean, std = plain.mean[i, 0, 0], plain.std[i, 0, 0]
        weight = torch.softmax(-0.5 * ((grid - mean) / std).square() + direction[i, 0, 0] * grid, 0)
        tilted = float((weight * grid).sum())
        assert float(guided.mean[i, 0, 0]) == pytest.approx(tilted, abs=2e-3)
        assert abs(tilted - float(mean)) > 5e-3
    torch.testing.assert_close(guided.std, plain.std)


def test_guidance_goes_through_the_network_if_the_state_has_a_gradient() -> None:
    process, k = SimplexProcess(ONE, 10), 4

    def network(v: Tensor) -> Tensor:
        return torch.cat([3 * v, 1 - v], -1)

    x = torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)[:, None, None].requires_grad_()
    out = network(x)
    guided = process.guided(out, x, k, goodness, 2.0)
    plain = process.transition(out, x, k)
    assert isinstance(guided, StickTransition)
    assert isinstance(plain, StickTransition)
    with torch.no_grad():
        direction = slope_of_goodness(process, network, x, k)
    torch.testing.assert_close((guided.mean - plain.mean) / plain.std.square(), 2 * direction, rtol=0.02, atol=0.01)


def test_the_last_step_is_guided_along_the_letters() -> None:
    process = SimplexProcess(ONE, 10)
    x, out = torch.full((1, 1, 1), 0.4), torch.tensor([[[0.2, -0.1]]])
    guided, plain = process.guided(out, x, 9, goodness, 2.0), process.transition(out, x, 9)
    assert isinstance(guided, LetterTransition)
    assert isinstance(plain, LetterTransition)
    share = plain.logits.exp()
    direction = torch.stack([3 * share[..., 0], -torch.ones(1, 1)], -1)
    torch.testing.assert_close(guided.logits, torch.log_softmax(plain.logits + 2 * direction, -1))


def test_pathwise_gradients_are_the_exact_ones() -> None:
    """Letters of an independent law p, moved by θ: ∂E[Σ r]/∂θ = p·(r − E r). (Ending at .05 they would be nearly 0.)"""
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
    r = torch.tensor([[0.0, 1.0, 2.0, -1.0], [1.0, -1.0, 0.0, 0.5]])
    exact = p * (r - (p * r).sum(1, keepdim=True))

    def gradient(end: float) -> Tensor:
        process, shift = SimplexProcess(PAIR, 20, end=end), torch.zeros(2, 4, requires_grad=True)
        bayes = Bayes(process, (p[0][:, None] * p[1]).flatten(), shift)
        x = rollout(process, bayes.at_step, N, seeded()).x
        (found,) = torch.autograd.grad((x * r).sum((1, 2)).mean(), shift)
        return found

    found = gradient(0.5)
    assert cosine(found, exact) > 0.99
    assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.1)
    assert float(gradient(0.05).norm()) < 0.2 * float(exact.norm())


def test_the_path_kl_is_the_letters_relative_entropy() -> None:
    """For independent letters the chain with shifted logits is that of the shifted law: KL(path) = KL(letters)."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    shift = torch.tensor([[0.5, -0.5, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    moved = torch.softmax(p.log() + shift[0], 0)
    process = SimplexProcess(PAIR, 50)
    whole = (p[:, None] * p).flatten()
    with torch.no_grad():
        path = rollout(
            process,
            Bayes(process, whole, shift).at_step,
            4000,
            seeded(),
            reference=Bayes(process, whole).at_step,
        )
    assert path.kl is not None
    found, expected = path.kl.sum(1), float((moved * (moved / p).log()).sum())
    assert float(found.mean()) == pytest.approx(expected, rel=0.1)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Vectors"):
        SimplexProcess(Vectors(3))
    with pytest.raises(UnsupportedError, match="at least 2"):
        SimplexProcess(PAIR, 1)


def test_the_bound_has_a_gradient_where_a_probability_underflows() -> None:
    """Of 20 letters near the data, the wrong ones have a probability of 0 in float32."""
    process = SimplexProcess(Tokens("ACDEFGHIKLMNPQRSTVWY", 3), 5, end=0.05)
    out = torch.zeros(64, 3, 20, requires_grad=True)
    bound = process.bound(lambda x, t, condition: out, process.space.random(64, seeded()), seeded())
    (gradient,) = torch.autograd.grad(bound.sum(), out)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("objective", ["cross_entropy", "bound"])
def test_a_network_may_forbid_a_letter_that_does_not_occur(objective: Literal["cross_entropy", "bound"]) -> None:
    process = SimplexProcess(PAIR, 5, objective=objective)
    out = torch.tensor([0.0, 0.0, 0.0, -torch.inf], requires_grad=True)
    loss = process.loss(lambda x, t, condition: out.expand(len(x), 2, 4), PAIR.encode(["AC", "GA"]), seeded())
    assert bool(loss.isfinite().all())
    (gradient,) = torch.autograd.grad(loss.sum(), out)
    assert bool(gradient.isfinite().all())
