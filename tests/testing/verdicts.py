"""What becomes of each test of each class of a file, in a run of pytest of its own."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
import torch


class Verdicts:
    """Listens to a run of pytest: what became of each test of each class."""

    def __init__(self) -> None:
        self.of: defaultdict[str, dict[str, pytest.TestReport]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, owner, test = report.nodeid.split("::")
        if report.when == "call" or report.outcome != "passed":
            self.of[owner][test.partition("[")[0]] = report

    def those(self, owner: str, outcome: str) -> set[str]:
        return {test for test, report in self.of[owner].items() if report.outcome == outcome}


def verdicts_of(module: ModuleType) -> Verdicts:
    """Every class of the module under its contract, without this project's settings."""
    heard, root = Verdicts(), str(Path(__file__).parents[2])
    apart = ["-c", os.devnull, "--rootdir", root, "-p", "no:cacheprovider", "-p", "no:terminal"]
    with torch.random.fork_rng():
        torch.manual_seed(0)  # some faults draw from the global numbers
        pytest.main([*apart, str(module.__file__)], plugins=[heard])
    return heard
