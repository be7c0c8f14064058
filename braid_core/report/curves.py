"""What happened during tuning, as tables by step: what was logged, and what was drawn at the milestones."""

from __future__ import annotations

import pandas as pd

from braid_core.report.grouping import Member
from braid_core.report.records import Row

LOGGED = ("mean", "conservative", "kl", "alpha", "grad_norm")


def logged(member: Member) -> pd.DataFrame:
    """Figures of the batches that the method was tuned on; no rows for a method that does not tune."""
    metrics = member.run.metrics
    own = metrics[metrics["stage"] == "objective"].set_index("step").sort_index()
    present = [name for name in LOGGED if name in own]
    return own[present].astype(float).dropna(subset="kl") if "kl" in present else pd.DataFrame()


def milestones(member: Member) -> pd.DataFrame:
    """The raw column from before tuning (step 0: the pretrained model's) to the end; no rows without tuning.

    Columns: mean rewards ``predicted``, ``conservative``, ``truth``, and the truth's 10 and 90 % quantiles ``low`` and
    ``high``; ``kl`` in nats; ``diversity`` in units of the pretrained model's; shares ``unique`` and ``valid`` of the
    ``n`` designs.
    """
    last, results = _last(member), member.run.results
    if last is None:
        return pd.DataFrame()
    ends = {"Pretrained": 0, results.label: last}
    rows = {ends[row.method]: row for row in results.rows if row.method in ends and row.column == "raw"}
    rows |= {row.step: row for row in results.history}
    table = pd.DataFrame.from_dict({step: _point(row) for step, row in rows.items()}, orient="index", dtype=float)
    table = table.sort_index()
    table["kl"] = table["kl"].where(table.index != 0, 0.0)
    start = table["diversity"].get(0)
    table["diversity"] = table["diversity"] / start if start else float("nan")
    return table


def _last(member: Member) -> int | None:
    """The step after which tuning ended: as logged, or, where a bench kept milestones only, as asked for."""
    steps = logged(member).index
    if len(steps):
        return int(steps.max())
    asked = member.run.manifest.spec.get("objective", {}).get("steps")
    return int(asked) if member.run.results.history and asked else None


def _point(row: Row) -> dict[str, float | None]:
    rewards = {name: getattr(row, name) for name in ("predicted", "conservative", "truth")}
    means = {name: stats.mean if stats else None for name, stats in rewards.items()}
    band = {"low": row.truth.q10, "high": row.truth.q90} if row.truth else {"low": None, "high": None}
    return means | band | {name: getattr(row, name) for name in ("kl", "diversity", "unique", "valid", "n")}
