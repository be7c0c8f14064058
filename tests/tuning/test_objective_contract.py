"""Fine-tuning keeps what every objective promises: both scores, both gradients, and a budget in place of alpha."""

from __future__ import annotations

from typing import Any

from braid_conservative import BraidSpec
from braid_strl import StrlSpec

from braid_core.testing import ObjectiveContract

QUICK: dict[str, Any] = {"steps": 40, "batch": 64, "learning_rate": 0.05, "milestones": 2}
STILL: dict[str, Any] = {"steps": 1, "learning_rate": 1e-30}


class TestBraid(ObjectiveContract):
    spec = BraidSpec(**QUICK)
    idle = BraidSpec(**STILL)
    tunes = True


class TestStrl(ObjectiveContract):
    spec = StrlSpec(**QUICK)
    idle = StrlSpec(**STILL)
    tunes = True


class TestBudgets(ObjectiveContract):
    spec = BraidSpec(kl_budget=(0.3, 0.8), **QUICK)
    tunes = True


class TestPolicy(ObjectiveContract):
    spec = BraidSpec(policy={"updates": 2}, **QUICK)
    tunes = True
