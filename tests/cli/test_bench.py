"""``braid bench``: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from braid_core.cli.bench import Estimate, busy
from braid_core.experiment.bench import Done
from braid_core.experiment.bench_cell import Outcome
from braid_core.registry import resolve
from braid_core.registry.discovery import scan
from tests.experiment.tiny import read, spec_file
from tests.experiment.tiny_bench import FAILING, METHODS, bench_file, tiny_bench

from .conftest import Braid

BEST = {"Best-of-N": METHODS["Best-of-N"]}


def test_a_bench_prints_a_line_a_cell_and_where_the_table_is(braid: Braid, tmp_path: Path) -> None:
    spec, out = bench_file(tmp_path, methods=BEST), tmp_path / "out"
    code, printed, err = braid("bench", spec, "--out", out)
    assert code == 0
    lines = ["2 of 2 cells finished", f"table: {out / 'results.csv'}", f"report: {out / 'report.html'}"]
    assert printed.splitlines() == lines
    page = (out / "report.html").read_text()
    assert "2 of 2 cells are finished." in page
    folder, counts, first, last = err.splitlines()
    assert folder == f"bench folder: {out}"
    assert counts == "0 of 2 cells are finished; 2 to go, 1 at a time"
    assert first.startswith("[1/2] motif--masked--Best-of-N--seed0  0:")
    assert first.endswith(" left")
    assert last.startswith("[2/2] motif--masked--Best-of-N--seed1  0:")
    assert not last.endswith(" left")
    assert read(out, "bench.json")["command"] == f"braid bench {spec} --out {out}"

    again = braid("bench", spec, "--out", out)
    assert again[:2] == (0, printed)
    assert again[2].splitlines()[1:] == ["2 of 2 cells are finished"]


def test_a_failed_cell_is_told_and_costs_no_other(braid: Braid, tmp_path: Path) -> None:
    spec, out = bench_file(tmp_path, methods={**BEST, "Doubtful": FAILING}, seeds=1), tmp_path / "out"
    code, printed, err = braid("bench", spec, "--out", out)
    assert code == 1
    assert re.search(r"motif--masked--Doubtful--seed0  failed: \d+ labelled designs are fewer", err)
    lines = printed.splitlines()
    assert re.match(
        r"failed: motif, masked, Doubtful, seed 0: \d+ labelled designs are fewer",
        lines[0],
    )
    assert any(line.startswith("  fix: measure more designs") for line in lines)
    assert "repeat the command to try them again" in printed
    assert lines[-3:-1] == ["1 of 2 cells finished", f"table: {out / 'results.csv'}"]
    assert "labelled designs are fewer than the 5000 ensemble members" in (out / "report.html").read_text()
    assert "Traceback" not in printed + err

    code, listed, _ = braid("bench", spec, "--out", out, "--dry-run")
    assert code == 0
    assert listed.splitlines() == [
        "finished  motif--masked--Best-of-N--seed0",
        "failed    motif--masked--Doubtful--seed0",
        "1 of 2 cells finished, 1 failed",
    ]


def test_a_dry_run_lists_cells_and_writes_nothing(braid: Braid, tmp_path: Path) -> None:
    code, out, err = braid("bench", bench_file(tmp_path), "--out", tmp_path / "out", "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "due       motif--masked--Best-of-N--seed0"
    assert len(lines) == 7
    assert lines[-1] == "0 of 6 cells finished, 6 due"
    assert not (tmp_path / "out").exists()


def test_the_folder_is_named_after_the_spec(braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = bench_file(tmp_path, "quick.toml", methods=BEST, seeds=1)
    assert braid("bench", spec.name)[1].splitlines()[-1] == f"report: {Path('runs/quick/report.html')}"


def test_too_many_jobs_are_said(braid: Braid, tmp_path: Path) -> None:
    spec, jobs = bench_file(tmp_path, methods=BEST, seeds=1), 2 * (os.cpu_count() or 1)
    code, _, err = braid("bench", spec, "--out", tmp_path / "out", "--jobs", jobs)
    assert code == 0
    assert f"warning: {jobs} jobs of 1 thread on" in err


@pytest.mark.parametrize(
    ("jobs", "threads", "cores", "warned"), [(1, 1, 1, False), (2, 2, 4, False), (2, 3, 4, True), (5, 1, 4, True)]
)
def test_when_jobs_are_too_many(jobs: int, threads: int, cores: int, warned: bool) -> None:
    assert bool(busy(jobs, threads, cores)) == warned


def test_the_estimate_by_hand() -> None:
    cells = tiny_bench(tasks={"a": "motif", "b": {"type": "motif", "n": 99}}, seeds=1).cells
    by_name = {cell.name.partition("--seed")[0]: cell for cell in cells}
    estimate = Estimate(cells, jobs=2)

    def end(name: str, seconds: float, error: dict[str, str] | None = None) -> None:
        estimate.ended(Done(by_name[name], Outcome({"error": error}, seconds)))

    assert (estimate.left, estimate.seconds(), estimate.text()) == (6, None, "")
    end("a--masked--Best-of-N", 10.0)
    assert estimate.seconds() == 5 * 10 / 2  # nothing else is known
    end("a--masked--STRL", 70.0)
    assert estimate.seconds() == (10 + 70 + 2 * 40) / 2  # by method where it is known, else the mean of all
    end("b--masked--Best-of-N", 0.1, {"what": "it failed"})
    assert estimate.seconds() == (70 + 2 * 40) / 2
    assert estimate.text() == "about 1:15 left"
    for name in ("a--masked--BRAID-Boot", "b--masked--STRL"):
        end(name, 100.0)
    assert estimate.seconds() == 100  # one cell is left, for one of the jobs
    end("b--masked--BRAID-Boot", 1.0)
    assert (estimate.left, estimate.text()) == (0, "")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ('tasks = "motif"', ["the field 'methods' is missing"]),
        ('task = "motif"', ["the spec of a run, not of a bench", "braid run"]),
        ('tasks = "motif"\n[methods.A]\nobjective = "stlr"', ["no objective named 'stlr'", "methods.A", "'strl'"]),
        (
            'tasks = "motif"\n[methods.A]\nobjective = "strl"\n[tasks]\nx = 1',
            ["not valid TOML"],
        ),
        (
            '[methods.A]\nobjective = "strl"\n[tasks.big]\ntype = "motif"\nn = 100000',
            ["offline designs cannot be drawn", "cell big--masked--A--seed0", "task.n"],
        ),
        ('tasks = "motif"\nseeds = 0\n[methods.A]\nobjective = "strl"', ["seeds = 0", "at least one seed"]),
    ],
)
def test_a_bad_spec(spec: str, words: list[str], braid: Braid, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(spec)
    code, out, err = braid("bench", path, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert [word for word in [*words, str(path)] if word not in err] == []
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_are_a_positive_whole_number(jobs: str, braid: Braid, tmp_path: Path) -> None:
    code, _, err = braid("bench", bench_file(tmp_path), f"--jobs={jobs}")
    assert code == 2
    assert f"'{jobs}' is not a positive whole number" in err


def test_a_spec_that_is_not_there_and_one_of_a_run(braid: Braid, tmp_path: Path) -> None:
    assert "there is no such spec file" in braid("bench", tmp_path / "nowhere.toml")[2]
    assert "the spec of a run, not of a bench" in braid("bench", spec_file(tmp_path))[2]


def test_a_folder_that_cannot_be_written(braid: Braid, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = braid("bench", bench_file(tmp_path), "--out", tmp_path / "file")
    assert code == 2
    assert f"error: cannot write {tmp_path / 'file'}" in err


def test_another_bench_in_the_folder_is_not_replaced(braid: Braid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    braid("bench", bench_file(tmp_path, "first.toml", methods=BEST, seeds=1), "--out", out)
    table = (out / "results.csv").read_text()
    code, _, err = braid("bench", bench_file(tmp_path, "second.toml", methods={"B": BEST["Best-of-N"]}), "--out", out)
    assert code == 2
    assert "the folder holds another bench" in err
    assert "give another folder with --out" in err
    assert (out / "results.csv").read_text() == table
    edited = bench_file(tmp_path, "edited.toml", methods=BEST, seeds=2)
    assert "1 of 2 cells finished, 1 due" in braid("bench", edited, "--out", out, "-n")[1]


def test_a_dry_run_looks_at_what_is_installed_once_a_component(
    braid: Braid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looks(seeds: int) -> int:
        seen: list[object] = []
        monkeypatch.setattr(resolve, "scan", lambda: seen.append(None) or scan())  # type: ignore[func-returns-value]
        assert braid("bench", bench_file(tmp_path, methods=BEST, seeds=seeds), "-n", "--out", tmp_path / "out")[0] == 0
        return len(seen)

    assert looks(3) == looks(1)


def test_help(braid: Braid) -> None:
    code, out, _ = braid("bench", "--help")
    assert code == 0
    assert "usage: braid bench" in out
    assert "--dry-run" in out
    assert "bench" in braid("--help")[1]
