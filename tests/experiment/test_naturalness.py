"""Word frequencies, against counting in strings and SciPy's correlation."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch
from braid_discrete.masked import OneByOne
from braid_tasks import MotifSpec, YeastPromoterSpec
from braid_tasks.motif import Motif
from braid_tasks.yeast_promoter import packaged
from scipy.stats import pearsonr

from braid_core.experiment.designs import Designs
from braid_core.experiment.naturalness import Nature, correlation, kmers, letter_bound
from braid_core.experiment.results import results
from braid_core.experiment.spec import parse_spec
from braid_core.interfaces import Backbone, Process, Streams, Tokens

from .tiny import read

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


class Natured(Motif):
    """A motif of which three designs are found in nature."""

    def natural(self) -> torch.Tensor:
        return self.space.encode(["AACC", "ACCA", "GGTA"])


class Guess(Backbone):
    """Believes in letters with fixed probabilities, independent of each other and of everything else."""

    device = torch.device("cpu")

    def __init__(self, probabilities: list[float]) -> None:
        self.process = OneByOne(Tokens("ACGT", 4))
        self.logits = torch.tensor(probabilities).log()

    def predict(self, x: torch.Tensor, t: torch.Tensor, condition: object = None) -> torch.Tensor:
        return self.logits.expand(len(x), 4, 4)

    def encode(self, designs: torch.Tensor) -> torch.Tensor:
        return designs

    fit = fresh = tunable = state = load_state = decode = None  # type: ignore[assignment]


def test_results_compare_with_natural_designs_where_a_task_has_them() -> None:
    task, believed = Natured(MotifSpec(length=4, n=20), 0), Guess([0.4, 0.3, 0.2, 0.1])
    data, natural, nature = task.offline(), task.natural(), Nature.of(task, believed, Streams(0))
    columns = [Designs("M", "raw", task.space.encode(["AACC", "GGTT"])), Designs("M", "selected", data.x[:0])]
    facts = ("predicted", "conservative", "promised", "truth", "normalised", "novelty", "valid")
    table = pd.DataFrame({name: [0.0, 1.0] for name in facts})
    found = results(table, columns, task, parse_spec({"task": "motif"}), data, data.y, {}, nature)
    rows = found["rows"]
    expected = [correlation(x, natural, task.space) for x in (data.x, columns[0].x)]
    assert [row["naturalness"] for row in rows] == [*expected, None]
    assert rows[1]["pretrained_bound"] == pytest.approx(-math.log(0.4 * 0.3 * 0.2 * 0.1) / 4, rel=0.05)
    assert rows[2]["pretrained_bound"] is None
    # A, A, C, C, A, C, C, A, G, G, T, A
    expected_bound = -(5 * math.log(0.4) + 4 * math.log(0.3) + 2 * math.log(0.2) + math.log(0.1)) / 12
    assert found["task"]["natural"]["n"] == 3
    assert found["task"]["natural"]["pretrained_bound"] == pytest.approx(expected_bound, rel=0.05)


def test_the_bound_of_independent_letters_is_their_negative_log_likelihood() -> None:
    """Where every letter is predicted alike whatever is masked, the bound is exact in expectation."""
    x, p = Tokens("ACGT", 4).encode(["AAAA", "CCCC"]), [0.4, 0.3, 0.2, 0.1]
    found = letter_bound(Guess(p), x, torch.Generator().manual_seed(0), evaluations=8192)
    assert found == pytest.approx(-(math.log(0.4) + math.log(0.3)) / 2, abs=1e-6)


def test_a_chain_without_a_bound() -> None:
    class Unbounded(OneByOne):
        bound = Process.bound  # type: ignore[assignment]

    guess = Guess([0.25] * 4)
    guess.process = Unbounded(Tokens("ACGT", 4))
    assert letter_bound(guess, guess.process.space.encode(["ACGT"]), torch.Generator()) is None


def test_a_task_without_natural_designs_has_no_naturalness(finished: Path) -> None:
    assert {row["naturalness"] for row in read(finished)["rows"]} == {None}


def test_held_out_promoters_are_natural_and_unseen() -> None:
    task = YeastPromoterSpec(n=400).build(0)
    natural = set(task.space.decode(task.natural()))
    with packaged().open("rb") as file:
        table = pd.read_csv(file, compression="gzip", comment="#")
    assert len(natural) > 500
    assert natural <= set(table["sequence"][table["origin"].str.contains("native")])
    assert not natural & set(task.space.decode(task.unlabelled()))
    assert not natural & set(task.space.decode(task.offline().x))
