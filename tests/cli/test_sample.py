"""``braid sample``: as many designs as wanted, from the run folder alone."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from shutil import copytree, rmtree

import pandas as pd
import pytest

from tests.experiment.tiny import read, spec_file, table_file

from .conftest import Braid

HEADER = "design,predicted,std,conservative,promised"


@pytest.mark.parametrize("n", [1, 7])
def test_it_draws_n_designs(n: int, braid: Braid, finished: Path) -> None:
    code, out, err = braid("sample", finished, "-n", n)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == HEADER
    table = pd.read_csv(StringIO(out))
    assert len(table) == n
    assert table["conservative"].is_monotonic_decreasing


def test_it_draws_a_hundred_without_being_told(braid: Braid, finished: Path) -> None:
    assert len(braid("sample", finished)[1].splitlines()) == 101


def test_a_seed_repeats_its_designs(braid: Braid, finished: Path) -> None:
    one, again, other = (braid("sample", finished, "-n", 20, "--seed", seed)[1] for seed in (5, 5, 6))
    assert one == again != other


def test_designs_go_to_a_file(braid: Braid, finished: Path, tmp_path: Path) -> None:
    code, out, err = braid("sample", finished, "-n", 4, "-o", tmp_path / "more.csv")
    assert (code, out, err) == (0, "", f"4 designs: {tmp_path / 'more.csv'}\n")
    assert (tmp_path / "more.csv").read_text() == braid("sample", finished, "-n", 4)[1]


def test_a_moved_run_needs_neither_store_nor_data(braid: Braid, tmp_path: Path) -> None:
    table = table_file(tmp_path)
    spec = tmp_path / "mine.toml"
    spec_file(tmp_path, "mine.toml", task={"type": "table", "path": str(table)})
    assert braid("run", spec, "--out", tmp_path / "out")[0] == 0
    folder = next((tmp_path / "out").glob("table-braid-bootstrap-seed0-*"))
    before = braid("sample", folder, "-n", 5)
    folder.rename(tmp_path / "moved")
    rmtree(tmp_path / "out")
    table.unlink()
    assert braid("sample", tmp_path / "moved", "-n", 5) == before
    assert before[0] == 0


@pytest.mark.parametrize("n", ["0", "-3", "1.5", "many", "²"])
def test_n_is_a_positive_whole_number(n: str, braid: Braid, finished: Path) -> None:
    code, out, err = braid("sample", finished, f"-n={n}")
    assert (code, out) == (2, "")
    assert f"'{n}' is not a positive whole number" in err


def test_a_folder_that_is_not_there(braid: Braid, tmp_path: Path) -> None:
    code, out, err = braid("sample", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert f"error: there is no folder {tmp_path / 'nowhere'}" in err


def test_a_folder_that_is_no_run(braid: Braid, tmp_path: Path) -> None:
    code, _, err = braid("sample", tmp_path)
    assert code == 2
    assert "is no run folder" in err


def test_an_unfinished_run(braid: Braid, finished: Path, tmp_path: Path) -> None:
    folder = copytree(finished, tmp_path / "run")
    (folder / "manifest.json").write_text(json.dumps({**read(finished, "manifest.json"), "seconds": {}}))
    code, _, err = braid("sample", folder)
    assert code == 2
    assert "is not finished" in err
    assert "braid run" in err


def test_damaged_weights(braid: Braid, finished: Path, tmp_path: Path) -> None:
    folder = copytree(finished, tmp_path / "run")
    file = folder / "checkpoints" / "objective" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, out, err = braid("sample", folder)
    assert (code, out) == (2, "")
    assert str(file.parent) in err
    assert "state.safetensors" in err
    assert "fix: repeat `braid run`" in err


def test_a_file_that_cannot_be_written(braid: Braid, finished: Path, tmp_path: Path) -> None:
    code, _, err = braid("sample", finished, "-o", tmp_path / "nowhere" / "x.csv")
    assert code == 2
    assert f"error: cannot write {tmp_path / 'nowhere' / 'x.csv'}" in err


def test_help_says_that_validity_is_not_asked(braid: Braid) -> None:
    assert "The task's rules of validity are not applied" in braid("sample", "--help")[1]
