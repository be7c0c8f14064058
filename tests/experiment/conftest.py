from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from braid_core.experiment.run import run
from braid_core.experiment.store import Store
from braid_core.interfaces import Log, State

from .tiny import tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny run, undisturbed: to be read, never changed."""
    return run(tiny(), tmp_path_factory.mktemp("finished"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that are computed, in order; reused ones are not among them."""
    kinds: list[str] = []
    original = Store._compute

    def compute(self: Store, kind: str, inputs: Mapping[str, Any], work: Callable[[Log], State], folder: Path) -> float:
        kinds.append(kind)
        return original(self, kind, inputs, work, folder)

    monkeypatch.setattr(Store, "_compute", compute)
    return kinds
