"""The masked backbone keeps what every backbone promises, in both ways of revealing."""

from __future__ import annotations

from typing import Any

from braid_discrete import MaskedSpec

from braid_core.testing import BackboneContract

QUICK: dict[str, Any] = {"network": {"width": 32}, "train_steps": 150, "batch": 64}


class TestOneByOne(BackboneContract):
    spec = MaskedSpec(**QUICK)


class TestParallel(BackboneContract):
    spec = MaskedSpec(reveal="parallel", steps=6, **QUICK)
