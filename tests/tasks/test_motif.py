"""The motif task against brute force over itertools.product."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from braid_tasks import MotifSpec
from braid_tasks.motif import Motif

from braid_core.errors import SpecError

ALPHABET, LENGTH = "ACD", 4


@pytest.fixture(scope="module")
def task() -> Motif:
    return MotifSpec(alphabet=ALPHABET, length=LENGTH, n=30).build(0)


def brute_force(task: Motif) -> dict[str, float]:
    """The reward of every design, summed letter by letter."""
    w, e = task.weights.tolist(), task.pairs.tolist()
    rewards = {}
    for letters in itertools.product(range(len(ALPHABET)), repeat=LENGTH):
        reward = sum(w[i][a] for i, a in enumerate(letters))
        reward += sum(e[i][a][b] for i, (a, b) in enumerate(itertools.pairwise(letters)))
        rewards["".join(ALPHABET[a] for a in letters)] = reward
    return rewards


def test_truth_and_optimum_agree_with_brute_force(task: Motif) -> None:
    rewards = brute_force(task)
    assert len(rewards) == 81
    truth = task.truth(task.space.encode(list(rewards)))
    assert truth.tolist() == pytest.approx(list(rewards.values()), abs=1e-5)
    best = max(rewards, key=rewards.__getitem__)
    design, value = task.optimum()
    assert design == best
    assert value == pytest.approx(rewards[best])


def test_a_hand_worked_reward(task: Motif) -> None:
    w, e = task.weights, task.pairs
    # ADCA: letters 0, 2, 1, 0
    by_hand = w[0, 0] + w[1, 2] + w[2, 1] + w[3, 0] + e[0, 0, 2] + e[1, 2, 1] + e[2, 1, 0]
    assert float(task.truth(task.space.encode(["ADCA"]))) == pytest.approx(float(by_hand))


def test_offline_designs_are_distinct_and_below_the_cap(task: Motif) -> None:
    rewards = brute_force(task)
    cap = np.quantile(list(rewards.values()), 0.5)
    data = task.offline()
    designs = task.space.decode(data.x)
    assert len(data) == len(set(designs)) == 30
    assert data.y.tolist() == pytest.approx([rewards[design] for design in designs], abs=1e-5)
    assert float(data.y.max()) <= cap + 1e-6
    assert data.y.untyped_storage().nbytes() == 30 * 4


def test_epistasis_can_be_switched_off() -> None:
    task = MotifSpec(alphabet=ALPHABET, length=LENGTH, n=30, epistasis=0).build(0)
    assert not task.pairs.any()
    assert task.optimum()[1] == pytest.approx(float(task.weights.max(1).values.sum()))


def test_the_landscape_has_its_own_seed() -> None:
    spec = MotifSpec(n=100, noise=0.5)
    one, other = spec.build(0), spec.build(1)
    assert one.optimum() == other.optimum()
    assert not torch.equal(one.offline().x, other.offline().x)
    assert torch.equal(one.offline().y, spec.build(0).offline().y)
    assert MotifSpec(landscape_seed=1).build(0).optimum() != one.optimum()


def test_noise_has_the_asked_size() -> None:
    task = MotifSpec(n=2000, noise=0.5).build(0)
    clean = task.truth(task.offline().x)
    noise = task.offline().y - clean
    assert float(noise.std()) == pytest.approx(0.5 * float(clean.std()), rel=0.1)


def test_unlabelled_designs_follow_the_stated_distribution() -> None:
    task = MotifSpec(alphabet=ALPHABET, length=LENGTH, n=30, preference=1.0, unlabelled=20_000).build(0)
    x = task.unlabelled()
    assert x.shape == (20_000, LENGTH, len(ALPHABET))
    expected = torch.softmax(task.preferences, -1)
    # a frequency of 20,000 draws has a standard error of at most 0.0036
    assert float((x.mean(0) - expected).abs().max()) < 0.015
    assert float(expected.std()) > 0.1
    every = task.space.encode(["".join(letters) for letters in itertools.product(ALPHABET, repeat=LENGTH)])
    stated = (every * expected.log()).sum((1, 2)).exp()
    frequency = torch.cdist(every.flatten(1), x.flatten(1)).eq(0).float().mean(1)
    assert float((frequency - stated).abs().max()) < 0.015


def test_without_preference_each_design_is_given_once() -> None:
    task = MotifSpec(alphabet=ALPHABET, length=LENGTH, n=30, preference=0).build(0)
    assert sorted(task.space.decode(task.unlabelled())) == sorted(brute_force(task))
    assert "every design once" in task.notes[2]


def test_too_large_a_space_is_refused() -> None:
    with pytest.raises(SpecError, match=r"cannot enumerate 4,194,304 designs[\s\S]*smaller length"):
        MotifSpec(length=11)
    assert MotifSpec(length=9).length == 9


def test_more_designs_than_there_are_is_refused() -> None:
    with pytest.raises(SpecError, match=r"n = 50 offline designs cannot be drawn[\s\S]*41 of 81"):
        MotifSpec(alphabet=ALPHABET, length=LENGTH, n=50).build(0)


def test_the_fingerprint_follows_options_and_seed() -> None:
    spec = MotifSpec(n=50)
    others = [MotifSpec(n=50, landscape_seed=1), MotifSpec(n=50, preference=0.5), MotifSpec(n=51)]
    prints = {
        spec.build(0).fingerprint(),
        spec.build(1).fingerprint(),
        *(other.build(0).fingerprint() for other in others),
    }
    assert len(prints) == 5
    assert spec.build(0).fingerprint() in prints


def test_relaxed_and_undefined_designs(task: Motif) -> None:
    x = task.space.encode(["ACDA", "ACDA"])
    x[0] = 0.7 * x[0] + 0.1
    assert task.truth(x)[0] == task.truth(x)[1]
    assert task.valid(x).tolist() == [False, True]
    x[0, 0, 0] = torch.inf
    assert task.truth(x).isnan().tolist() == [True, False]
