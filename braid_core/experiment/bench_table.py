"""The cells of a bench as tables: one row a task, backbone, method, seed and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from braid_core.experiment.bench_spec import REFERENCES
from braid_core.experiment.metrics import QUANTILES

LABELS = ("task", "backbone", "method", "objective", "oracle", "seed", "column")
NUMBERS = ("n", "unique", "valid", "shortfall", "missing")
SPREADS = ("truth", "normalised", "predicted", "conservative", "promised")
FIGURES = (
    "gap",
    "coverage",
    "slack",
    "pinball",
    "pinball_offset",
    "truth_std",
    "evaluator_distance",
    "novelty",
    "diversity",
    "naturalness",
    "pretrained_bound",
    "kl",
)
OFFLINE = ("n", "mean", "std", "max")
STATISTICS = ("mean", *(f"q{round(100 * q)}" for q in QUANTILES))
COLUMNS = (
    *LABELS,
    *NUMBERS,
    *(f"{name}_{statistic}" for name in SPREADS for statistic in STATISTICS),
    *FIGURES,
    *(f"offline_{name}" for name in OFFLINE),
    "error",
)
COSTS = ("task", "backbone", "method", "objective", "oracle", "seed", "stage", "seconds", "memory_mb")


def results_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of all ``records`` with :data:`COLUMNS`, in the records' order.

    Offline and Random come once a task and seed, Pretrained once a task, backbone and seed: from the first record that
    has them, whose oracle is named, because it made the predictions and the selection. A failed cell is one row with
    its error and no column.
    """
    rows: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for record in records:
        labels = record["cell"]
        if record["error"]:
            rows.append({**labels, "error": error_line(record["error"])})
            continue
        offline = {f"offline_{name}": record["task"]["offline"][name] for name in OFFLINE}
        for row in record["rows"]:
            who = _reference(labels, row["method"]) if row["method"] in REFERENCES else labels
            key = (who["task"], who["backbone"], who["method"], who["seed"], row["column"])
            if key not in seen:
                seen.add(key)
                rows.append({**who, **_flat(row), **offline})
    whole = dict.fromkeys(("seed", "n", "shortfall", "missing", "offline_n"), "Int64")  # also where some are unknown
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(whole)


def _reference(labels: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The labels of a reference row: it has no objective, and only Pretrained has a backbone."""
    backbone = labels["backbone"] if method == "Pretrained" else None
    oracle = None if method == "Offline" else labels["oracle"]
    return {**labels, "backbone": backbone, "method": method, "objective": None, "oracle": oracle}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: row.get(name) for name in ("column", *NUMBERS, *FIGURES)}
    for name in SPREADS:
        flat |= {f"{name}_{statistic}": value for statistic, value in (row.get(name) or {}).items()}
    return flat


def costs_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What each stage of each finished cell took: wall-clock seconds and peak memory, where known.

    Stages that cells share stand at each of them, with what they took the one time that they were computed.
    """
    rows = [
        {**record["cell"], "stage": stage, "seconds": seconds, "memory_mb": record["memory"].get(stage)}
        for record in records
        for stage, seconds in record["seconds"].items()
    ]
    return pd.DataFrame(rows, columns=list(COSTS))


def error_line(error: Mapping[str, Any]) -> str:
    """An error in one line."""
    more = "; ".join(f"{name}: {error[name]}" for name in ("where", "why", "fix") if error.get(name))
    return " ".join(f"{error['what']}{f' ({more})' if more else ''}".split())
