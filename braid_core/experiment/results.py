"""The figures of a finished run: one table of designs, one summary per method and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import isfinite
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from braid_core.experiment.designs import Designs
from braid_core.experiment.metrics import distinct, diversity, mean_or_none, novelty, promise, stats
from braid_core.experiment.naturalness import Nature
from braid_core.experiment.spec import RunSpec
from braid_core.interfaces import Doubt, LabelledDesigns, Oracle, Posterior, Space, Task

DOUBTS = ("truth_std", "evaluator_distance")
"""Columns that say how far a learned truth can be trusted; empty where the truth is not learned."""


@torch.no_grad()
def design_table(
    columns: Sequence[Designs],
    task: Task,
    oracle: Oracle,
    data: LabelledDesigns,
    promised: Callable[[Posterior], Tensor],
) -> tuple[pd.DataFrame, Tensor]:
    """Every drawn design with what is believed, ``promised`` and, where it can be known, true of it.

    This is where the truth is asked, in one call for all designs together, the offline ones included; their true
    rewards (which noisy labels are not) are the second value.
    """
    x = torch.cat([column.x for column in columns])
    posterior = oracle.posterior(x)
    every = torch.cat([x, data.x])
    known = task.truth(every) if task.has_truth else torch.full((len(every),), torch.nan, device=x.device)
    truth, offline = known[: len(x)], known[len(x) :]
    normalised = task.normalise(truth)
    facts = {
        "predicted": posterior.mean,
        "std": posterior.std,
        "conservative": posterior.conservative(),
        "promised": promised(posterior),
        "novelty": novelty(x, data.x, task.space),
        "truth": truth,
        "normalised": normalised,
        **_doubts(task.doubt(x) if task.has_truth else None, x, task.space),
    }
    table = pd.DataFrame(
        {
            "method": [column.method for column in columns for _ in column.x],
            "column": [column.column for column in columns for _ in column.x],
            "step": [column.step for column in columns for _ in column.x],
            "rank": [rank for column in columns for rank in range(1, len(column.x) + 1)],
            "design": task.space.decode(x),
            "valid": task.valid(x).tolist(),
            **{name: values.tolist() for name, values in facts.items()},
        }
    )
    return table, offline


def _doubts(doubt: Doubt | None, x: Tensor, space: Space) -> dict[str, Tensor]:
    """The evaluator's standard error at each design, and how far this is from what the evaluator was trained on."""
    return {} if doubt is None else dict(zip(DOUBTS, (doubt.std, novelty(x, doubt.designs, space)), strict=True))


def results(
    table: pd.DataFrame,
    columns: Sequence[Designs],
    task: Task,
    spec: RunSpec,
    data: LabelledDesigns,
    offline: Tensor,
    oracle_quality: dict[str, Any],
    nature: Nature | None = None,
) -> dict[str, Any]:
    """What ``results.json`` holds: a row per method and column, or milestone, and the facts needed to read them."""
    ends = list(accumulate(len(column.x) for column in columns))
    parts = [table.iloc[end - len(column.x) : end] for column, end in zip(columns, ends, strict=True)]
    rows = [_row(column, part, task, nature) for column, part in zip(columns, parts, strict=True)]
    steps = [column.step for column in columns]
    history = [{"step": step, **row} for step, row in zip(steps, rows, strict=True) if step is not None]
    rows = [row for step, row in zip(steps, rows, strict=True) if step is None]
    doubt = task.doubt(data.x) if task.has_truth else None
    own = [row["kl"] for row in rows if row["kl"] is not None]
    return {
        "task": {
            "name": task.name,
            "unit": task.unit,
            "has_truth": task.has_truth,
            "truth_kind": task.truth_kind if task.has_truth else None,
            "truth_note": doubt.note if doubt else None,
            "notes": list(task.notes),
            "natural": nature.facts() if nature else None,
            "offline": {"n": len(data), "mean": float(data.y.mean()), "std": data.std, "max": float(data.y.max())},
        },
        "label": spec.label,
        "seed": spec.seed,
        "rows": [_offline_row(data, offline, doubt, task, nature), *rows],
        "history": history,
        "oracle": finite(oracle_quality),
        "kl": own[-1] if own else None,
    }


def finite(figures: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not know, however deep they are."""
    if isinstance(figures, dict):
        return {key: finite(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [finite(value) for value in figures]
    return None if isinstance(figures, float) and not isfinite(figures) else figures


def _offline_row(
    data: LabelledDesigns, truth: Tensor, doubt: Doubt | None, task: Task, nature: Nature | None
) -> dict[str, Any]:
    doubts = _doubts(doubt, data.x, task.space)
    return {
        "method": "Offline",
        "column": "raw",
        "n": len(data),
        "unique": len(distinct(data.x, task.space)) / len(data),
        "truth": stats(truth),
        "normalised": stats(task.normalise(truth)),
        **{name: mean_or_none(doubts[name]) if name in doubts else None for name in DOUBTS},
        **_likeness(data.x, nature),
    }


def _likeness(x: Tensor, nature: Nature | None) -> dict[str, float | None]:
    return nature.likeness(x) if nature else dict.fromkeys(("naturalness", "pretrained_bound"))


def _row(column: Designs, part: pd.DataFrame, task: Task, nature: Nature | None) -> dict[str, Any]:
    """The figures of one column; ``missing`` of its designs have no true reward, although the task has a truth."""
    names = ("predicted", "conservative", "promised", "truth", "normalised", "novelty", "valid")
    figures = (torch.tensor(part[name].to_numpy(dtype=float)) for name in names)
    predicted, conservative, promised, truth, normalised, apart, valid = figures
    return {
        "method": column.method,
        "column": column.column,
        "n": len(part),
        "unique": len(distinct(column.x, task.space)) / len(part) if len(part) else None,
        "valid": mean_or_none(valid),
        "shortfall": column.shortfall,
        "missing": int(truth.isnan().sum()) if task.has_truth else 0,
        "truth": stats(truth),
        "normalised": stats(normalised),
        "predicted": stats(predicted),
        "conservative": stats(conservative),
        "promised": stats(promised),
        "gap": mean_or_none(predicted - truth),
        **promise(predicted, promised, truth),
        **{name: mean_or_none(torch.tensor(part[name].to_numpy())) if name in part else None for name in DOUBTS},
        "novelty": mean_or_none(apart),
        "diversity": diversity(column.x, task.space),
        **_likeness(column.x, nature),
        "kl": None if column.kl is None else mean_or_none(column.kl),
    }
