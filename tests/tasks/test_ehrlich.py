"""The Ehrlich task against brute force in plain Python, and against values worked by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from braid_tasks import EhrlichSpec
from braid_tasks.ehrlich import Ehrlich

from braid_core.errors import SpecError

TINY = EhrlichSpec(alphabet="ACD", length=7, motifs=2, motif_length=2, banned=0.34, pool=200, n=50)


@pytest.fixture(scope="module", params=[0, 1, 2])
def task(request: pytest.FixtureRequest) -> Ehrlich:
    return TINY.model_copy(update={"landscape_seed": request.param}).build(0)


def by_definition(task: Ehrlich, design: str) -> float:
    """The article's formula, letter by letter; NaN for a banned pair."""
    letters = [task.spec.alphabet.index(letter) for letter in design]
    if any(task.transitions[a, b] == 0 for a, b in itertools.pairwise(letters)):
        return math.nan
    k, q, product = task.spec.motif_length, task.spec.levels, 1.0
    for motif, offsets in zip(task.motifs.tolist(), task.offsets.tolist(), strict=True):
        best = 0
        for p in range(len(letters)):
            if p + offsets[-1] < len(letters):
                best = max(best, sum(letters[p + at] == letter for letter, at in zip(motif, offsets, strict=True)))
        product *= math.floor(q * best / k) / q
    return product


def test_truth_and_optimum_agree_with_brute_force(task: Ehrlich) -> None:
    designs = ["".join(letters) for letters in itertools.product("ACD", repeat=7)]
    expected = [by_definition(task, design) for design in designs]
    x = task.space.encode(designs)
    assert task.truth(x).tolist() == pytest.approx(expected, nan_ok=True)
    assert task.valid(x).tolist() == [not math.isnan(reward) for reward in expected]
    assert 0 < sum(math.isnan(reward) for reward in expected) < len(expected)
    design, value = task.optimum()
    assert value == 1.0 == max(reward for reward in expected if not math.isnan(reward))
    assert by_definition(task, design) == 1.0


@pytest.mark.parametrize("landscape_seed", range(20))
@pytest.mark.parametrize("options", [{}, {"alphabet": "ACDEFGHIKLMNPQRSTVWY", "motifs": 8, "motif_length": 8}])
def test_there_is_a_feasible_design_with_every_motif(landscape_seed: int, options: dict[str, object]) -> None:
    task = EhrlichSpec.model_validate({"landscape_seed": landscape_seed, "pool": 100, "n": 20, **options}).build(0)
    design, value = task.optimum()
    x = task.space.encode([design])
    assert value == 1.0
    assert bool(task.valid(x))
    assert float(task.truth(x)) == 1.0
    assert float(task.truth(task.unlabelled()).max()) <= 1.0


@pytest.mark.parametrize(
    ("design", "quarters", "halves"),
    [
        ("AACGATAA", 1.0, 1.0),  # A.CG.T from the first letter
        ("CTATCGAT", 1.0, 1.0),  # from the third, the last place at which it fits
        ("AACGAAAA", 0.75, 0.5),  # three of four: rounded down to one half
        ("ATTGTTTT", 0.75, 0.5),
        ("AAGAAATA", 0.5, 0.5),  # two of four
        ("GGGGGGGG", 0.25, 0.0),  # one of four is less than a half
    ],
)
def test_quantisation_worked_by_hand(design: str, quarters: float, halves: float) -> None:
    for levels, expected in ((None, quarters), (4, quarters), (2, halves)):
        spec = EhrlichSpec(motifs=1, motif_length=4, length=8, banned=0, quantisation=levels, pool=300, n=100, cap=1)
        task = spec.build(0)
        task.motifs, task.offsets = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 2, 3, 5]])
        assert float(task.truth(task.space.encode([design]))) == expected


def test_motifs_multiply() -> None:
    task = EhrlichSpec(motifs=2, motif_length=4, length=12, banned=0, pool=300, n=100, cap=1).build(0)
    task.motifs, task.offsets = torch.tensor([[0] * 4, [1] * 4]), torch.tensor([[0, 1, 2, 3]] * 2)
    assert float(task.truth(task.space.encode(["AAATTTTTTTCC"]))) == 0.75 * 0.5


