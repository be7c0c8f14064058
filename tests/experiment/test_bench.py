"""A bench makes the runs that its spec describes, shares their stages, and loses nothing, whatever happens to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from shutil import copytree
from typing import Any

import pandas as pd
import pytest
import torch

from braid_core.errors import BraidError, DataError
from braid_core.experiment import bench_cell
from braid_core.experiment.bench import Bench, bench, interleaved
from braid_core.experiment.bench_cell import MEASURING, Order, compute, failed
from braid_core.experiment.run import run
from braid_core.registry.spec import ExecutorSpec
from tests.test_boundaries import imported

from .tiny import read, row, stored, unfinished
from .tiny_bench import FAILING, METHODS, Inline, bench_file, tiny_bench

PATIENCE = 120
SHARED = ("calibration", "oracle", "backbone", "references")
STILL = {"tasks": "manifold", "backbones": {"type": "gaussian", "eta": 0.0}}
"""A chain without noise, which can be drawn from but not tuned."""


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bench, cell by cell in this process: to be read, never changed."""
    out = tmp_path_factory.mktemp("bench")
    bench(tiny_bench(), out)
    return out


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    return copytree(undisturbed, tmp_path / "out")


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results.csv")


def cells(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (out / "cells").iterdir()}


def assert_same(out: Path, other: Path) -> None:
    assert (out / "results.csv").read_text() == (other / "results.csv").read_text()
    for folder in (other / "runs").glob("motif--*"):
        assert (out / "runs" / folder.name / "designs.csv").read_bytes() == (folder / "designs.csv").read_bytes()
        assert read(out / "runs" / folder.name) == read(folder)


# --- what it makes ----------------------------------------------------------------------------------------------------


def test_every_cell_is_the_run_that_it_describes(undisturbed: Path, tmp_path: Path) -> None:
    cell = tiny_bench().cells[3]
    assert cell.name == "motif--masked--STRL--seed1"
    folder = run(cell.spec, tmp_path)
    rows = table(undisturbed).set_index(["method", "seed", "column"])
    for column in ("raw", "selected"):
        mine, theirs = rows.loc["STRL", 1, column], row(folder, "STRL-bootstrap", column)
        for name in ("gap", "coverage", "slack", "pinball", "pinball_offset", "diversity", "novelty", "n", "unique"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-12)
        for name in ("truth", "normalised", "predicted", "conservative"):
            assert mine[f"{name}_q50"] == pytest.approx(theirs[name]["q50"], rel=1e-12)
    assert rows.loc["STRL", 1, "raw"]["kl"] == pytest.approx(read(folder)["kl"], rel=1e-12)
    offline = read(folder)["task"]["offline"]
    assert (rows["offline_std"].xs(1, level="seed") == offline["std"]).all()


def test_references_come_once_a_seed(undisturbed: Path) -> None:
    rows = table(undisturbed)
    counts = Counter(zip(rows["method"], rows["seed"], rows["column"], strict=True))
    methods = ["Random", "Pretrained", *METHODS]
    expected = {(method, seed, column): 1 for method in methods for seed in (0, 1) for column in ("raw", "selected")}
    assert counts == {**expected, ("Offline", 0, "raw"): 1, ("Offline", 1, "raw"): 1}
    assert rows["error"].isna().all()
    assert set(rows["task"]) == {"motif"}
    assert rows["backbone"].isna().tolist() == rows["method"].isin(["Offline", "Random"]).tolist()


def test_cells_share_stages(undisturbed: Path) -> None:
    found = {kind: len(stored(undisturbed / "runs", kind)) for kind in (*SHARED, "objective", "designs")}
    assert found == {**dict.fromkeys(SHARED, 2), "objective": 6, "designs": 6}


