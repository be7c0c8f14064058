"""The oracle contract: a correct oracle passes, and each fault fails the tests that are for it and no other."""

from __future__ import annotations

from typing import ClassVar

import pytest

from braid_core.errors import SpecError
from braid_core.interfaces import Images, Tokens
from braid_core.testing import OracleContract
from braid_core.testing.contract import space_id
from tests.testing import faulty
from tests.testing.linear import LinearOracle, LinearSpec
from tests.testing.verdicts import Verdicts, verdicts_of

TESTS = {name for name in dir(OracleContract) if name.startswith("test_")}


class TestLinear(OracleContract):
    """The suite as its users write it, on the usual spaces."""

    spec = LinearSpec()
    distance_aware = True


class TestLinearOnOthers(OracleContract):
    spec = LinearSpec()
    spaces = (Tokens("01", 8), Images(1, 2, 2))
    distance_aware = True


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """Every faulty oracle under its contract."""
    return verdicts_of(faulty)


@pytest.mark.parametrize("fault", faulty.FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_fails_the_tests_that_are_for_it(verdicts: Verdicts, fault: type[LinearOracle]) -> None:
    owner = f"Test{fault.__name__}"
    assert verdicts.those(owner, "failed") == fault.found_by  # type: ignore[attr-defined]
    assert verdicts.those(owner, "passed") == TESTS - fault.found_by  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", faulty.FAULTS, ids=lambda fault: fault.__name__)
def test_a_failure_names_its_usual_cause(verdicts: Verdicts, fault: type[LinearOracle]) -> None:
    for test in fault.found_by:  # type: ignore[attr-defined]
        assert "usually: " in verdicts.of[f"Test{fault.__name__}"][test].longreprtext


def test_no_test_of_the_contract_is_one_that_cannot_fail() -> None:
    assert set().union(*(fault.found_by for fault in faulty.FAULTS)) == TESTS  # type: ignore[attr-defined]


def test_a_capability_that_is_not_declared_is_not_tested(verdicts: Verdicts) -> None:
    skipped = verdicts.those("TestExcused", "skipped")
    assert skipped == {"test_repeated_measurements_shrink_the_penalty", "test_penalty_grows_far_from_the_data"}
    assert "distance_aware = True" in verdicts.of["TestExcused"][skipped.pop()].longreprtext


def test_an_expected_failure_is_no_failure(verdicts: Verdicts) -> None:
    excused = verdicts.of["TestExcusedForAReason"]["test_repeated_measurements_shrink_the_penalty"]
    assert excused.wasxfail == "the published bonus"
    assert not verdicts.those("TestExcusedForAReason", "failed")


def test_an_expected_failure_that_does_not_happen_is_one(verdicts: Verdicts) -> None:
    assert verdicts.those("TestExcused", "failed") == {"test_it_learns"}
    assert "it did not, once" in verdicts.of["TestExcused"]["test_it_learns"].longreprtext


def test_a_forgotten_spec_is_named(verdicts: Verdicts) -> None:
    reports = verdicts.of["TestWithoutSpec"].values()
    assert reports
    assert all("spec = YourSpec()" in report.longreprtext for report in reports if report.outcome == "failed")


def test_an_expected_failure_must_be_a_test() -> None:
    with pytest.raises(SpecError, match=r"no test 'test_it_lerns'(.|\n)*did you mean 'test_it_learns'"):

        class Mistyped(OracleContract):
            expected_failures: ClassVar = {"test_it_lerns": "a typing error"}


def test_an_expected_failure_needs_a_reason() -> None:
    with pytest.raises(SpecError, match="no reason is given for 'test_it_learns'"):

        class Unexplained(OracleContract):
            expected_failures: ClassVar = {"test_it_learns": " "}


def test_spaces_have_readable_names() -> None:
    assert space_id(Tokens("ACGT", 6, ("reverse_complement",))) == "Tokens-ACGT-6-reverse_complement"
    assert space_id(Images(3, 32, 32)) == "Images-3-32-32"
