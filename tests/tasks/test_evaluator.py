"""The learned truth: its features counted by hand, its folds, its error against independent figures."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from braid_tasks import evaluator as module
from braid_tasks.evaluator import FOLDS, Evaluator, evaluator
from braid_tasks.features import composition, one_hot, upstream_starts, word_counts

LETTERS = np.random.default_rng(0).integers(4, size=(600, 20))
GROUP = np.repeat(np.arange(150), 4)


def coded(*designs: str) -> np.ndarray:
    return np.array([["ACGT".index(letter) for letter in design] for design in designs])


def counts(letters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen = word_counts(letters, 1)
    return seen, seen


def places(letters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return one_hot(letters), one_hot(letters)


def linear(letters: np.ndarray) -> np.ndarray:
    """The number of G, less that of A: what both halves of the evaluator can learn."""
    difference: np.ndarray = (letters == 2).sum(1) - (letters == 0).sum(1)
    return difference.astype(float)


def test_words_are_counted_as_a_program_without_numpy_would() -> None:
    design = "ACGTACGGTTAACC"
    found = word_counts(coded(design, design[::-1]), 3)
    expected = Counter(design[i : i + 3] for i in range(len(design) - 2))
    names = ["".join(word) for word in product("ACGT", repeat=3)]
    assert {name: int(count) for name, count in zip(names, found[0], strict=True) if count} == dict(expected)
    assert found.sum(1).tolist() == [12, 12]
    assert composition(coded("AACCGT"), 2).tolist() == [[2, 1, 0, 0, 0, 1, 1, 1]]
    assert one_hot(coded("AT")).tolist() == [[1, 0, 0, 0, 0, 0, 0, 1]]


#                      number, in the best context, best context, first, last
NONE = [0, 0, 0, -1, -1]


@pytest.mark.parametrize(
    ("design", "kind", "described", "ends"),
    [
        ("CCCCATGCCCCC", 2, [1, 0, 1, 4, 4], [0, -1]),  # 8 letters from the true start: out of frame
        ("CCCATGCCCCCC", 0, [1, 0, 1, 3, 3], [0, -1]),  # 9 letters: in frame
        ("CCACCATGGCCC", 1, [1, 1, 3, 5, 5], [0, -1]),  # 7 letters, A three before and G behind: Kozak's context
        ("CATGCCCTAACC", 3, [1, 0, 1, 1, 1], [6, 7]),  # a stop codon in its frame at 7
        ("CATGCCCCTAAC", 2, [1, 0, 1, 1, 1], [0, -1]),  # a stop codon in another frame
        ("CCCCCCCCCATG", 0, [1, 0, 1, 9, 9], [0, -1]),  # directly before the true start
        ("CATGACATGACC", 3, [1, 0, 1, 1, 1], [6, 7]),  # the TGA at 2 is in another frame; the second ATG is open
    ],
)
def test_upstream_starts_by_hand(design: str, kind: int, described: list[int], ends: list[int]) -> None:
    found = upstream_starts(coded(design))[0].tolist()
    assert found[5 * kind : 5 * kind + 5] == described
    assert found[25:] == ends


def test_without_a_start_there_is_nothing_to_describe() -> None:
    assert upstream_starts(coded("CCCCCCCCCCCC"))[0].tolist() == [*NONE * 5, 0, -1]


def test_two_open_starts_of_both_frames_are_counted_together() -> None:
    found = upstream_starts(coded("CATGCCATGCCCCCC"))[0].tolist()  # 14 letters: frame 2; 9 letters: frame 0
    assert found[:15] == [1, 0, 2, 6, 6, *NONE, 1, 0, 1, 1, 1]  # G stands three before the second
    found = upstream_starts(coded("CATGCATGCCCCCCC"))[0].tolist()  # frames 2 and 1
    assert found[20:25] == [2, 0, 1, 1, 5]


def test_it_learns_what_it_can_and_says_how_well() -> None:
    generator = np.random.default_rng(1)
    y = linear(LETTERS) + generator.normal(0, 1, len(LETTERS))
    judge = Evaluator(LETTERS, y, GROUP, counts)
    new = generator.integers(4, size=(2000, 20))
    mean, std = judge(new)
    error = float(np.sqrt(np.mean((mean - linear(new)) ** 2)))
    # what it says of itself includes the noise of the measurements, sd 1
    assert judge.quality.rmse == pytest.approx(np.sqrt(1 + error**2), rel=0.06)
    assert judge.quality.r2 == pytest.approx(1 - judge.quality.rmse**2 / y.var())
    assert judge.quality.spearman > 0.9
    assert 0.3 * error < float(std.mean()) < 1.5 * error


def test_families_that_decide_nothing_are_not_learned_from_their_copies() -> None:
    """Rewards are a family's own and nothing of the letters says more: a split within families would show a fit."""
    generator = np.random.default_rng(2)
    letters = np.repeat(generator.integers(4, size=(150, 20)), 4, axis=0)
    y = np.repeat(generator.normal(size=150), 4)
    grouped = Evaluator(letters, y, GROUP, places).quality
    leaking = Evaluator(letters, y, np.arange(600), places).quality
    assert grouped.r2 < 0.05
    assert leaking.r2 > 0.3


def test_it_does_not_leave_the_range_of_what_was_measured() -> None:
    y = np.clip(linear(LETTERS), -3, 3)
    judge = Evaluator(LETTERS, y, GROUP, counts)
    mean, _ = judge(coded("G" * 20, "A" * 20))
    assert mean.tolist() == [3, -3]


def test_doubt_grows_with_the_distance() -> None:
    y = linear(LETTERS) + np.random.default_rng(23).normal(0, 2, len(LETTERS))
    judge = Evaluator(LETTERS, y, GROUP, counts)
    far = np.full((1, 20), 2)
    judge.low, judge.high = -np.inf, np.inf
    assert float(judge(far)[1][0]) > 1.5 * float(judge(LETTERS)[1].mean())


def test_the_standard_error_is_that_of_the_jackknife() -> None:
    judge = Evaluator(LETTERS, linear(LETTERS), GROUP, counts)
    assert len(judge.members) == FOLDS
    each = np.stack([judge._clipped(member, *counts(LETTERS[:9])) for member in judge.members])
    mean, std = judge(LETTERS[:9])
    assert mean == pytest.approx(each.mean(0))
    assert std**2 == pytest.approx(4 / 5 * ((each - each.mean(0)) ** 2).sum(0))


def test_equal_data_have_one_evaluator_and_a_second_fit_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    y = linear(LETTERS)
    first = evaluator(LETTERS, y, GROUP, counts)
    assert evaluator(LETTERS.copy(), y.copy(), GROUP.copy(), counts) is first
    monkeypatch.setattr(module, "_fitted", {})
    again = evaluator(LETTERS, y, GROUP, counts)
    assert again is not first
    assert (again(LETTERS)[0] == first(LETTERS)[0]).all()
    changed = [evaluator(LETTERS, y + shift, GROUP, counts) for shift in range(1, module.KEPT + 1)]
    assert all(one is not again for one in changed)
    assert len(module._fitted) == module.KEPT  # the oldest has gone
    assert evaluator(LETTERS, y, GROUP, places) is not again
