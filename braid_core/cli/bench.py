"""Run a bench: every method on every task with every seed, each cell a run, several at a time.

What is finished is kept, whatever stops it: the same command continues. A cell that fails is a row with its error.
It ends with a report; `braid report` makes one at any time.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from braid_core.cli.arguments import positive

if TYPE_CHECKING:
    from braid_core.experiment.bench import Bench, Done
    from braid_core.experiment.bench_spec import Cell


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the spec, ``--out``, ``--jobs`` and ``--dry-run``."""
    parser.add_argument("spec", type=Path, metavar="SPEC", help="a .toml, .json or .py bench spec")
    text = "the folder for the table, the cells and their runs (default: runs/ and the spec's name)"
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help=text)
    text = "cells computed at the same time (default: the spec's)"
    parser.add_argument("-j", "--jobs", type=positive, metavar="N", help=text)
    text = "list the cells and what is finished, and compute nothing"
    parser.add_argument("-n", "--dry-run", action="store_true", help=text)


def main(args: Namespace) -> int:
    """Compute what is due and print where the table and the report are; 1 if a cell has failed."""
    from braid_core.errors import BraidError
    from braid_core.experiment.bench_spec import load_bench, located

    spec = load_bench(args.spec)

    from braid_core.experiment.bench import Bench, with_jobs

    spec = with_jobs(spec, args.jobs)
    out = args.out or Path("runs") / args.spec.stem
    try:
        bench = Bench(spec, out)
    except BraidError as error:  # of a cell, which does not know the file
        raise located(error, str(args.spec)) from error
    if args.dry_run:
        return _list(bench)
    _say(f"bench folder: {out}")
    for line in busy(spec.executor.jobs, spec.threads, cores()):
        _say(f"warning: {line}")
    chosen = [] if args.jobs is None else ["--jobs", str(args.jobs)]
    _compute(bench, shlex.join(["braid", "bench", str(args.spec), "--out", str(out), *chosen]))
    return _conclude(bench)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _list(bench: Bench) -> int:
    """A line a cell, and how many are finished."""
    states = [(bench.state(cell), cell.name) for cell in bench.cells]
    for state, name in states:
        print(f"{state:<9} {name}")
    print(_counted(Counter(state for state, _ in states), len(states)))
    return 0


def _counted(states: Counter[str], total: int) -> str:
    rest = [f"{states[state]} {state}" for state in ("failed", "outdated", "due") if states[state]]
    return ", ".join([f"{states['finished']} of {total} cells finished", *rest])


def _compute(bench: Bench, command: str) -> None:
    due, total = bench.due(), len(bench.cells)
    jobs, finished = bench.spec.executor.jobs, total - len(due)
    _say(f"{finished} of {total} cells are finished" + (f"; {len(due)} to go, {jobs} at a time" if due else ""))
    clock = Estimate(due, jobs)
    results = bench.run(command)
    try:
        for done in results:
            finished += done.error is None
            clock.ended(done)
            for line in done.outcome.warnings:
                _say(f"warning: {done.cell.name}: {line}")
            _say(_line(done, f"[{total - clock.left}/{total}]", clock.text()))
    except KeyboardInterrupt:
        results.close()
        _say(f"{finished} of {total} cells are finished; {bench.table} holds them")
        raise


def _line(done: Done, count: str, left: str) -> str:
    from braid_core.cli.progress import clock

    if done.error is not None:
        return f"{count} {done.cell.name}  failed: {done.error['what']}"
    return "  ".join(filter(None, [f"{count} {done.cell.name}", clock(done.outcome.seconds), left]))


class Estimate:
    """How long the rest takes, at the pace of those cells that were computed since the start: of the same task and
    method if there are any, else of the same method, else of all."""

    def __init__(self, cells: Sequence[Cell], jobs: int) -> None:
        self._waiting, self._jobs = {cell.name: cell for cell in cells}, jobs
        self._taken: dict[tuple[str, ...], list[float]] = {}

    @property
    def left(self) -> int:
        """Cells that have not ended."""
        return len(self._waiting)

    def ended(self, done: Done) -> None:
        """Count a cell; one that failed says nothing about the others' time."""
        del self._waiting[done.cell.name]
        if done.error is None:
            for key in _keys(done.cell):
                self._taken.setdefault(key, []).append(done.outcome.seconds)

    def seconds(self) -> float | None:
        """Until the end; None while nothing is known."""
        if () not in self._taken:
            return None
        known = (next(self._taken[key] for key in _keys(cell) if key in self._taken) for cell in self._waiting.values())
        return sum(sum(times) / len(times) for times in known) / min(self._jobs, max(1, self.left))

    def text(self) -> str:
        """The same for people; empty at the end."""
        from braid_core.cli.progress import clock

        seconds = self.seconds()
        return f"about {clock(seconds)} left" if self._waiting and seconds is not None else ""


def _keys(cell: Cell) -> tuple[tuple[str, ...], ...]:
    return (cell.method, cell.task), (cell.method,), ()


def _conclude(bench: Bench) -> int:
    """Say what failed and where everything is, and write the report."""
    from braid_core.cli.report import report_bench

    records = bench.records()
    errors = [(record["cell"], record["error"]) for record in records if record["error"]]
    for cell, error in errors:
        print(f"failed: {cell['task']}, {cell['backbone']}, {cell['method']}, seed {cell['seed']}: {error['what']}")
        for name in ("where", "why", "fix"):
            if error[name]:
                print(f"  {name}: {error[name]}")
    if errors:
        print("failed cells are rows with an error; repeat the command to try them again\n")
    print(f"{len(records) - len(errors)} of {len(bench.cells)} cells finished")
    print(f"table: {bench.table}")
    report_bench(bench.out, brief=True)
    return 1 if errors else 0


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy(jobs: int, threads: int, available: int) -> list[str]:
    """A warning where cells would wait for each other."""
    if jobs * threads <= available:
        return []
    return [
        f"{jobs} jobs of {threads} thread{'s' * (threads > 1)} on {available} core{'s' * (available > 1)}: "
        f"they will wait for each other; results are the same, with at most {max(1, available // threads)} it is faster"
    ]
