"""The user's own table: what is read, and what every mistake in it is answered with."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from braid_tasks import TableSpec
from braid_tasks.table import Table

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import Tokens

GOOD = "sequence,score\nACGT,1.5\nAAAA,-2\nCCGT,0.25\n"


def write(folder: Path, text: str | bytes, name: str = "designs.csv") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def build(folder: Path, text: str | bytes, name: str = "designs.csv", **options: Any) -> Table:
    return TableSpec(path=write(folder, text, name), **options).build(0)


def message(folder: Path, text: str | bytes, name: str = "designs.csv", **options: Any) -> str:
    """The answer to a bad file."""
    with pytest.raises(DataError) as caught:
        build(folder, text, name, **options)
    return str(caught.value)


def test_a_good_table(tmp_path: Path) -> None:
    task = build(tmp_path, GOOD)
    data = task.offline()
    assert task.space.decode(data.x) == ["ACGT", "AAAA", "CCGT"]
    assert data.x.shape == (3, 4, 4)
    assert data.y.tolist() == [1.5, -2.0, 0.25]
    assert data.variance is None
    assert (task.name, task.unit, task.has_truth) == ("designs", "score", False)
    assert torch.equal(task.unlabelled(), data.x)
    assert task.valid(data.x).all()
    assert "3 measured designs" in task.notes[0]
    assert "no truth" in task.notes[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv.gz", gzip.compress(GOOD.encode(), mtime=0)),  # no time in names of tests
        ("d.CSV", GOOD.encode()),
        ("d.tsv", GOOD.replace(",", "\t").encode()),
        ("d.tsv.gz", gzip.compress(GOOD.replace(",", "\t").encode(), mtime=0)),
        ("bom.csv", b"\xef\xbb\xbf" + GOOD.encode()),
        ("crlf.csv", GOOD.replace("\n", "\r\n").encode()),
        ("spaces.csv", GOOD.replace(",", " , ").encode()),
        ("blank.csv", GOOD.replace("\nAAAA", "\n\nAAAA").encode() + b"\n\n"),
        ("quoted.csv", GOOD.replace("ACGT", '"ACGT"').encode()),
    ],
)
def test_the_same_table_in_other_clothes(tmp_path: Path, name: str, content: bytes) -> None:
    task = build(tmp_path, content, name)
    assert task.space.decode(task.offline().x) == ["ACGT", "AAAA", "CCGT"]
    assert task.offline().y.tolist() == [1.5, -2.0, 0.25]


def test_named_columns_and_other_letters(tmp_path: Path) -> None:
    text = "id,peptide,activity,error,batch\n1,NAN,3,0.5,a\n2,NKA,4,0.25,b\n3,KKA,5,1,a\n"
    task = build(tmp_path, text, alphabet="AKN", sequence="peptide", score="activity", variance="error", group="batch")
    data = task.offline()
    assert task.space.decode(data.x) == ["NAN", "NKA", "KKA"]
    assert data.variance is not None
    assert data.variance.tolist() == [0.5, 0.25, 1.0]
    assert data.group is not None
    assert data.group[0] == data.group[2] != data.group[1]
    assert task.unit == "activity"


def test_a_score_to_be_minimised_is_negated(tmp_path: Path) -> None:
    task = build(tmp_path, GOOD, maximise=False)
    assert task.offline().y.tolist() == [-1.5, 2.0, -0.25]
    assert task.unit == "−score"
    assert any("negated" in note for note in task.notes)


def test_repeats_are_one_group(tmp_path: Path) -> None:
    group = build(tmp_path, GOOD + "ACGT,1.4\n").offline().group
    assert group is not None
    assert group[0] == group[3]
    assert len(set(group.tolist())) == 3


def test_strands_are_one_group_only_where_the_task_says_so(tmp_path: Path) -> None:
    text = "sequence,score\nAACC,1\nGGTT,2\nACGT,3\n"  # GGTT is the other strand of AACC
    plain = build(tmp_path, text).offline().group
    double = build(tmp_path, text, symmetries=("reverse_complement",)).offline().group
    assert plain is not None
    assert double is not None
    assert len(set(plain.tolist())) == 3
    assert double[0] == double[1] != double[2]
    rna = build(tmp_path, text.replace("T", "U"), alphabet="ACGU", symmetries=("reverse_complement",)).offline().group
    assert rna is not None
    assert torch.equal(rna, double)


def test_groups_and_repeats_are_chained(tmp_path: Path) -> None:
    # rows 1 and 3 share a name, rows 3 and 2 a design: all three hang together; row 4 does not
    group = build(tmp_path, "sequence,score,g\nAA,1,x\nCC,2,y\nCC,3,x\nGG,4,z\n", group="g").offline().group
    assert group is not None
    assert len(set(group[:3].tolist())) == 1
    assert group[3] != group[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pool.csv", "note,sequence\nx,TTTT\ny,GGGG\n"),
        ("pool.txt", "TTTT\n\nGGGG\n"),
        ("headed.txt", "sequence\nTTTT\nGGGG\n"),
    ],
)
def test_unlabelled_designs_from_a_second_file(tmp_path: Path, name: str, text: str) -> None:
    task = build(tmp_path, GOOD, unlabelled=write(tmp_path, text, name))
    assert task.space.decode(task.unlabelled()) == ["TTTT", "GGGG"]
    assert "2 designs" in task.notes[2]
    assert name in task.notes[2]


def test_mistakes_in_the_second_file(tmp_path: Path) -> None:
    longer = write(tmp_path, "TTTT\nGGGGG\n", "longer.txt")
    told = message(tmp_path, GOOD, unlabelled=longer)
    assert "not all 4 letters long, as the measured ones are" in told
    assert "longer.txt, line 2" in told
    assert "letter 'X'" in message(tmp_path, GOOD, unlabelled=write(tmp_path, "TTTT\nGGXG\n", "x.txt"))
    assert "no designs" in message(tmp_path, GOOD, unlabelled=write(tmp_path, "sequence\n", "none.csv"))
    assert "is empty" in message(tmp_path, GOOD, unlabelled=write(tmp_path, "", "none.txt"))
    assert "no such file" in message(tmp_path, GOOD, unlabelled=str(tmp_path / "nowhere.txt"))


def test_there_is_no_truth(tmp_path: Path) -> None:
    task = build(tmp_path, GOOD)
    with pytest.raises(UnsupportedError, match=r"no true reward[\s\S]*measure the designs"):
        task.truth(task.offline().x)


def test_the_fingerprint_follows_content_and_options_not_the_place(tmp_path: Path) -> None:
    first = build(tmp_path, GOOD)
    assert build(tmp_path, GOOD, "elsewhere.csv").fingerprint() == first.fingerprint()
    assert TableSpec(path=first.spec.path).build(9).fingerprint() == first.fingerprint()
    changed = [
        build(tmp_path, GOOD.replace("1.5", "1.6")),
        build(tmp_path, GOOD, maximise=False),
        build(tmp_path, GOOD, symmetries=("reverse_complement",)),
        build(tmp_path, GOOD, unlabelled=write(tmp_path, "TTTT\n", "a.txt")),
        build(tmp_path, GOOD, unlabelled=write(tmp_path, "GGGG\n", "b.txt")),
    ]
    assert len({task.fingerprint() for task in changed} | {first.fingerprint()}) == 6


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, ["the file is empty", "header line"]),
        ("\n \n", {}, ["the file is empty"]),
        ("\nsequence,score\nACGT,1\nACGA,2\n", {}, ["the first line is blank", "start the file with the header"]),
        ("sequence,score\n", {}, ["0 different design(s)", "fewer than two"]),
        ("sequence,score\nACGT,1\n", {}, ["1 different design(s)"]),
        ("sequence,score\nACGT,1\nACGT,2\n", {}, ["1 different design(s)"]),
        ("sequence,score\nACGT,1\nACGA,2,3\n", {}, ["cannot be read as a table", "line 3", "Expected 2 fields"]),
        ('sequence,score\nACGT,1\n"ACGA,2\n', {}, ["cannot be read as a table", "line 3", "quotation mark"]),
        ("Sequence,score\nACGT,1\nACGA,2\n", {}, ["no column 'sequence'", "did you mean 'Sequence'?"]),
        ("seq,y\nACGT,1\nACGA,2\n", {"sequence": "seq"}, ["no column 'score'", "known: seq, y"]),
        ("sequence;score\nACGT;1\nACGA;2\n", {}, ["no column 'sequence'", "';'", "commas"]),
        ("sequence,score,score\nACGT,1,2\nACGA,2,3\n", {}, ["'score' stands twice", "line 1"]),
        ("sequence,score\nACGT,NaN\nACGA,2\n", {}, ["1 of 2 values in column 'score'", "line 2", "'NaN'"]),
        ("sequence,score\nACGT,\nACGA,2\n", {}, ["line 2", "the first is ''"]),
        ("sequence,score\nACGT\nACGA,2\n", {}, ["line 2", "the first is ''"]),
        ("sequence,score\nACGT,1\n\nACGA,high\nACGC,inf\n", {}, ["2 of 3", "lines 4, 5", "'high'"]),
        ('sequence,score\nACGT,"1,5"\nACGA,2\n', {}, ["'1,5'", "decimals need a point"]),
        ("sequence,score\nACGT,1e39\nACGA,2\n", {}, ["not finite numbers", "'1e39'"]),
        ("sequence,score\nACGT,True\nACGA,2\n", {}, ["not finite numbers", "'True'"]),
        ("sequence,score\nACGT,2\nACGA,2\n", {}, ["all 2 rewards are the same", "column 'score'", "each is 2"]),
        ("sequence,score\nACGT,1\nACNA,2\n", {}, ["letter 'N'", "line 3", "position 3 of 'ACNA'", "extend"]),
        ("sequence,score\nACGT,1\nacga,2\n", {}, ["letter 'a'", "line 3", "capital letters"]),
        ("sequence,score\nACGT,1\nACGA,2\n", {"alphabet": "acgt"}, ["letter 'A'", "give alphabet = 'ACGT'"]),
        ("sequence,score\nACGU,1\nACGA,2\n", {}, ["letter 'U'", "RNA", "'ACGU'"]),
        ("sequence,score\nACGT,1\n,2\n", {}, ["no design", "line 3"]),
        (
            "sequence,score\nACGT,1\nACGA,2\nACG,3\nAC,4\nACC,5\n",
            {},
            ["unequal lengths", "line 4", "2 of length 4 and 2 of length 3", "pad = '-'"],
        ),
        ("sequence,score,v\nACGT,1,0\nACGA,2,1\n", {"variance": "v"}, ["'v'", "not positive", "line 2"]),
        ("sequence,score\nACGT,1\nACGA,2\n", {"variance": "var"}, ["no column 'var'"]),
        ("sequence,score,g\nACGT,1,\nACGA,2,b\n", {"group": "g"}, ["no group", "line 2"]),
        ("sequence,score\nACGT,1\nACGA,2\n", {"alphabet": "ACGTA"}, ["'ACGTA' cannot be used"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, options: dict[str, Any], words: list[str]) -> None:
    told = message(tmp_path, text, **options)
    assert [word for word in words if word not in told] == []


PEPTIDES = "sequence,score\nACD,1\nA,2\nCA--,3\nDDCA,4\nCA,5\n"


def test_a_pad_allows_unequal_lengths(tmp_path: Path) -> None:
    task = build(tmp_path, PEPTIDES, alphabet="ACD", pad="-")
    assert task.space == Tokens("ACD-", 4, pad="-")
    data = task.offline()
    assert task.space.decode(data.x) == ["ACD", "A", "CA", "DDCA", "CA"]
    assert data.group is not None
    assert data.group[2] == data.group[4]  # one design, whether filled in the file or not
    assert len(set(data.group.tolist())) == 4
    assert "up to 4 letters" in task.notes[-1]
    assert build(tmp_path, PEPTIDES, alphabet="-ACD", pad="-").space == Tokens("-ACD", 4, pad="-")
    assert "up to" not in build(tmp_path, GOOD).notes[-1]


def test_what_has_a_pad_before_a_letter_is_not_valid(tmp_path: Path) -> None:
    task = build(tmp_path, PEPTIDES, alphabet="ACD", pad="-")
    letters = torch.tensor([[0, 1, 2, 0], [0, 3, 3, 3], [0, 3, 2, 3], [3, 3, 3, 3]])
    assert task.valid(task.space.one_hot(letters)).tolist() == [True, True, False, False]


def test_unlabelled_designs_may_be_shorter_but_not_longer(tmp_path: Path) -> None:
    shorter = write(tmp_path, "AC\nD\n", "pool.txt")
    task = build(tmp_path, PEPTIDES, alphabet="ACD", pad="-", unlabelled=shorter)
    assert task.space.decode(task.unlabelled()) == ["AC", "D"]
    longer = write(tmp_path, "AC\nDDDDD\n", "longer.txt")
    told = message(tmp_path, PEPTIDES, alphabet="ACD", pad="-", unlabelled=longer)
    assert "1 of 2 designs are longer than the longest measured one, which has 4 letters" in told
    assert "longer.txt, line 2" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sequence,score\nACD,1\nA-C,2\n", ["1 of 2 designs", "pad '-' before a letter", "line 3", "'A-C'"]),
        ("sequence,score\nACD,1\n--,2\n", ["1 of 2 rows have no design", "line 3"]),
        ("sequence,score\nACD,1\nAXC,2\n", ["letter 'X'", "line 3"]),
        ("sequence,score\nAC,1\nAC-,2\n", ["1 different design(s)"]),
    ],
)
def test_mistakes_in_designs_of_unequal_length_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    told = message(tmp_path, text, alphabet="ACD", pad="-")
    assert [word for word in words if word not in told] == []


def test_a_pad_has_no_complement(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="unequal length have no reverse complement"):
        build(tmp_path, GOOD, pad="-", symmetries=("reverse_complement",))


def test_long_lists_of_bad_lines_are_cut(tmp_path: Path) -> None:
    told = message(tmp_path, "sequence,score\n" + "ACGT,x\n" * 9 + "AAAA,1\n")
    assert "9 of 10" in told
    assert "lines 2, 3, 4, 5, 6 and 4 more" in told


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    assert "not text" in message(tmp_path, b"sequence,score\nACGT,\xff\n")
    assert "line 2" in message(tmp_path, b"sequence,score\nACGT,\xff\n")
    assert "cannot be unpacked" in message(tmp_path, GOOD, "plain.csv.gz")
    assert "cannot be unpacked" in message(tmp_path, gzip.compress(GOOD.encode())[:-9], "cut.csv.gz")
    told = message(tmp_path, GOOD, "designs.xlsx")
    assert "a .xlsx file cannot be read" in told
    assert ".csv, .tsv" in told
    assert "without an ending" in message(tmp_path, GOOD, "designs")
    assert "a .txt file cannot be read" in message(tmp_path, "ACGT\n", "designs.txt")


def test_a_missing_file_is_searched_for(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"no such file[\s\S]*desings\.csv[\s\S]*did you mean 'designs\.csv'"):
        TableSpec(path=str(tmp_path / "desings.csv")).build(0)
    with pytest.raises(DataError, match="its folder does not exist"):
        TableSpec(path=str(tmp_path / "nowhere" / "designs.csv")).build(0)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be opened"):
        TableSpec(path=str(tmp_path / "folder.csv")).build(0)


def test_a_symmetry_needs_its_alphabet(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no reverse complement"):
        build(tmp_path, "sequence,score\nAK,1\nKA,2\n", alphabet="AK", symmetries=("reverse_complement",))


def test_relative_paths_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert len(TableSpec(path="designs.csv").build(0).offline()) == 3
