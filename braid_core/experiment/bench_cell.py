"""One cell of a bench: a run, and the small file that is left of it.

The file holds what determined the cell, its rows, its costs and, if it failed, the error, but no designs and no
weights: it can be committed. A cell is finished while its file says that the same things would determine it today.
"""

from __future__ import annotations

import hashlib
import json
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from braid_core.errors import BraidError
from braid_core.experiment.bench_spec import BENCH_VERSION, CELLS, RUNS, Cell
from braid_core.experiment.manifest import LEARNING, code_hash, pick_device, plugins_of, source_hash, versions
from braid_core.experiment.run import run
from braid_core.experiment.spec import parse_spec
from braid_core.experiment.store import RECORD, DamageWarning
from braid_core.files import write_atomic

KINDS = ("task", "backbone", "oracle", "objective")
MEASURING = (
    "bench_cell",
    "calibration",
    "designs",
    "metrics",
    "models",
    "naturalness",
    "pipeline",
    "promise",
    "regret",
    "results",
    "run",
    "selection",
    "split",
)
"""Modules of the experiment that decide beside the plugins, or turn stages into rows."""


@dataclass(frozen=True)
class Order:
    """What a worker is told, as plain data: the resolved ``spec`` of the cell's run, and where files go."""

    name: str
    key: str
    labels: Mapping[str, Any]
    spec: Mapping[str, Any]
    out: Path
    command: str | None


@dataclass(frozen=True)
class Outcome:
    """What a worker answers: the cell's record, the wall-clock seconds it took now, and what a user should see."""

    record: dict[str, Any]
    seconds: float
    warnings: tuple[str, ...] = ()


def cell_key(cell: Cell, data: str) -> str:
    """A hash of all that determines a cell's rows; ``data`` is the fingerprint of its task's data.

    Of the code, all that computes and all that measures: an edit makes cells due again, most of whose stages then need
    not be computed again.
    """
    inputs = {
        "bench": BENCH_VERSION,
        "labels": cell.labels,
        "spec": cell.spec.to_dict(),
        "data": data,
        "device": pick_device(cell.spec.device).type,
        "plugins": plugins_of(cell.spec),
        "versions": versions(LEARNING),
        "code": code_hash("braid_core", *(type(getattr(cell.spec, kind)).__module__ for kind in KINDS)),
        "measures": source_hash(*MEASURING),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def cell_file(out: Path, name: str) -> Path:
    """Where the record of a cell is."""
    return out / CELLS / f"{name}.json"


def read_cell(out: Path, name: str) -> dict[str, Any] | None:
    """The record of a cell, if there is a readable one; what cannot be read is computed again."""
    try:
        record = json.loads(cell_file(out, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def compute(order: Order) -> Outcome:
    """Make the run, and leave its record in the bench's folder; called in a worker process.

    A failure is a record too. Only an interruption is raised.
    """
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(order.spec["threads"]):
        warnings.simplefilter("always", DamageWarning)  # Python shows only the first from one line
        try:
            folder = run(parse_spec(dict(order.spec)), order.out / RUNS, command=order.command)
            record = _finished(order, folder)
        except Exception as error:  # any error at all: it is the plugins' code that runs here
            record = failed(order, error)
    write_record(order, record)
    return Outcome(record, time.perf_counter() - start, tuple(dict.fromkeys(_line(one) for one in caught)))


def _line(caught: warnings.WarningMessage) -> str:
    ours = issubclass(caught.category, DamageWarning)
    return str(caught.message) if ours else f"{caught.category.__name__}: {' '.join(str(caught.message).split())}"


def write_record(order: Order, record: Mapping[str, Any]) -> None:
    """Write the cell's file. Raises :class:`StoreError` where that cannot be done."""
    write_atomic(cell_file(order.out, order.name), json.dumps(record, indent=1, allow_nan=False) + "\n")


def _head(order: Order) -> dict[str, Any]:
    return {"cell": dict(order.labels), "key": order.key, "spec": dict(order.spec)}


def _finished(order: Order, folder: Path) -> dict[str, Any]:
    manifest, results = (json.loads((folder / f"{name}.json").read_text()) for name in ("manifest", "results"))
    kept = ("space", "plugins", "versions", "hardware", "created", "seconds")
    facts = {name: manifest[name] for name in kept}
    _relabel(results, order.labels["method"])
    facts["memory"] = {stage: _memory(folder / "checkpoints" / stage) for stage in manifest["seconds"]}
    return {**_head(order), "error": None, **facts, **results}


def _relabel(results: dict[str, Any], method: str) -> None:
    """The run's own method as the bench calls it, wherever it is named."""
    own = results["label"]
    for row in [*results["rows"], *results["history"]]:
        row["method"] = method if row["method"] == own else row["method"]
    for laws in (results["regret"]["penalty"], results["regret"]["concentrability"]):
        for column in ("raw", "selected"):
            if f"{own}, {column}" in laws:
                laws[f"{method}, {column}"] = laws.pop(f"{own}, {column}")
    results["label"] = method


def _memory(stage: Path) -> float | None:
    """The peak memory of a stage, in MB, where it is known."""
    peak: float | None = json.loads((stage / RECORD).read_text()).get("memory")
    return peak


def failed(order: Order, error: Exception) -> dict[str, Any]:
    """The record of a cell that ended with ``error``."""
    if isinstance(error, BraidError):
        told = {name: getattr(error, name) for name in ("what", "where", "why", "fix")}
    elif _out_of_memory(error):
        told = {
            "what": "the cell needs more memory than there is",
            "where": None,
            "why": " ".join(str(error).split()) or type(error).__name__,
            "fix": "run fewer jobs at a time, or give the method a smaller batch or pool",
        }
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
        told = {
            "what": f"{type(error).__name__}: {error}",
            "where": f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}" if frame else None,
            "why": "it is a bug of BRAID or of a plugin",
            "fix": f"report it with the traceback in {_traceback_file(order, error)}",
        }
    return {**_head(order), "error": told, "rows": [], "history": [], "seconds": {}, "memory": {}}


def _out_of_memory(error: Exception) -> bool:
    """Torch's allocator of main memory raises a plain RuntimeError, the system an OSError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError | OSError) and "allocate memory" in str(error).lower()
    )


def _traceback_file(order: Order, error: Exception) -> str:
    """Written beside the runs, because it names folders of this machine; its path, from the bench's folder."""
    path = Path(RUNS) / f"{order.name}.error.txt"
    write_atomic(order.out / path, "".join(traceback.format_exception(error)))
    return str(path)
