"""Whatever stops a run, finished stages are kept, nothing half-written is seen, and the result is the same."""

from __future__ import annotations

from pathlib import Path
from signal import SIGINT, SIGKILL, Signals

import pytest

from braid_core.experiment.run import run
from braid_core.experiment.store import LOCKS, read_state

from .tiny import STAGES, read, spec_file, stored, tiny, unfinished
from .victims import run_and_die, run_and_die_at, run_twice

MOMENTS = [*((stage, False) for stage in STAGES), ("objective", True), ("designs", True)]


def assert_same(folder: Path, undisturbed: Path) -> None:
    assert (folder / "designs.csv").read_bytes() == (undisturbed / "designs.csv").read_bytes()
    assert read(folder) == read(undisturbed)


@pytest.mark.parametrize("number", [SIGKILL, SIGINT])
@pytest.mark.parametrize(("stage", "writing"), MOMENTS)
def test_a_stopped_run_goes_on_where_it_was(
    stage: str, writing: bool, number: Signals, finished: Path, computed: list[str], tmp_path: Path
) -> None:
    spec, out = spec_file(tmp_path), tmp_path / "out"
    code, message = run_and_die(spec, out, stage, writing, number)
    before = STAGES[: STAGES.index(stage)]
    assert [len(stored(out, kind)) for kind in STAGES] == [int(kind in before) for kind in STAGES]
    assert all(read_state(folder) for kind in before for folder in stored(out, kind))
    if number == SIGKILL:
        assert code == -SIGKILL
        assert len(unfinished(out)) == 1
    else:
        assert code == 130
        assert unfinished(out) == []
        said = [line for line in message.splitlines() if line.startswith("error")]
        assert said == ["error: stopped; finished stages are kept: repeat the same command to continue from there"]
        assert "Traceback" not in message

    folder = run(tiny(), out)
    assert computed == list(STAGES[STAGES.index(stage) :])
    assert unfinished(out) == []
    assert_same(folder, finished)


@pytest.mark.parametrize("name", ["manifest.json", "stage.json", "designs.csv", "results.json"])
def test_a_run_killed_while_it_writes_its_folder(name: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_and_die_at(spec_file(tmp_path), out, name)[0] == -SIGKILL
    assert len(unfinished(out)) == 1
    folder = run(tiny(), out)
    assert unfinished(out) == []
    assert_same(folder, finished)


@pytest.mark.parametrize("stage", ["backbone", "designs"])
def test_two_processes_compute_a_stage_once(stage: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended, times = run_twice(spec_file(tmp_path), out, stage, locked=True)
    assert [code for code, _ in ended] == [0, 0]
    assert times == 1
    assert [len(stored(out, kind)) for kind in STAGES] == [1] * len(STAGES)
    assert unfinished(out) == []
    assert list((out / ".stages" / LOCKS).iterdir()) == []
    assert_same(out / tiny().folder_name, finished)


@pytest.mark.parametrize("stage", ["backbone", "designs"])
def test_where_there_are_no_locks_both_may_make_it_at_once(stage: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended, times = run_twice(spec_file(tmp_path), out, stage, locked=False)
    assert [code for code, _ in ended] == [0, 0]
    assert times == 2
    assert [len(stored(out, kind)) for kind in STAGES] == [1] * len(STAGES)
    assert unfinished(out) == []
    assert_same(out / tiny().folder_name, finished)
