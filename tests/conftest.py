"""What holds for all tests."""

from __future__ import annotations

import pytest
import torch

from braid_core.errors import SpecError
from braid_core.experiment.manifest import pick_device
from braid_core.testing.contract import Contract


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="of contracts and of combinations of components")


def pytest_configure(config: pytest.Config) -> None:
    try:
        Contract.device = pick_device(config.getoption("device"))
    except SpecError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """At the sizes of tests, threads only wait for each other: on a busy machine they cost six times the time."""
    torch.set_num_threads(1)
