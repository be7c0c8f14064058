"""What holds for all tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """At the sizes of tests, threads only wait for each other: on a busy machine they cost six times the time."""
    torch.set_num_threads(1)