@pytest.mark.parametrize(("alphabet", "banned", "count"), [("ACGT", 0.25, 1), ("ACGT", 0.9, 2), ("ABCDEFGHIJ", 0.4, 4)])
def test_the_chain_is_ergodic_and_bans_as_many_as_it_says(alphabet: str, banned: float, count: int) -> None:
    for seed in range(10):
        task = EhrlichSpec(alphabet=alphabet, banned=banned, landscape_seed=seed, motif_length=3, pool=200, n=20).build(
            0
        )
        allowed = task.transitions > 0
        assert task.transitions.sum(1).tolist() == pytest.approx([1] * len(alphabet))
        assert (~allowed).sum(1).tolist() == [count] * len(alphabet)
        assert allowed.diagonal().all()
        assert (torch.linalg.matrix_power(allowed.double(), len(alphabet)) > 0).all()


def test_the_pool_and_natural_designs_are_draws_of_the_chain() -> None:
    task = EhrlichSpec(pool=4000).build(0)
    for x in (task.unlabelled(), task.natural()):
        assert task.valid(x).all()
        letters = x.argmax(-1)
        pairs = torch.bincount((4 * letters[:, :-1] + letters[:, 1:]).flatten(), minlength=16).reshape(4, 4)
        share = pairs / pairs.sum(1, keepdim=True)
        # at least 1,000 x 63 / 20 pairs a letter: a standard error of at most .009
        assert float((share - task.transitions).abs().max()) < 0.035
        first = torch.bincount(letters[:, 0], minlength=4) / len(x)
        assert float((first - 0.25).abs().max()) < 0.06
    assert not set(task.space.decode(task.natural())) & set(task.space.decode(task.unlabelled()))


def test_offline_designs_are_the_worse_ones_of_the_pool() -> None:
    task = EhrlichSpec(unlabelled="offline", n=500).build(0)
    pool = EhrlichSpec().build(1)
    rewards, data = pool.truth(pool.unlabelled()), task.offline()
    assert len(data) == 500
    assert float(data.y.max()) <= float(rewards.quantile(0.6))
    assert torch.equal(data.y, task.truth(data.x))
    assert float(task.truth(task.unlabelled()).max()) <= float(rewards.quantile(0.6))
    assert data.x.untyped_storage().nbytes() == data.x.numel() * 4
    assert "banned" in task.notes[1]
    assert (task.has_truth, task.truth_kind) == (True, "computed")


def test_the_landscape_has_its_own_seed() -> None:
    one, two = (EhrlichSpec(pool=500, n=100).build(seed) for seed in (0, 1))
    other = EhrlichSpec(pool=500, n=100, landscape_seed=1).build(0)
    assert one.optimum() == two.optimum() != other.optimum()
    assert torch.equal(one.unlabelled(), two.unlabelled())
    assert not torch.equal(one.offline().x, two.offline().x)
    assert len({task.fingerprint() for task in (one, two, other)}) == 3


def test_noise_has_the_asked_size() -> None:
    task = EhrlichSpec(noise=0.5, n=2000).build(0)
    clean = task.truth(task.offline().x)
    assert float((task.offline().y - clean).std()) == pytest.approx(0.5 * float(clean.std()), rel=0.1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match=r"4 motifs of 6 letters do not fit into 20[\s\S]*task.length"):
        EhrlichSpec(length=20)
    with pytest.raises(SpecError, match=r"4 levels do not divide the 6 letters[\s\S]*task.quantisation"):
        EhrlichSpec(quantisation=4)
    with pytest.raises(SpecError, match=r"equally good[\s\S]*larger cap"):
        EhrlichSpec(quantisation=1, alphabet="ACDEFGHIKLMNPQRSTVWY", motif_length=8).build(0)
    with pytest.raises(SpecError, match=r"5,000 offline designs cannot be drawn"):
        EhrlichSpec(n=5000).build(0)


def test_relaxed_and_undefined_designs(task: Ehrlich) -> None:
    x = task.space.encode([task.optimum()[0]] * 2)
    x[0] = 0.7 * x[0] + 0.1
    assert task.truth(x).tolist() == [1.0, 1.0]
    assert task.valid(x).tolist() == [False, True]
    x[0, 0, 0] = torch.nan
    assert task.truth(x).isnan().tolist() == [True, False]
