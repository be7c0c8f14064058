"""A bench: methods on tasks, seed by seed, each cell a run; it continues where it was stopped, in whatever way.

Below its folder: ``bench.json`` (what was asked for, and with what), ``cells/`` (a small file for each finished or
failed cell), ``results.csv`` and ``costs.csv`` (made of the cells), and ``runs/`` (run folders and the store of stages
that cells share).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any, Literal

from braid_core.errors import BraidError, StoreError
from braid_core.experiment.bench_cell import (
    Order,
    Outcome,
    cell_key,
    compute,
    failed,
    read_cell,
    write_record,
)
from braid_core.experiment.bench_spec import (
    BENCH_VERSION,
    CELLS,
    MANIFEST,
    RUNS,
    BenchSpec,
    Cell,
    located,
    parse_bench,
)
from braid_core.experiment.bench_table import costs_table, results_table
from braid_core.experiment.manifest import LIBRARIES, hardware, pick_device, plugins_of, versions
from braid_core.experiment.run import STORE, check_parts
from braid_core.experiment.store import Store
from braid_core.files import make_folder, write_atomic
from braid_core.interfaces import Space
from braid_core.registry.hooks import empty_manager
from braid_core.registry.resolve import scanned_once

TABLE, COST_TABLE = "results.csv", "costs.csv"


@dataclass(frozen=True)
class Done:
    """A cell that has just ended."""

    cell: Cell
    outcome: Outcome

    @property
    def error(self) -> Mapping[str, Any] | None:
        """What, where, why and fix, if it failed."""
        error: Mapping[str, Any] | None = self.outcome.record["error"]
        return error


class Bench:
    """A validated bench in its folder: every component has been built once, and nothing is written yet.

    Raises a ``BraidError`` that names the cell for whatever can be known to be wrong before anything is computed.
    """

    def __init__(self, spec: BenchSpec | dict[str, Any], out: Path | str) -> None:
        self.spec = parse_bench(spec)
        self.out = Path(out)
        self.cells = self.spec.cells
        _refuse_another(self.out, {cell.name for cell in self.cells})
        fingerprints = check(self.cells)
        with scanned_once():
            self.keys = {cell.name: cell_key(cell, fingerprints[cell.task]) for cell in self.cells}

    @property
    def table(self) -> Path:
        """Where the results are."""
        return self.out / TABLE

    def state(self, cell: Cell) -> Literal["finished", "failed", "outdated", "due"]:
        """What the cell's file says; ``outdated``: something that determines the cell has changed since."""
        record = read_cell(self.out, cell.name)
        if record is None:
            return "due"
        if record.get("key") != self.keys[cell.name]:
            return "outdated"
        return "failed" if record["error"] else "finished"

    def due(self) -> list[Cell]:
        """All that is not finished, failed cells included, in the order in which it will be computed."""
        tasks = len(self.spec.tasks) * len(self.spec.backbones)
        waiting = [cell for cell in self.cells if self.state(cell) != "finished"]
        return interleaved(waiting, width=ceil(self.spec.executor.jobs / tasks))

    def run(self, command: str | None = None) -> Generator[Done, None, None]:
        """Compute what is due; yields each cell as it ends, when its file and the tables are written.

        Close the generator to stop: what is finished is kept, and a new start continues.
        """
        due = self.due()
        store = Store(self.out / RUNS / STORE, empty_manager(), self.out)  # removes what was left half-written
        for folder in (self.out / CELLS, self.out / RUNS):
            make_folder(folder)
        write_atomic(self.out / RUNS / ".gitignore", "*\n")  # weights and designs: large, and made again by the cells
        write_atomic(self.out / MANIFEST, json.dumps(self._manifest(command), indent=2) + "\n")
        self.write_tables()
        orders = [self._order(cell, command) for cell in due]
        with closing(self.spec.executor.build().map(compute, orders)) as results:
            for index, result in results:
                if isinstance(result, BraidError):  # the process is lost, and could not write what happened
                    result = Outcome(failed(orders[index], result), 0.0)
                    write_record(orders[index], result.record)
                self.write_tables()
                yield Done(due[index], result)
        del store  # held so long, so that nobody else tidies up beneath us

    def write_tables(self) -> None:
        """``results.csv`` and ``costs.csv`` of the cells that have ended, in the spec's order."""
        records = self.records()
        write_atomic(self.table, results_table(records).to_csv(index=False))
        write_atomic(self.out / COST_TABLE, costs_table(records).to_csv(index=False))

    def records(self) -> list[dict[str, Any]]:
        """What the cells' files hold, of this very bench."""
        found = ((cell, read_cell(self.out, cell.name)) for cell in self.cells)
        return [record for cell, record in found if record is not None and record.get("key") == self.keys[cell.name]]

    def _order(self, cell: Cell, command: str | None) -> Order:
        return Order(cell.name, self.keys[cell.name], cell.labels, cell.spec.to_dict(), self.out, command)

    def _manifest(self, command: str | None) -> dict[str, Any]:
        with scanned_once():
            named = {(kind, *facts.values()) for cell in self.cells for kind, facts in plugins_of(cell.spec).items()}
        return {
            "bench_version": BENCH_VERSION,
            "spec": self.spec.to_dict(),
            "cells": self.keys,
            "plugins": [
                dict(zip(("kind", "type", "distribution", "version"), one, strict=True)) for one in sorted(named)
            ],
            "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
            "hardware": {
                **hardware(pick_device(self.spec.device)),
                "threads": self.spec.threads,
                "jobs": self.spec.executor.jobs,
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
        }


def _refuse_another(out: Path, names: set[str]) -> None:
    """Raises where ``out`` holds a bench of which no cell is one of ``names``: its tables would be replaced.

    One that shares a cell is the same bench with an edited spec, which continues.
    """
    try:
        there = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no bench yet, or none that can be read
    if there and names.isdisjoint(there):
        raise StoreError(
            "the folder holds another bench",
            where=str(out),
            why=f"{MANIFEST} there shares no cell with this spec, and its tables would be replaced",
            fix="give another folder with --out, or delete this one if the other bench is not needed any more",
        )


def bench(spec: BenchSpec | dict[str, Any], out: Path | str, *, jobs: int | None = None) -> Path:
    """Make (or continue) the bench that ``spec`` describes in ``out``, and return the path of its ``results.csv``.

    ``jobs`` replaces the executor's. Failed cells are rows with an error; raises a ``BraidError`` for what is wrong
    with the bench as a whole.
    """
    spec = with_jobs(parse_bench(spec), jobs)
    made = Bench(spec, out)
    for _ in made.run():
        pass
    return made.table


def with_jobs(spec: BenchSpec, jobs: int | None) -> BenchSpec:
    """The same bench with so many cells at a time."""
    if jobs is None:
        return spec
    return spec.model_copy(update={"executor": spec.executor.model_copy(update={"jobs": jobs})})


def check(cells: Sequence[Cell]) -> dict[str, str]:
    """Build every component of ``cells`` once, unfitted; returns the fingerprint of each task's data with seed 0.

    Raises the ``BraidError`` of the first that cannot be built, or be tuned where it should be, naming its cell.
    """
    spaces: dict[str, Space] = {}
    fingerprints: dict[str, str] = {}
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.task, cell.backbone, cell.method), cell)
    for cell in first.values():
        try:
            if cell.task not in spaces:
                task = cell.spec.task.build(0)
                spaces[cell.task], fingerprints[cell.task] = task.space, task.fingerprint()
            check_parts(cell.spec, spaces[cell.task], pick_device(cell.spec.device))
        except BraidError as error:
            raise located(error, f"cell {cell.name}") from error
    return fingerprints


def interleaved(cells: Sequence[Cell], width: int) -> list[Cell]:
    """An order in which neighbours share little, so that cells computed together do not wait for each other's stages.

    ``width`` seeds at a time, so that what is interrupted has compared its methods on some of them; method by method,
    because the first one computes what the others of its task and seed share.
    """
    methods = list(dict.fromkeys(cell.method for cell in cells))
    seeds = {task: sorted({cell.seed for cell in cells if cell.task == task}) for task in {c.task for c in cells}}

    def place(cell: Cell) -> tuple[int, int, int]:
        rank = seeds[cell.task].index(cell.seed)
        return rank // width, methods.index(cell.method), rank

    return sorted(cells, key=place)
