"""Word frequencies, against counting in strings and SciPy's correlation."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch
from scipy.stats import pearsonr

from braid_core.experiment.naturalness import correlation, kmers
from braid_core.interfaces import Tokens

WORDS = ["ACGTACGA", "TTTTACGA", "CATGCATG"]
OTHERS = ["GATTACAG", "ACGTTTAC"]


def counted(designs: list[str], alphabet: str, k: int) -> list[float]:
    """By hand: slices of the strings."""
    found = Counter(design[i : i + k] for design in designs for i in range(len(design) - k + 1))
    return [found["".join(word)] / sum(found.values()) for word in product(alphabet, repeat=k)]


@pytest.mark.parametrize("k", [1, 3])
def test_words_are_those_of_the_strings(k: int) -> None:
    space = Tokens("ACGT", 8)
    assert kmers(space.encode(WORDS), space, k).tolist() == pytest.approx(counted(WORDS, "ACGT", k))


def test_the_correlation_is_pearsons() -> None:
    space = Tokens("ACGT", 8)
    expected = pearsonr(counted(WORDS, "ACGT", 3), counted(OTHERS, "ACGT", 3)).statistic
    assert correlation(space.encode(WORDS), space.encode(OTHERS), space) == pytest.approx(expected)


@pytest.mark.parametrize("alphabet", ["ACGT-", "-ACGT"])
def test_pads_are_not_letters(alphabet: str) -> None:
    """Shorter designs count their own words, and the words that cannot occur do not raise the correlation."""
    space, short, others = Tokens(alphabet, 12, pad="-"), ["ACGTA", "CATGCATG"], ["GATTACAG", "ACG"]
    frequencies = kmers(space.encode(short), space)
    assert frequencies.tolist() == pytest.approx(counted(short, alphabet, 3))
    expected = pearsonr(counted(short, "ACGT", 3), counted(others, "ACGT", 3)).statistic
    assert correlation(space.encode(short), space.encode(others), space) == pytest.approx(expected)


def test_frequencies_sum_to_one() -> None:
    space = Tokens("ACDEFGHIKLMNPQRSTVWY", 30)
    x = space.random(50, torch.Generator().manual_seed(0))
    assert float(kmers(x, space).sum()) == pytest.approx(1)
    assert correlation(x, x, space) == pytest.approx(1)
