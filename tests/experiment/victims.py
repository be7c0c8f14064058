"""Processes that die on purpose, started from a clean server process so that each costs a fork and not an import."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from signal import Signals
from typing import Any

import torch

from braid_core.cli import main
from braid_core.experiment import store
from braid_core.experiment.run import run
from braid_core.experiment.spec import load_spec
from braid_core.interfaces import Log, State

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "tests.experiment.victims",
        "braid_core.report.html",
        "braid_discrete.backbone",
        "braid_bootstrap.oracle",
        "torch._dynamo",  # every first optimiser imports it, for a second or two
    ]
)
PATIENCE = 60
"""Seconds after which a process counts as hung."""


def run_and_die(spec: Path, out: Path, stage: str, writing: bool, number: Signals) -> tuple[int, str]:
    """``braid run``, hit by a signal in ``stage``: at the end of its computation, or between two of its files.

    Returns the exit code (negative for a signal) and what was on standard error.
    """
    return _end_of(CONTEXT.Process(target=_die_in_stage, args=(spec, out, stage, writing, number)), out)


def run_and_die_at(spec: Path, out: Path, name: str) -> tuple[int, str]:
    """``braid run``, killed while it replaces the file ``name``."""
    return _end_of(CONTEXT.Process(target=_die_at_file, args=(spec, out, name)), out)


def run_twice(spec: Path, out: Path, stage: str, locked: bool) -> tuple[list[tuple[int, str]], int]:
    """Two runs of one spec at the same time, and how often ``stage`` was computed.

    ``locked``: the first to compute it goes on once the other, too, has all that comes before. Otherwise, with locks
    that do not work, both are in the middle of it at the same moment.
    """
    barrier = CONTEXT.Barrier(2, timeout=PATIENCE)
    errors = [out.with_name(f"{out.name}-{k}") for k in range(2)]
    processes = [CONTEXT.Process(target=_meet, args=(spec, out, stage, barrier, error, locked)) for error in errors]
    for process in processes:
        process.start()
    ended = [_result(process, error) for process, error in zip(processes, errors, strict=True)]
    return ended, sum(_computed(error).read_text().count(stage) for error in errors)


def _computed(errors: Path) -> Path:
    return errors.with_name(f"{errors.name}-computed")


def _end_of(process: ForkServerProcess, out: Path) -> tuple[int, str]:
    process.start()
    return _result(process, out.with_name(f"{out.name}-0"))


def _result(process: ForkServerProcess, errors: Path) -> tuple[int, str]:
    process.join(PATIENCE)
    code = process.exitcode
    assert code is not None, "the process hangs"
    process.close()
    return code, errors.read_text()


def _braid(spec: Path, out: Path, errors: Path) -> None:
    torch.set_num_threads(1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(main(["run", str(spec), "--out", str(out)]))


def _after(kind: str, action: Callable[[], None]) -> None:
    """Have ``action`` called when stage ``kind`` has been computed and nothing of it is saved."""
    original = store.Store.stage

    def stage(self: store.Store, name: str, inputs: Mapping[str, Any], compute: Callable[[Log], State]) -> store.Stage:
        def work(log: Log) -> State:
            state = compute(log)
            action()
            return state

        return original(self, name, inputs, work if name == kind else compute)

    store.Store.stage = stage  # type: ignore[method-assign]


def _before(kind: str, action: Callable[[], None]) -> None:
    """Have ``action`` called when stage ``kind`` is asked for."""
    original = store.Store.stage

    def stage(self: store.Store, name: str, inputs: Mapping[str, Any], compute: Callable[[Log], State]) -> store.Stage:
        if name == kind:
            action()
        return original(self, name, inputs, compute)

    store.Store.stage = stage  # type: ignore[method-assign]


def _strike(number: Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def _die_in_stage(spec: Path, out: Path, kind: str, writing: bool, number: Signals) -> None:
    if writing:
        original = store._sums

        def sums(folder: Path) -> str:
            if folder.name.startswith(f".{kind}-"):
                _strike(number)
            return original(folder)

        store._sums = sums
    else:
        _after(kind, lambda: _strike(number))
    _braid(spec, out, out.with_name(f"{out.name}-0"))


def _die_at_file(spec: Path, out: Path, name: str) -> None:
    original = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == name:
            _strike(Signals.SIGKILL)
        original(source, target)

    os.replace = replace  # type: ignore[assignment]
    _braid(spec, out, out.with_name(f"{out.name}-0"))


def _meet(spec: Path, out: Path, kind: str, barrier: Barrier, errors: Path, locked: bool) -> None:
    torch.set_num_threads(1)
    errors.touch()
    computed = _computed(errors)
    computed.touch()

    def note() -> None:
        computed.write_text(kind)
        if not locked:
            barrier.wait()

    _after(kind, note)
    if locked:
        _before(kind, lambda: barrier.wait() and None)
    else:
        store.alone = lambda path: nullcontext()  # type: ignore[assignment, return-value]
    run(load_spec(spec), out)
