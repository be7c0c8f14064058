"""The simplex backbone keeps what every backbone promises."""

from __future__ import annotations

from typing import Any

from braid_simplex import SimplexSpec

from braid_core.interfaces import Tokens
from braid_core.testing import BackboneContract

QUICK: dict[str, Any] = {"network": {"width": 32}, "train_steps": 150, "batch": 128, "label_dropout": 0.3}


class TestShort(BackboneContract):
    """So few sticks and so short steps that most states are not clamped anywhere."""

    spec = SimplexSpec(steps=20, **QUICK)
    spaces = (Tokens("ACGT", 2), Tokens("AC", 3))
    clamped = True


class TestLong(BackboneContract):
    spec = SimplexSpec(steps=10, **QUICK)
    spaces = (Tokens("ACGT", 6), Tokens("ACDEFGHIKLMNPQRSTVWY", 2))
    clamped = True
