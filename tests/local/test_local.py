"""Cells in processes: all of them are computed, a dead one costs itself alone, and none outlives its caller."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from braid_local import LocalSpec

from braid_core.errors import BraidError, SpecError
from braid_core.registry.spec import component

from . import functions


def until(condition: object) -> None:
    deadline = time.monotonic() + functions.PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_its_name() -> None:
    assert component("executor", {"type": "local", "jobs": 3}) == LocalSpec(jobs=3)
    with pytest.raises(SpecError, match="jobs = 0"):
        component("executor", {"type": "local", "jobs": 0})


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_cell_once(jobs: int) -> None:
    found = LocalSpec(jobs=jobs).build().map(functions.square, range(5))
    assert sorted(found) == [(k, k * k) for k in range(5)]


def test_no_cells() -> None:
    assert list(LocalSpec().build().map(functions.square, [])) == []


def test_one_job_is_one_process_and_two_work_at_once(tmp_path: Path) -> None:
    alone = {pid for _, pid in LocalSpec(jobs=1).build().map(functions.process, range(3))}
    both = {pid for _, pid in LocalSpec(jobs=2).build().map(functions.meet, [(tmp_path, 0), (tmp_path, 1)])}
    assert (len(alone), len(both)) == (1, 2)
    assert not {os.getpid()} & alone


def test_a_process_that_dies_costs_its_cell_alone() -> None:
    found = dict(LocalSpec(jobs=1).build().map(functions.die, range(4)))
    assert (found[0], found[3]) == (0, 3)
    killed, ended = found[1], found[2]
    assert isinstance(killed, BraidError)
    assert isinstance(ended, BraidError)
    assert "SIGKILL" in str(killed)
    assert "memory" in str(killed)
    assert "exit code 7" in str(ended)


def test_what_a_function_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="1 is refused") as caught:
        list(LocalSpec().build().map(functions.refuse, range(3)))
    assert "functions.py" in caught.value.__notes__[0]


def test_what_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):
        list(LocalSpec().build().map(functions.unpicklable, [0]))
    with pytest.raises(Exception, match=r"pickle|local object"):
        list(LocalSpec().build().map(lambda n: n, [0]))


def test_an_error_that_cannot_be_read_back_does_not_hang() -> None:
    with pytest.raises(RuntimeError, match="no: because"):
        list(LocalSpec().build().map(functions.refuse_in_two_parts, [0]))


def test_an_answer_that_cannot_be_read_does_not_hang() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        list(LocalSpec().build().map(functions.unreadable, [0]))


def test_a_process_that_cannot_be_started_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(BraidError, match="cannot be started") as caught:
        list(LocalSpec(jobs=2).build().map(functions.square, range(3)))
    assert caught.value.why == "Resource temporarily unavailable"


def test_a_closed_generator_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    results = LocalSpec(jobs=2).build().map(_either, [None, tmp_path])
    next(results)
    until((tmp_path / "working").exists)
    pid = int((tmp_path / "working").read_text())
    results.close()
    assert (tmp_path / "cleaned").exists()
    assert not alive(pid)


def _either(folder: Path | None) -> None:
    if folder is not None:
        functions.wait(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_caller(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.local.functions", str(tmp_path)], stderr=subprocess.DEVNULL
    ) as caller:
        until((tmp_path / "working").exists)
        until(lambda: (tmp_path / "working").read_text())
        pid = int((tmp_path / "working").read_text())
        caller.send_signal(number)
        caller.wait(functions.PATIENCE)
    until(lambda: not alive(pid))
    assert (tmp_path / "cleaned").exists()
