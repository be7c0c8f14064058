"""The two kinds of steps, each stick and letter by itself."""

from __future__ import annotations

import math

import torch
from braid_simplex.transition import EDGE, LetterTransition, StickTransition, letters, normals
from scipy.stats import kstest, norm
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tests.checks import agrees, seeded


def step(mean: float, std: float, n: int = 1) -> StickTransition:
    return StickTransition(
        torch.full((n, 1, 1), mean, dtype=torch.float64), torch.tensor([std], dtype=torch.float64).expand(n, 1, 1)
    )


def draws(transition: StickTransition) -> Tensor:
    return transition.rsample(transition.noise(transition.mean, seeded()))[:, 0, 0]


def test_states_are_clamped_normals() -> None:
    n = 20_000
    x = draws(step(0.1, 0.2, n))
    low = x == EDGE
    assert abs(float(low.double().mean()) - norm.cdf(EDGE, 0.1, 0.2)) < 0.015
    inside = x[(x > EDGE) & (x < 1 - EDGE)].numpy()
    below, above = norm.cdf([EDGE, 1 - EDGE], 0.1, 0.2)
    assert kstest(inside, lambda at: (norm.cdf(at, 0.1, 0.2) - below) / (above - below)).pvalue > 1e-3
    assert float(draws(step(0.9, 0.4, n)).max()) == 1 - EDGE


def test_log_prob_integrates_to_one_with_its_two_atoms() -> None:
    for mean, std in ((0.1, 0.2), (-0.5, 0.3), (0.99, 0.05), (1.4, 0.2)):
        inner = torch.linspace(EDGE, 1 - EDGE, 200_001, dtype=torch.float64)[1:-1]
        density = step(mean, std, len(inner)).log_prob(inner[:, None, None]).exp().sum() * float(inner[1] - inner[0])
        ends = step(mean, std, 2).log_prob(torch.tensor([EDGE, 1 - EDGE], dtype=torch.float64)[:, None, None]).exp()
        assert abs(float(density + ends.sum()) - 1) < 1e-4
        torch.testing.assert_close(ends[0], torch.tensor(norm.cdf(EDGE, mean, std)))
        torch.testing.assert_close(ends[1], torch.tensor(norm.sf(1 - EDGE, mean, std)))


def test_states_at_the_edges_are_seen_in_single_precision() -> None:
    """EDGE and 1 − EDGE as a clamp leaves them are taken for atoms, not for densities."""
    single = StickTransition(torch.tensor([[[-3.0, 4.0]]]), torch.tensor([[[0.5, 0.5]]]))
    x = single.rsample(torch.zeros(1, 1, 3))
    torch.testing.assert_close(single.log_prob(x), torch.zeros(1), atol=1e-6, rtol=0)


def test_kl_is_that_of_the_proposals_and_bounds_that_of_the_states() -> None:
    n = 100_000
    p, q = step(0.05, 0.1, n), step(0.12, 0.1, n)
    kl = p.kl(q)
    proposal = kl_divergence(Normal(p.mean, p.std), Normal(q.mean, q.std)).flatten(1).sum(1)
    torch.testing.assert_close(kl, proposal)
    free = p.mean + p.std * torch.randn(p.mean.shape, generator=seeded(), dtype=torch.float64)
    ratio = (Normal(p.mean, p.std).log_prob(free) - Normal(q.mean, q.std).log_prob(free)).flatten(1).sum(1)
    assert abs(float(ratio.mean() - kl[0])) < 5 * float(ratio.std()) / n**0.5
    x = draws(p)[:, None, None]
    clamped = (p.log_prob(x) - q.log_prob(x)).mean()
    assert 0 < float(clamped) < float(kl[0]) - 0.01


def test_tilting_is_exponential_between_the_edges() -> None:
    p, direction = step(0.4, 0.1, 50), torch.full((50, 1, 1), 3.0, dtype=torch.float64)
    x = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[:, None, None]
    gained = p.tilt(direction).log_prob(x) - p.log_prob(x) - 3 * x[:, 0, 0]
    torch.testing.assert_close(gained, gained[:1].expand(50))
    torch.testing.assert_close(p.tilt(direction).mean, p.mean + 0.03)


LOGITS = torch.log_softmax(torch.tensor([0.3, -1.0, 2.0, 0.5]), 0)


def test_letters_are_drawn_from_their_probabilities() -> None:
    p = LetterTransition(LOGITS.expand(20_000, 1, 4))
    x = p.rsample(p.noise(torch.zeros(20_000, 1, 3), seeded()))
    assert x.shape == (20_000, 1, 3)
    drawn = letters(x)
    assert torch.equal(drawn.sort(-1).values, torch.eye(4)[3].expand_as(drawn))
    assert agrees(drawn.argmax(-1).flatten(), LOGITS.exp())
    torch.testing.assert_close(p.log_prob(x), LOGITS[drawn.argmax(-1)[:, 0]])


def test_normals_become_gumbel_numbers() -> None:
    z = normals(torch.zeros(5000, 1, 1), seeded())[..., 0].double()
    assert kstest((-torch.log(-torch.special.log_ndtr(z)))[:, 0].numpy(), "gumbel_r").pvalue > 1e-3
    extreme = torch.tensor([-8.0, 8.0])
    assert bool((-torch.log(-torch.special.log_ndtr(extreme))).isfinite().all())


def test_the_kl_of_letters_is_the_categorical_one() -> None:
    other = torch.log_softmax(torch.tensor([0.0, 1.0, 0.0, -1.0]), 0)
    p, q = (LetterTransition(one.expand(2, 3, 4)) for one in (LOGITS, other))
    expected = 3 * float((LOGITS.exp() * (LOGITS - other)).sum())
    torch.testing.assert_close(p.kl(q), torch.full((2,), expected))


def test_tilting_letters_is_exponential() -> None:
    p, direction = LetterTransition(LOGITS.expand(4, 1, 4)), torch.tensor([0.5, -2.0, 1.0]).expand(4, 1, 3)
    x = torch.eye(4)[:, None, :3]
    gained = p.tilt(direction).log_prob(x) - p.log_prob(x) - (direction * x).sum((1, 2))
    torch.testing.assert_close(gained, gained[:1].expand(4))


def test_one_step_of_noise_serves_both_kinds() -> None:
    x = torch.full((2, 3, 3), 0.5)
    assert StickTransition.noise(x, seeded()).shape == (2, 3, 4)
    assert torch.equal(StickTransition.noise(x, seeded()), LetterTransition.noise(x, seeded()))
    assert math.isfinite(float(LetterTransition.noise(x, seeded()).sum()))