def test_its_files(undisturbed: Path) -> None:
    manifest = read(undisturbed, "bench.json")
    assert manifest["cells"] == Bench(tiny_bench(), undisturbed).keys
    assert list(manifest["cells"]) == [cell.name for cell in tiny_bench().cells]
    assert manifest["spec"] == json.loads(json.dumps(tiny_bench().to_dict()))
    assert {"braid-design", "torch", "python"} <= set(manifest["versions"])
    assert manifest["hardware"]["jobs"] == 1
    assert {plugin["type"] for plugin in manifest["plugins"]} >= {"motif", "masked", "bootstrap", "strl", "braid"}
    records = cells(undisturbed)
    assert set(records) == set(manifest["cells"])
    assert all((undisturbed / "cells" / f"{name}.json").stat().st_size < 50_000 for name in records)
    assert str(undisturbed) not in json.dumps(records)
    for record in records.values():
        method = record["cell"]["method"]
        assert {f"{method}, raw", f"{method}, selected"} <= set(record["regret"]["penalty"])
        assert record["space"]["kind"] == "Tokens"
    assert (undisturbed / "runs" / ".gitignore").read_text() == "*\n"
    costs = pd.read_csv(undisturbed / "costs.csv")
    assert len(costs) == 6 * len(TINY_STAGES)
    assert set(costs["stage"]) == set(TINY_STAGES)
    assert (costs["seconds"] > 0).all()
    assert sys.platform != "linux" or (costs["memory_mb"] > 50).all()


TINY_STAGES = (*SHARED, "objective", "designs", "history")


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_second_start_computes_nothing(copy: Path, undisturbed: Path, computed: list[str]) -> None:
    made = Bench(tiny_bench(), copy)
    assert made.due() == []
    assert list(made.run()) == []
    assert computed == []
    assert_same(copy, undisturbed)


def test_committed_cells_need_no_runs(copy: Path, undisturbed: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    copytree(copy / "cells", only / "cells")
    assert bench(tiny_bench(), only) == only / "results.csv"
    assert (only / "results.csv").read_text() == (undisturbed / "results.csv").read_text()
    assert not list((only / "runs").glob("motif*"))


def test_a_changed_method_is_due_again_and_no_other(copy: Path, computed: list[str]) -> None:
    methods = {**METHODS, "STRL": {**METHODS["STRL"], "objective": {**METHODS["STRL"]["objective"], "steps": 4}}}
    made = Bench(tiny_bench(methods=methods), copy)
    assert Counter(map(made.state, made.cells)) == {"finished": 4, "outdated": 2}
    assert [done.cell.method for done in made.run()] == ["STRL", "STRL"]
    assert computed == ["objective", "designs", "history"] * 2


def test_more_seeds_are_added(copy: Path, undisturbed: Path) -> None:
    made = Bench(tiny_bench(seeds=[0, 1, 5]), copy)
    assert [(done.cell.method, done.cell.seed) for done in made.run()] == [(method, 5) for method in METHODS]
    assert len(table(copy)) == len(table(undisturbed)) * 3 // 2


def test_what_a_killed_bench_left_half_written_is_removed(copy: Path) -> None:
    run_folder = copy / "runs" / "motif--masked--STRL--seed0"
    for folder in (copy, copy / "cells", copy / "runs" / ".stages", run_folder):
        (folder / ".results.csv.braid-1.tmp").touch()
    bench(tiny_bench(), copy)
    assert unfinished(copy) == []


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"key": "else"}', "no JSON"])
def test_a_damaged_cell_is_made_again(damage: str, copy: Path, undisturbed: Path, computed: list[str]) -> None:
    (copy / "cells" / "motif--masked--STRL--seed0.json").write_text(damage)
    bench(tiny_bench(), copy)
    assert computed == []  # its stages are there
    assert_same(copy, undisturbed)


def test_changed_code_makes_cells_due(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cell, "source_hash", lambda *_: "edited")
    made = Bench(tiny_bench(), copy)
    assert {made.state(cell) for cell in made.cells} == {"outdated"}


