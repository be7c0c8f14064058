"""Finished run folders as checked objects: the only door through which a report gets its figures.

Reads ``manifest.json``, ``results.json``, ``designs.csv`` and ``metrics.jsonl``; imports no torch, loads no weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import ValidationError

from braid_core.errors import StoreError
from braid_core.report.records import Manifest, Record, Results

BESIDE, SUMMARY = "_files", "summary.csv"
"""How the name of the folder beside a page ends, and what is always in it."""
NUMBERS = ("predicted", "std", "conservative", "promised", "novelty", "truth", "normalised")
DESIGN_COLUMNS = ("method", "column", "rank", "design", "valid", *NUMBERS)


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run. ``metrics`` are rows of ``stage, step, …``; ``notes`` what had to be left out."""

    folder: Path
    manifest: Manifest
    results: Results
    designs: pd.DataFrame
    metrics: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_run(folder: Path) -> Run:
    """The finished run in ``folder``. Raises ``StoreError`` if it is no run, unfinished or damaged."""
    _check_folder(folder)
    manifest = record(Manifest, folder / "manifest.json")
    if not manifest.seconds:  # they are written last: the results are those of an earlier run under this name
        raise _unfinished(folder, "its manifest has no seconds")
    results = record(Results, folder / "results.json")
    metrics, notes = _metrics(folder / "metrics.jsonl")
    return Run(folder, manifest, results, _designs(folder / "designs.csv"), metrics, notes)


def read_runs(folders: Sequence[Path], skip_broken: bool = False) -> tuple[list[Run], list[str]]:
    """The runs in ``folders``, each folder once, and why any were left out (always empty unless ``skip_broken``).

    The folder of an earlier page's files is passed over, so that ``out/*/`` means the runs.
    Raises ``StoreError`` when none can be read, or, without ``skip_broken``, for the first that cannot.
    """
    runs: list[Run] = []
    left_out: list[str] = []
    for folder in dict.fromkeys(Path(folder).resolve() for folder in folders):
        if folder.name.endswith(BESIDE) and (folder / SUMMARY).is_file():
            continue
        try:
            runs.append(read_run(folder))
        except StoreError as error:
            if not skip_broken:
                raise
            left_out.append(f"{folder.name}: {error.what}")
    if not runs:
        raise StoreError("there is no finished run to report", why="; ".join(left_out) or "no folder was given")
    return runs, left_out


def _check_folder(folder: Path) -> None:
    where = str(folder)
    if not folder.is_dir():
        raise StoreError("there is no such run folder", where=where, fix="give the folder that `braid run` printed")
    if not (folder / "manifest.json").is_file():
        inner = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
        fix = f"it holds {len(inner)} run folders; try `braid report {folder}/*/`" if inner else None
        raise StoreError(
            "this folder is no run",
            where=where,
            why="it has no manifest.json",
            fix=fix or "give the folder that `braid run` printed",
        )
    if not (folder / "results.json").is_file():
        raise _unfinished(folder, "it has no results.json")


def _unfinished(folder: Path, why: str) -> StoreError:
    fix = "run it again with the same spec: it continues where it stopped"
    return StoreError("this run is not finished", where=str(folder), why=why, fix=fix)


Kind = TypeVar("Kind", bound=Record)


def record(kind: type[Kind], path: Path) -> Kind:
    """The file as a checked object. Raises ``StoreError`` if it cannot be read or lacks a field."""
    try:
        return kind.model_validate(json.loads(_text(path)))
    except json.JSONDecodeError as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _damaged(path, f"{field}: {first['msg']}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> StoreError:
    fix = "run the spec again: finished stages are reused"
    return StoreError(f"{path.name} of this run is damaged", where=str(path), why=why, fix=fix)


def _designs(path: Path) -> pd.DataFrame:
    # "NA" and "nan" can be peptides, so only the numeric columns may have missing values.
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _damaged(path, str(error)) from error
    table = table if "promised" in table else table.assign(promised="")  # earlier versions promised nothing
    missing = [column for column in DESIGN_COLUMNS if column not in table.columns]
    if missing:
        raise _damaged(path, f"column {missing[0]!r} is missing")
    try:
        for column in ("rank", *NUMBERS):
            values = [float(text) if text.strip() else math.nan for text in table[column]]
            table[column] = [value if math.isfinite(value) else math.nan for value in values]
    except ValueError as error:
        raise _damaged(path, f"column {column!r}: {error}") from error
    table["valid"] = table["valid"].str.lower().isin({"true", "1", "1.0", "yes"})
    return table


def _metrics(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The curves; a line cut off by a killed process is left out and counted rather than costing the report."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    broken = 0
    for line in _text(path).splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            kept[str(entry["stage"]), int(entry["step"])] = entry  # a continued run repeats steps: the last counts
        except (ValueError, KeyError, TypeError):
            broken += bool(line.strip())
    notes = (f"{broken} unreadable line(s) of metrics.jsonl were left out",) if broken else ()
    return pd.DataFrame(list(kept.values()), columns=None if kept else ["stage", "step"]), notes
