"""Every mistake of a user, through the command line: one clear message, no traceback, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.experiment.tiny import tiny

from .conftest import Braid

GOOD = "sequence,score\n" + "".join(
    f"{a}{b}GT,{k}.5\n" for k, (a, b) in enumerate(zip("ACGT" * 3, "AACCGGTTAACC", strict=True))
)
TABLE = '[task]\ntype = "table"\npath = "designs.csv"\n'


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ('task = "motif"\nseeed = 3', ["unknown field 'seeed'", "did you mean 'seed'?"]),
        ('task = "motif"\n[objective]\ntype = "braid"\nalhpa = 1', ["unknown field 'alhpa'", "objective", "'alpha'"]),
        ('task = "motif"\noracle = "bootstrp"', ["no oracle named 'bootstrp'", "did you mean 'bootstrap'?"]),
        ('task = "motif"\noracle = "strl"', ["'strl' is registered as objective"]),
        ('task = "motif"\n[objective]\ntype = "braid"\nalpha = -1', ["alpha = -1", "greater than or equal to 0"]),
        ('task = "motif"\ndesigns = 9\npool = 3', ["`pool` (3) is smaller than `designs` (9)"]),
        ('task = "motif"\ndevice = "gpu"', ["device 'gpu' is unknown", "cuda"]),
        ('task = "motif"\ndevice = "cuda:7"', ["device 'cuda:7' is not there"]),
        ('task = "motif"\nname = "../x"', ["name = '../x'"]),
        ('task = "motif"\nseed = = 1', ["not valid TOML", "line 2"]),
        ('[task]\ntype = "motif"\nn = 100000', ["offline designs cannot be drawn", "task.n"]),
        ("", ["the field 'task' is missing"]),
        ('tasks = "motif"\n[methods.A]\nobjective = "strl"', ["the spec of a bench, not of a run", "braid bench"]),
        (
            'task = "motif"\n[oracle]\ntype = "bootstrap"\nnetwork = {widht = 3}',
            ["unknown field 'network.widht'", "NetworkSpec has no such field", "did you mean 'width'?"],
        ),
        (
            'task = "motif"\n[objective]\ntype = "braid"\nkl_budget = "autoo"',
            ["kl_budget = 'autoo' cannot be used\n", "; or: "],
        ),
    ],
)
def test_a_bad_spec(spec: str, words: list[str], braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    path = tmp_path / "run.toml"
    path.write_text(spec)
    assert_told(braid("run", path, "--out", tmp_path / "out"), words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (GOOD.replace("3.5", "nan"), ["1 of 12 values", "'score'", "line 5", "'nan'"]),
        (GOOD.replace("3.5", ""), ["1 of 12 values", "line 5"]),
        (GOOD.replace("CAGT", "CAXT", 1), ["letter 'X' is not in the alphabet 'ACGT'", "line 3", "position 3"]),
        (GOOD.replace("CAGT", "CAG", 1), ["unequal lengths", "line 3"]),
        ("", ["the file is empty"]),
        ("sequence,score\n", ["0 different design(s)"]),
        (GOOD.replace("score", "scores"), ["no column 'score'", "did you mean 'scores'?"]),
        ("sequence,score\nACGT,1\nACGA,1\n", ["all 2 rewards are the same"]),
        (None, ["there is no such file", "designs.csv"]),
    ],
)
def test_a_bad_table(
    table: str | None, words: list[str], braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(TABLE)
    if table is not None:
        Path("designs.csv").write_text(table)
    assert_told(braid("run", "run.toml"), words)
    assert not Path("runs").exists()


def test_a_table_too_small_for_the_oracle(braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("designs.csv").write_text("sequence,score\nACGT,1\nACGA,2\n")
    Path("run.toml").write_text(tiny(task={"type": "table", "path": "designs.csv"}).to_toml())
    assert_told(braid("run", "run.toml"), ["nothing can be learned from 1 design"])


def test_an_output_folder_that_is_a_file(braid: Braid, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('task = "motif"')
    (tmp_path / "out").touch()
    assert_told(braid("run", tmp_path / "run.toml", "--out", tmp_path / "out"), ["cannot write", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\nsys.exit()", ["raised SystemExit", "run.py, line 2"]),
        (
            "from braid_core.experiment.bench_spec import BenchSpec\n"
            "spec = BenchSpec(tasks='motif', methods={'A': {'objective': 'strl'}})",
            ["got BenchSpec", "braid bench"],
        ),
    ],
)
def test_a_bad_python_spec(source: str, words: list[str], braid: Braid, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(source)
    assert_told(braid("run", tmp_path / "run.py"), words)


@pytest.mark.parametrize("name", ["run.toml", "run.json"])
def test_a_spec_that_cannot_be_read(name: str, braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **options: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / name).touch()
    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may be run by root, who may read everything
    assert_told(braid("run", tmp_path / name), ["the spec file cannot be read", name, "Permission denied"])


def test_a_spec_that_is_not_there(braid: Braid, tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    assert_told(braid("run", tmp_path / "rum.toml"), ["no such spec file", "did you mean 'run.toml'?"])


def assert_told(end: tuple[int, str, str], words: list[str]) -> None:
    code, out, err = end
    assert (code, out) == (2, "")
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert [word for word in words if word not in err] == []