def test_no_code_that_a_cell_runs_is_missing_from_its_key() -> None:
    """Of the experiment: ``code_hash`` has the rest of the core that computes, and the plugins."""
    found, waiting = set[str](), {"bench_cell"}
    while waiting:
        found.add(module := waiting.pop())
        names = imported(Path(bench_cell.__file__).with_name(f"{module}.py"))
        waiting |= {name.split(".")[2] for name in names if name.startswith("braid_core.experiment.")} - found
    described = {"bench_spec", "spec"}  # what they resolve to is in the key
    kept = {"locks", "manifest", "memory", "store"}  # keys, provenance and storage: no figure is made there
    assert sorted(found - described - kept) == list(MEASURING)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_cell_is_a_row(copy: Path, undisturbed: Path) -> None:
    spec = tiny_bench(methods={**METHODS, "Doubtful": FAILING}, seeds=1)
    made = Bench(spec, copy)
    (done,) = made.run()
    assert done.error is not None
    assert "labelled designs are fewer than the 5000 ensemble members" in done.error["what"]
    rows = table(copy)
    (error,) = rows["error"].dropna()
    (place,) = rows.index[rows["error"].notna()]
    assert rows.loc[place, ["task", "method", "seed", "oracle"]].tolist() == ["motif", "Doubtful", 0, "bootstrap"]
    assert pd.isna(rows.loc[place, "column"])
    assert "labelled designs are fewer than the 5000 ensemble members" in error
    assert "fix: measure more designs" in error
    whole = table(undisturbed)
    pd.testing.assert_frame_equal(
        rows.drop(index=place, columns="error"),
        whole[whole["seed"] == 0].reset_index(drop=True).drop(columns="error"),
        check_dtype=False,
    )
    assert made.state(done.cell) == "failed"
    assert [cell.method for cell in made.due()] == ["Doubtful"]  # tried again at the next start


def order(out: Path) -> Order:
    cell = tiny_bench().cells[0]
    (out / "cells").mkdir()
    (out / "runs").mkdir()
    return Order(cell.name, "key", cell.labels, cell.spec.to_dict(), out, None)


def test_a_bug_is_a_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Path:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(bench_cell, "run", broken)
    record = compute(order(tmp_path)).record
    assert record == cells(tmp_path)["motif--masked--Best-of-N--seed0"]
    error = record["error"]
    assert error["what"] == "ZeroDivisionError: division by zero"
    assert error["where"].startswith("test_bench.py, line ")
    assert "bug" in error["why"]
    trace = tmp_path / "runs" / "motif--masked--Best-of-N--seed0.error.txt"
    assert "ZeroDivisionError" in trace.read_text()
    assert trace.name in error["fix"]


def test_an_error_that_says_what_to_do_keeps_saying_it(tmp_path: Path) -> None:
    error = DataError("too few", where="line 3", why="four are needed", fix="measure more")
    told = failed(order(tmp_path), error)["error"]
    assert told == {"what": "too few", "where": "line 3", "why": "four are needed", "fix": "measure more"}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_no_bug(error: Exception, tmp_path: Path) -> None:
    told = failed(order(tmp_path), error)["error"]
    assert "memory" in told["what"]
    assert "bug" not in told["why"]
    assert told["why"]
    assert "fewer jobs" in told["fix"]


class Lossy(Inline):
    """Loses the first cell's process."""

    def map(
        self, function: Callable[[Any], Any], cells: Iterable[Any]
    ) -> Generator[tuple[int, Any | BraidError], None, None]:
        yield 0, BraidError("the process that computed this died", why="signal SIGKILL ended it")
        for index, cell in list(enumerate(cells))[1:]:
            yield index, function(cell)


class LossySpec(ExecutorSpec):
    type: str = "lossy"

    def build(self) -> Lossy:
        return Lossy()


