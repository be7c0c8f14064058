"""The enhancer task against its raw files, and complete tables of the published form made up for the test."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from braid_tasks import EnhancerSpec, UTRSpec
from braid_tasks.enhancer import SOURCES, Enhancer, packaged
from braid_tasks.families import overlapping
from braid_tasks.offline import held_out

from braid_core.errors import DataError, SpecError

COMPLEMENT = str.maketrans("ACGT", "TGCA")
GENERATOR = np.random.default_rng(0)


def word(length: int) -> str:
    return "".join(GENERATOR.choice(list("ACGT"), length))


def letters(designs: list[str]) -> torch.Tensor:
    return torch.tensor([["ACGT".index(letter) for letter in design] for design in designs], dtype=torch.uint8)


def reverse(design: str) -> str:
    return design.translate(COMPLEMENT)[::-1]


@pytest.fixture(scope="module", params=["deepstarr", "lentimpra"])
def source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def raw(source: str) -> pd.DataFrame:
    """The packaged file, read without the task: free letters, target and name."""
    with as_file(packaged(source)) as path:
        table = pd.read_csv(path)
    score = "dev_log2_enrichment" if source == "deepstarr" else "log2_rna_dna"
    free = table.sequence if source == "deepstarr" else table.sequence.str[15:-15]
    return pd.DataFrame({"sequence": free, "y": table[score], "name": table.get("seq_id", table.get("id"))})


@pytest.fixture(scope="module")
def task(source: str) -> Enhancer:
    return EnhancerSpec(source=source).build(0)  # type: ignore[arg-type]


def sides(task: Enhancer) -> list[set[str]]:
    """What methods see, and what is set aside."""
    return [set(task.space.decode(x)) for x in (task.unlabelled(), task._evaluation().x)]


def test_the_designs_are_the_free_letters_each_once(task: Enhancer, raw: pd.DataFrame, source: str) -> None:
    seen, held = sides(task)
    assert len(task.unlabelled()) == len(seen)
    assert seen | held == set(raw.sequence)
    assert len(seen | held) == {"deepstarr": 2_969, "lentimpra": 2_940}[source]
    y = dict(zip(raw.sequence, raw.y, strict=True))  # repeats have one value
    for data in (task.offline(), task._evaluation()):
        assert data.y.tolist() == pytest.approx([y[design] for design in task.space.decode(data.x)])
    rest = np.array([y[design] for design in seen])
    assert float(task.offline().y.max()) <= np.quantile(rest, 0.95)
    assert len(task.offline()) == int((rest <= np.quantile(rest, 0.95)).sum())


def test_families_are_on_one_side(task: Enhancer, raw: pd.DataFrame, source: str) -> None:
    seen, held = sides(task)
    assert seen.isdisjoint(held)
    assert seen.isdisjoint(map(reverse, held))
    parts = [{d[i : i + 31] for d in side for i in range(len(d) - 30)} for side in (seen, held)]
    assert parts[0].isdisjoint(parts[1])
    assert parts[0].isdisjoint(map(reverse, parts[1]))
    if source == "lentimpra":
        stem = raw.name.str.replace("_Reversed", "").str.replace("_F", "")
        assert raw.name.str.endswith("_Reversed").mean() == pytest.approx(0.5, abs=0.02)
        assert set(stem[raw.sequence.isin(seen)]).isdisjoint(stem[raw.sequence.isin(held)])
        both = raw.drop_duplicates("sequence").groupby(stem).sequence.agg(list)
        pairs = both[both.map(len) == 2]
        assert len(pairs) > 0
        assert all(reverse(one) == other for one, other in pairs)  # what _Reversed means


def test_what_is_set_aside_is_reproducible_and_as_large_as_asked(task: Enhancer, source: str) -> None:
    _, held = sides(task)
    again = EnhancerSpec(source=source, cap=0.5, n=300, noise=1).build(4)  # type: ignore[arg-type]
    assert sides(again)[1] == held
    assert len(held) / {"deepstarr": 2_969, "lentimpra": 2_940}[source] == pytest.approx(0.5, abs=0.01)
    digest = hashlib.sha256("".join(sorted(held)).encode()).hexdigest()[:12]
    assert digest == {"deepstarr": "ce77851c784a", "lentimpra": "40a300edf6f4"}[source]


def test_natural_designs_are_those_that_methods_have_not_seen(task: Enhancer) -> None:
    assert set(task.space.decode(task.natural())) == sides(task)[1]


def test_the_evaluator_hears_both_strands_as_one() -> None:
    there = letters([word(60) for _ in range(5)]).numpy()
    for one, other in zip(Enhancer._features(there), Enhancer._features(3 - there[:, ::-1]), strict=True):
        assert (one == other).all()
        assert one.sum() > 0


def test_targets_of_one_source_are_set_aside_together() -> None:
    dev, hk = (EnhancerSpec(target=target).build(0) for target in ("dev", "hk"))  # type: ignore[arg-type]
    assert sides(dev) == sides(hk)
    assert dev.unit != hk.unit
    assert dev.fingerprint() != hk.fingerprint()
    with as_file(packaged("deepstarr")) as path:
        y = pd.read_csv(path).set_index("sequence").hk_log2_enrichment
    some = hk.offline()
    assert some.y[:20].tolist() == pytest.approx([y[design] for design in hk.space.decode(some.x[:20])])


def test_words_link_orientations_alleles_windows_and_names() -> None:
    genome, other = word(150), word(80)
    snp = genome[:40] + ("A" if genome[40] != "A" else "C") + genome[41:80]
    designs = [genome[:80], reverse(genome[:80]), snp, genome[49:129], other, word(80), word(80)]
    assert overlapping(letters(designs)).tolist() == [0, 0, 0, 0, 1, 2, 3]  # the window shares exactly 31 letters
    designs[3] = genome[50:130]
    assert overlapping(letters(designs)).tolist() == [0, 0, 0, 1, 2, 3, 4]
    assert overlapping(letters(designs), list("abcdebb")).tolist() == [0, 0, 0, 1, 2, 0, 0]


def gosai(folder: Path, rows: int = 40) -> tuple[Path, pd.DataFrame]:
    """A table of the form of Table_S2__MPRA_dataset.txt."""
    table = pd.DataFrame({"IDs": range(rows), "chr": "7", "sequence": [word(200) for _ in range(rows)]})
    for cell in ("K562", "HepG2", "SKNSH"):
        table[f"{cell}_log2FC"], table[f"{cell}_lfcSE"] = GENERATOR.normal(size=rows), 0.2
    path = folder / "Table_S2__MPRA_dataset.txt"
    table.to_csv(path, sep="\t", index=False)
    return path, table


def test_the_table_of_gosai_is_read_as_published(tmp_path: Path) -> None:
    path, table = gosai(tmp_path)
    table.loc[0, "sequence"] = table.sequence[0][:190]
    table.loc[1, "sequence"] = "N" + table.sequence[1][1:]
    table.loc[2, "K562_log2FC"] = np.nan
    table.loc[3, "K562_lfcSE"] = 1.0
    table.loc[4, "HepG2_lfcSE"] = 5.0  # of another target
    table.loc[5, "sequence"] = table.sequence[6]
    table.loc[7, "sequence"] = table.sequence[7].lower()
    table.to_csv(path, sep="\t", index=False)
    task = EnhancerSpec(source="gosai", target="K562", path=str(path)).build(0)
    library = task._read()
    found = dict(zip(task.space.decode(task.space.one_hot(library.letters.long())), library.y.tolist(), strict=True))
    expected = dict(zip(table.sequence.str.upper()[4:], table.K562_log2FC[4:], strict=True))
    expected[table.sequence[6]] = (table.K562_log2FC[5] + table.K562_log2FC[6]) / 2
    assert found == pytest.approx(expected)
    assert f"{len(expected)} sequences in {len(expected)} families, {path}; 4 rows left out" in task.notes[0]
    assert task.unit == "log2 fold change (K562)"


def test_a_table_is_known_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    path, table = gosai(tmp_path)
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "t.tsv"
    moved.write_bytes(path.read_bytes())
    spec = EnhancerSpec(source="gosai", path=str(path))
    assert spec.build(0).fingerprint() == EnhancerSpec(source="gosai", path=str(moved)).build(0).fingerprint()
    table.loc[3, "HepG2_log2FC"] += 1e-3
    table.to_csv(moved, sep="\t", index=False)
    assert spec.build(0).fingerprint() != EnhancerSpec(source="gosai", path=str(moved)).build(0).fingerprint()


@pytest.mark.parametrize(
    ("source", "columns"),
    [("deepstarr", ("Sequence", "Dev_log2_enrichment")), ("lentimpra", ("seq", "mean_value"))],
)
def test_complete_tables_of_the_other_sources(tmp_path: Path, source: Any, columns: tuple[str, str]) -> None:
    known = SOURCES[source]
    designs = [word(known.length) for _ in range(30)]
    before, behind = known.adapters
    table = pd.DataFrame({columns[0]: [before + d + behind for d in designs], columns[1]: range(30)})
    table["seq_id"] = [f"seq{k // 2}{'_F' if k % 2 else '_Reversed:'}" for k in range(30)]
    table.to_csv(tmp_path / "full.txt.gz", sep="\t", index=False)
    task = EnhancerSpec(source=source, path=str(tmp_path / "full.txt.gz")).build(0)
    library = task._read()
    assert task.space.decode(task.space.one_hot(library.letters.long())) == designs
    assert library.y.tolist() == list(range(30))
    assert len(torch.unique(library.family)) == (15 if source == "lentimpra" else 30)


def test_columns_of_other_names(tmp_path: Path) -> None:
    table = pd.DataFrame({"dna": [word(200) for _ in range(30)], "y": range(30), "se": 0.1, "pair": [0, 0, *range(28)]})
    table.loc[0, "se"] = 0.6
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = {"sequence": "dna", "score": "y", "error": "se", "names": "pair", "most_error": 0.5}
    task = EnhancerSpec(source="lentimpra", path=str(tmp_path / "mine.csv"), **options).build(0)  # type: ignore[arg-type]
    library = task._read()
    assert library.y.tolist() == list(range(1, 30))
    assert library.family[0] == library.family[1]  # both are called 0
    assert len(torch.unique(library.family)) == 28


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": "seqence"}, r"no column 'seqence'[\s\S]*line 1[\s\S]*did you mean 'sequence'"),
        ({"score": "chromosome"}, r"no column 'chromosome'"),
        ({"score": "sequence"}, r"column 'sequence' is not numbers"),
        ({"path": "missing.tsv"}, r"cannot be read[\s\S]*missing\.tsv[\s\S]*No such file"),
        ({"path": "damaged.tsv.gz"}, r"cannot be read[\s\S]*damaged\.tsv\.gz"),
        ({"path": "torn.csv"}, r"cannot be read as a table[\s\S]*torn\.csv"),
        ({"sha256": "0" * 64}, r"another content[\s\S]*not 0000"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str) -> None:
    path, _ = gosai(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("damaged.tsv.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    Path("torn.csv").write_text('sequence,HepG2_log2FC,HepG2_lfcSE\nA,1,1,1,1\n"')
    with pytest.raises(DataError, match=message):
        EnhancerSpec(source="gosai", **{"path": str(path), **change}).build(0)


def test_a_table_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    path, _ = gosai(tmp_path)
    task = EnhancerSpec(source="gosai", path=str(path)).build(0)
    assert len(task._evaluation()) == 20
    gosai(tmp_path)
    with pytest.raises(DataError, match="another content"):
        task.truth(task.offline().x)


def test_designs_without_a_name_are_no_family(tmp_path: Path) -> None:
    known = SOURCES["lentimpra"]
    before, behind = known.adapters
    table = pd.DataFrame({"seq": [before + word(known.length) + behind for _ in range(30)], "mean_value": range(30)})
    table["seq_id"] = [None] * 20 + [f"seq{k // 2}{'_F' if k % 2 else '_Reversed:'}" for k in range(10)]
    table.to_csv(tmp_path / "full.csv", index=False)
    library = EnhancerSpec(source="lentimpra", path=str(tmp_path / "full.csv")).build(0)._read()
    assert len(torch.unique(library.family)) == 25


def test_too_small_a_table_to_judge_by_is_refused_at_once(tmp_path: Path) -> None:
    path, _ = gosai(tmp_path, rows=8)
    with pytest.raises(SpecError, match="too few to judge by"):
        EnhancerSpec(source="gosai", path=str(path), cap=1.0).build(0)


def test_a_family_larger_than_what_is_set_aside_does_not_empty_it() -> None:
    group = torch.cat([torch.zeros(600), torch.arange(1, 401)]).long()
    for seed in range(5):
        held = held_out(group, 0.5, seed)
        assert int(held.sum()) == 400
        assert not bool(held[:600].any())


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    path, table = gosai(tmp_path)
    table.assign(sequence="ACGT").to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"none of 40 rows has 200 letters"):
        EnhancerSpec(source="gosai", path=str(path)).build(0)


def test_the_complete_table_of_utrs(tmp_path: Path) -> None:
    utrs = [word(50) for _ in range(60)]
    table = pd.DataFrame({"utr": [*utrs, word(49)], "0": 1.0, "total": 5, "rl": [*range(60), 3]})
    path = tmp_path / "GSM3130440_egfp_m1pseudo_2.csv.gz"
    table.to_csv(path, index=False)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    task = UTRSpec(path=str(path), sha256=right.upper()).build(0)
    offline, held = set(task.space.decode(task.offline().x)), set(task.space.decode(task._evaluation().x))
    assert len(held) == 30
    assert offline < set(utrs) - held
    assert "60 UTRs from" in task.notes[0]
    assert "1 rows without 50 letters" in task.notes[0]
    assert task.sha256 == right
    with pytest.raises(DataError, match="another content"):
        UTRSpec(path=str(path), sha256="0" * 64).build(0)


def test_source_and_licence_travel_with_the_data(source: str) -> None:
    readme = (files("braid_tasks") / "data" / "enhancer" / "README.md").read_text()
    assert SOURCES[source].sha256 in readme
    assert "Licence" in readme
    for known in SOURCES.values():
        assert known.citation.partition("doi:")[2].partition(",")[0] in readme
        published = [known.published.sequence, *known.published.score.values()]
        assert all(f"`{column}`" in readme for column in published)
