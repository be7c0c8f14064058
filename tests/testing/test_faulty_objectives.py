"""The objective contract: a correct objective passes, and each fault fails the tests that are for it and no other."""

from __future__ import annotations

import pytest

from braid_core.testing import ObjectiveContract
from tests.testing import faulty_objectives
from tests.testing.tuned import Sound
from tests.testing.verdicts import Verdicts, verdicts_of

TESTS = {name for name in dir(ObjectiveContract) if name.startswith("test_")}


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """Every faulty objective under its contract."""
    return verdicts_of(faulty_objectives)


@pytest.mark.parametrize("fault", faulty_objectives.FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_fails_the_tests_that_are_for_it(verdicts: Verdicts, fault: type[Sound]) -> None:
    owner = f"Test{fault.__name__}"
    assert verdicts.those(owner, "failed") == fault.found_by
    assert verdicts.those(owner, "passed") == TESTS - fault.found_by


@pytest.mark.parametrize("fault", faulty_objectives.FAULTS, ids=lambda fault: fault.__name__)
def test_a_failure_names_its_usual_cause(verdicts: Verdicts, fault: type[Sound]) -> None:
    for test in fault.found_by:
        assert "usually: " in verdicts.of[f"Test{fault.__name__}"][test].longreprtext


def test_no_test_of_the_contract_is_one_that_cannot_fail() -> None:
    assert set().union(*(fault.found_by for fault in faulty_objectives.FAULTS)) == TESTS


def test_a_forgotten_spec_is_named(verdicts: Verdicts) -> None:
    reports = verdicts.of["TestWithoutSpec"].values()
    assert reports
    assert all("spec = YourSpec()" in report.longreprtext for report in reports if report.outcome == "failed")
