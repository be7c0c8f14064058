"""``make``: a finished run folder with the given peculiarities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .fabricate import Fake


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    made: list[Path] = []

    def build(**options: Any) -> Path:
        made.append(Fake(**options).write(tmp_path / f"run{len(made)}"))
        return made[-1]

    return build
