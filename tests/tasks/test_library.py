"""The UTR and yeast promoter tasks against their raw files: what is set aside, what is offline, what is nobody's."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import braid_tasks.library as library
import braid_tasks.utr as utr
import braid_tasks.yeast_promoter as yeast
import pandas as pd
import pytest
import torch
from braid_tasks import UTRSpec, YeastPromoterSpec
from braid_tasks.library import LibraryTask
from braid_tasks.packaged import read_columns
from scipy.stats import spearmanr

from braid_core.errors import DataError, SpecError
from braid_core.interfaces import LabelledDesigns

SPECS = [
    UTRSpec(),
    UTRSpec(cap=0.95, held_out=0.2, n=1000, noise=0.3, unlabelled="offline"),
    YeastPromoterSpec(),
    YeastPromoterSpec(medium="defined", n=500, noise=0.3, unlabelled="all"),
    YeastPromoterSpec(origins=("native", "random"), unlabelled="offline"),
]


@pytest.fixture(scope="module")
def utrs() -> pd.DataFrame:
    with as_file(utr.packaged()) as path:
        return pd.read_csv(path)


@pytest.fixture(scope="module")
def promoters() -> pd.DataFrame:
    with as_file(yeast.packaged()) as path:
        return pd.read_csv(path)


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: f"{spec.type}-{spec.unlabelled}")
def task(request: pytest.FixtureRequest) -> LibraryTask:
    built = request.param.build(0)
    assert isinstance(built, LibraryTask)
    return built


def designs(task: LibraryTask, data: LabelledDesigns) -> set[str]:
    found = task.space.decode(data.x)
    assert len(set(found)) == len(found)
    return set(found)


def groups(data: LabelledDesigns) -> set[int]:
    assert data.group is not None
    return set(data.group.tolist())


def close(a: torch.Tensor, b: torch.Tensor, threshold: int) -> bool:
    """Whether any design of ``a`` is within ``threshold`` letters of one of ``b``."""
    length = a.shape[1]
    least = (length - part.flatten(1) @ b.flatten(1).T for part in a.split(2000))
    return any(bool((block <= threshold).any()) for block in least)


def test_the_files_are_what_their_readmes_say(utrs: pd.DataFrame, promoters: pd.DataFrame) -> None:
    assert utrs.rl.quantile([0.01, 0.25, 0.5, 0.75, 0.99]).round(3).to_list() == [2.002, 4.98, 6.072, 6.573, 7.361]
    atg = utrs.utr.str.contains("ATG")
    assert (round(utrs.rl[~atg].mean(), 2), round(utrs.rl[atg].mean(), 2)) == (6.37, 4.88)
    assert promoters.expression_complex.count() == 18_979
    assert promoters.expression_defined.count() == 18_164
    both = promoters[["expression_complex", "expression_defined"]].dropna()
    assert len(both) == 9_106
    assert both.corr().iloc[0, 1] == pytest.approx(0.965, abs=0.0005)
    assert promoters.origin.value_counts()["native"] == 3_788


def test_what_is_set_aside_is_not_seen_nor_anything_close_to_it(task: LibraryTask) -> None:
    offline, held = task.offline(), task._evaluation()
    assert groups(offline).isdisjoint(groups(held))
    assert designs(task, offline).isdisjoint(designs(task, held))
    unlabelled = task.unlabelled()
    assert set(task.space.decode(unlabelled)).isdisjoint(designs(task, held))
    for seen in (offline.x, unlabelled):
        assert not close(seen, held.x, 12)


def test_the_share_that_is_set_aside(task: LibraryTask) -> None:
    total = 20_000 if isinstance(task, utr.UTR) else {"complex": 18_979, "defined": 18_164}[task.spec.medium]  # type: ignore[attr-defined]
    assert len(task._evaluation()) / total == pytest.approx(task.spec.held_out, abs=0.02)


def test_no_family_is_on_both_sides_of_a_split(task: LibraryTask) -> None:
    first, second = task.offline().split(0.2, torch.Generator().manual_seed(0))
    assert groups(first).isdisjoint(groups(second))
    assert not close(first.x, second.x, 12)


def test_nothing_of_the_rest_is_kept(task: LibraryTask) -> None:
    data = task.offline()
    for column in (data.x, data.y, data.group, task._pretraining):
        assert column is not None
        assert column.untyped_storage().nbytes() == column.numel() * column.element_size()
    held = [value for value in vars(task).values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    assert held == []
    assert data.variance is None


def test_designs_are_valid_as_they_are(task: LibraryTask) -> None:
    x = task.offline().x[:2]
    assert task.valid(torch.cat([x, 0.5 * x])).tolist() == [True, True, False, False]
    assert task.normalise(torch.tensor([1.5])).tolist() == [1.5]


def test_the_truth_is_learned_from_what_was_set_aside() -> None:
    task = UTRSpec().build(0)
    assert (task.has_truth, task.truth_kind) == (True, "learned")
    held = task._evaluation()
    x = torch.cat([task.offline().x, held.x[:5], 0.5 * held.x[:1]])
    x[0, 0, 0] = torch.nan
    truth, doubt = task.truth(x), task.doubt(x)
    assert truth[0].isnan()
    assert doubt.std[0].isnan()
    assert truth.dtype == doubt.std.dtype == torch.float32
    # one scale for all: a measured design has the evaluator's reward, not its own
    assert not torch.isclose(truth[-6:-1], held.y[:5], atol=1e-4).any()
    assert truth[-6] == truth[-1]
    # offline UTRs, which it has not seen, and which reach over a part of the range only
    found = spearmanr(truth[1:-6], task.offline().y[1:]).statistic
    assert found > 0.7
    assert float(truth[1:].min()) >= float(held.y.min())
    assert float(truth[1:].max()) <= float(held.y.max())
    assert torch.equal(doubt.designs, held.x)
    assert "10,000 measured designs" in doubt.note
    assert "% of the variance" in doubt.note


def test_one_evaluator_judges_all_runs_of_a_split() -> None:
    x = UTRSpec().build(0).offline().x[:20]
    tasks = [UTRSpec().build(0), UTRSpec(cap=0.9, n=500, noise=1, unlabelled="offline").build(3)]
    first, same = (task._judge[0] for task in tasks)
    assert first is same  # also without the cache: it is fitted to equal data with a seed of its own
    assert torch.equal(tasks[0].truth(x), tasks[1].truth(x))
    other = UTRSpec(split_seed=1).build(0)
    assert other._judge[0] is not first
    assert not torch.equal(other.truth(x), tasks[0].truth(x))


def test_of_a_large_library_whole_families_train_the_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MOST", 1000)
    task = YeastPromoterSpec().build(0)
    _, data = task._judge
    held = task._evaluation()
    assert data.group is not None
    assert held.group is not None
    assert 1000 - 39 <= len(data) <= 1000
    assert len(data) == int(torch.isin(held.group, data.group).sum())


def test_the_offline_utrs_are_those_below_the_cap(utrs: pd.DataFrame) -> None:
    task = UTRSpec().build(0)
    held = designs(task, task._evaluation())
    rest = utrs[~utrs.utr.isin(held)]
    below = rest[rest.rl <= rest.rl.quantile(0.6)]
    assert task.space.decode(task.offline().x) == below.utr.to_list()
    assert task.offline().y.tolist() == torch.tensor(below.rl.to_list()).tolist()
    assert task.space.decode(task.unlabelled()) == rest.utr.to_list()
    below_only = UTRSpec(unlabelled="offline", n=100).build(0)
    assert torch.equal(below_only.unlabelled(), task.offline().x)
    scores = dict(zip(utrs.utr, utrs.rl, strict=True))
    evaluation = task._evaluation()
    expected = torch.tensor([scores[design] for design in task.space.decode(evaluation.x)])
    assert torch.equal(evaluation.y, expected)


def test_the_two_copies_among_the_utrs_are_one_family(utrs: pd.DataFrame) -> None:
    copies = utrs.utr[utrs.utr.str.endswith("ACAACCCATTCTTAGTCGTTCACTCTTTGCCCGCATGGGACTATGTAGA"[1:])]
    assert len(copies) == 2
    library = UTRSpec().build(0)._read()
    assert len(torch.unique(library.family)) == 19_999
    assert library.family[copies.index[0]] == library.family[copies.index[1]]


@pytest.mark.parametrize("medium", ["complex", "defined"])
def test_the_offline_promoters_are_those_below_the_cap(promoters: pd.DataFrame, medium: Any) -> None:
    task = YeastPromoterSpec(medium=medium, origins=("native", "sswm"), unlabelled="all", cap=0.8).build(0)
    held = task._held_out(task._read()).numpy()
    column = f"expression_{medium}"
    rest = promoters[~held & promoters.origin.isin(["native", "sswm", "random+sswm"])]
    below = rest[rest[column] <= rest[column].quantile(0.8)]
    assert task.space.decode(task.offline().x) == below.sequence.to_list()
    assert task.offline().y.tolist() == torch.tensor(below[column].to_list()).tolist()
    assert task.space.decode(task.unlabelled()) == rest.sequence.to_list()
    natives = YeastPromoterSpec(medium=medium, origins=("random",)).build(0)
    expected = promoters[~held & (promoters.origin == "native")].sequence.to_list()
    assert natives.space.decode(natives.unlabelled()) == expected
    assert promoters[held & promoters[column].notna()].sequence.to_list() == task.space.decode(task._evaluation().x)


def test_promoter_families_are_far_apart(promoters: pd.DataFrame) -> None:
    library = YeastPromoterSpec().build(0)._read()
    family = library.family.numpy()
    assert len(set(family)) == 7_752
    counts = promoters.groupby(family).origin.agg(lambda names: "|".join(sorted(set(names)))).value_counts()
    assert counts.to_dict() == {
        "random": 6_113,
        "drift": 999,
        "sswm": 432,
        "native": 199,
        "random+sswm|sswm": 8,
        "native|sswm": 1,
    }
    # single-letter variants of one promoter differ from each other in at most two letters
    rows = torch.tensor((promoters.origin == "native").to_list())
    of = library.family[rows]
    for name in torch.unique(of):
        members = library.letters[rows][of == name]
        assert int((members[:, None] != members[None]).sum(-1).max()) == 2


def test_what_is_set_aside_does_not_depend_on_what_is_seen() -> None:
    one = YeastPromoterSpec().build(0)
    library, evaluation = one._read(), one._evaluation()
    other = YeastPromoterSpec(origins=("native",), cap=0.9, n=200, noise=1, unlabelled="all").build(5)._evaluation()
    assert torch.equal(evaluation.x, other.x)
    assert torch.equal(evaluation.y, other.y)
    defined, redrawn = (YeastPromoterSpec(**o).build(0) for o in ({"medium": "defined"}, {"split_seed": 1}))
    held = one._held_out(library)
    assert torch.equal(held, defined._held_out(defined._read()))
    assert not torch.equal(held, redrawn._held_out(library))


def test_noise_is_drawn_for_each_design_and_independent_of_n() -> None:
    clean, noisy, small = (YeastPromoterSpec(**o).build(1) for o in ({}, {"noise": 0.5}, {"noise": 0.5, "n": 400}))
    added = noisy.offline().y - clean.offline().y
    # 5,725 draws: the sd is known to 0.9 %
    assert float(added.std()) == pytest.approx(0.5 * clean.offline().std, rel=0.04)
    assert float(added.mean()) == pytest.approx(0, abs=0.03 * clean.offline().std)
    labels = dict(zip(noisy.space.decode(noisy.offline().x), noisy.offline().y.tolist(), strict=True))
    drawn = small.offline()
    assert [labels[design] for design in small.space.decode(drawn.x)] == drawn.y.tolist()
    assert 400 - 51 <= len(drawn) <= 400
    # whole families: what is offline of a family is drawn with it
    all_groups = noisy.offline().group
    assert all_groups is not None
    assert len(drawn) == sum(int(g) in groups(drawn) for g in all_groups)


def test_the_fingerprint_follows_what_determines_the_data() -> None:
    options: list[dict[str, Any]] = [{}, {"cap": 0.5}, {"held_out": 0.4}, {"split_seed": 1}, {"n": 300}, {"noise": 0.1}]
    options.append({"unlabelled": "offline"})
    found = {UTRSpec(**chosen).build(0).fingerprint() for chosen in options}
    assert len(found | {UTRSpec(n=300).build(1).fingerprint()}) == len(options) + 1
    assert UTRSpec().build(7).fingerprint() in found
    options = [{}, {"medium": "defined"}, {"origins": ("random",)}, {"unlabelled": "all"}]
    assert len({YeastPromoterSpec(**chosen).build(0).fingerprint() for chosen in options}) == 4


def test_more_designs_than_there_are_is_refused() -> None:
    with pytest.raises(SpecError, match=r"7,000 .*cannot be drawn[\s\S]*task\.n[\s\S]*6,000 designs lie at or below"):
        UTRSpec(n=7000).build(0)


def test_a_file_of_another_content_is_refused() -> None:
    with pytest.raises(DataError, match=r"the UTR library is damaged[\s\S]*sha256 is 7f33a7.*not 0000"):
        read_columns(utr.packaged(), "0" * 64, "the UTR library", ["utr"])


def test_notes_count_what_the_model_is_pretrained_on() -> None:
    task = YeastPromoterSpec().build(0)
    assert f"{len(task.unlabelled()):,} natural promoters in 100 families" in task.notes[-1]
    assert any("designed by the authors' model" in note for note in task.notes)
    natural = YeastPromoterSpec(origins=("native", "random")).build(0)
    assert not any("designed by" in note for note in natural.notes)
    assert "complex" in task.unit


@pytest.mark.parametrize(("module", "folder"), [(utr, "utr"), (yeast, "yeast_promoter")])
def test_source_and_licence_travel_with_the_data(module: Any, folder: str) -> None:
    readme = (files("braid_tasks") / "data" / folder / "README.md").read_text()
    assert module.SHA256 in readme
    doi = module.CITATION.partition("doi:")[2].partition(",")[0].partition(": the")[0]
    assert doi.startswith("10.1038/")
    assert doi in readme