def test_a_lost_process_costs_its_cell(tmp_path: Path) -> None:
    bench(tiny_bench(executor=LossySpec(), seeds=1), tmp_path)
    rows = table(tmp_path)
    assert rows["error"].dropna().tolist() == ["the process that computed this died (why: signal SIGKILL ended it)"]
    assert set(rows["method"]) == {"Offline", "Random", "Pretrained", *METHODS}
    bench(tiny_bench(seeds=1), tmp_path)
    assert table(tmp_path)["error"].isna().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": {"a": "motif", "b": {"type": "motif", "n": 10**6}}}, ["cell b--masked--Best-of-N--seed0", "task.n"]),
        ({"tasks": {"t": {"type": "table", "path": "nowhere.csv"}}}, ["cell t--masked", "no such file"]),
        ({"device": "gpu"}, ["cell motif--masked--Best-of-N--seed0", "device 'gpu' is unknown"]),
        ({"backbones": ["masked", "gaussian"]}, ["cell motif--gaussian--Best-of-N--seed0"]),
        (STILL, ["cell manifold--gaussian--STRL--seed0", "cannot be fine-tuned", "eta > 0"]),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_runs(
    changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(BraidError) as caught:
        bench(tiny_bench(**changes), tmp_path / "out")
    assert [word for word in words if word not in str(caught.value)] == []
    assert not (tmp_path / "out").exists()


def test_a_chain_that_cannot_be_tuned_serves_methods_that_do_not_tune(tmp_path: Path) -> None:
    made = Bench(tiny_bench(**STILL, methods={"Best-of-N": METHODS["Best-of-N"]}), tmp_path)
    assert [cell.method for cell in made.due()] == ["Best-of-N"] * 2


# --- in processes -----------------------------------------------------------------------------------------------------


def test_neighbours_share_little() -> None:
    spec = tiny_bench(tasks={"a": "motif", "b": {"type": "motif", "n": 99}}, seeds=4)
    for width, apart in ((1, 2), (2, 4), (4, 8)):
        cells = interleaved(spec.cells, width)
        assert sorted(cell.name for cell in cells) == sorted(cell.name for cell in spec.cells)
        for first in range(0, len(cells), apart):
            part = cells[first : first + apart]
            assert len({(cell.task, cell.seed) for cell in part}) == apart
        some = cells[: len(cells) * width // 4]
        assert {cell.method for cell in some} == set(METHODS)  # the first seeds are complete


@pytest.mark.parametrize("seeds", [1, 2])
def test_two_workers_give_the_same(seeds: int, undisturbed: Path, tmp_path: Path) -> None:
    spec = tiny_bench(executor="local", seeds=seeds)
    one, two = tmp_path / "one", tmp_path / "two"
    for jobs, out in ((1, one), (2, two)):
        bench(spec, out, jobs=jobs)
    assert_same(two, one)
    assert {kind: len(stored(two / "runs", kind)) for kind in SHARED} == dict.fromkeys(SHARED, seeds)
    assert unfinished(two) == []
    if seeds == 2:
        assert_same(two, undisturbed)


def start(spec: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "braid_core.cli", "bench", str(spec), "--out", str(out), "--jobs", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def wait_for(out: Path, stages: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(list((out / "runs" / ".stages").glob("*-*"))) < stages:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_twice_it_ends_the_same(undisturbed: Path, tmp_path: Path) -> None:
    spec, out, moments = bench_file(tmp_path), tmp_path / "out", random.Random()
    for few, many in ((1, 8), (9, 20)):
        stages, pause = moments.randint(few, many), moments.random() / 5
        with start(spec, out) as process:
            wait_for(out, stages, process)
            time.sleep(pause)
            process.kill()
        print(f"killed {pause:.2f} s after stage {stages}, with {len(list((out / 'cells').iterdir()))} cells finished")
    with start(spec, out) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert_same(out, undisturbed)
    assert unfinished(out) == []
    assert {kind: len(stored(out / "runs", kind)) for kind in SHARED} == dict.fromkeys(SHARED, 2)


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(undisturbed: Path, tmp_path: Path) -> None:
    spec, out = bench_file(tmp_path), tmp_path / "out"
    with start(spec, out) as process:
        wait_for(out, 3, process)  # soon: once networks are trained, all is over in half a second
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert printed == ""
    lines = err.splitlines()
    assert "Traceback" not in err
    assert lines[-1] == "error: stopped; finished stages are kept: repeat the same command to continue from there"
    assert lines[-2].endswith(f"of 6 cells are finished; {out / 'results.csv'} holds them")
    assert unfinished(out) == []
    bench(tiny_bench(), out)
    assert_same(out, undisturbed)


def test_the_executor_takes_no_part_in_what_is_due(copy: Path) -> None:
    made = Bench(tiny_bench(executor={"type": "local", "jobs": 2}), copy)
    assert made.due() == []
