"""The backbone contract: a correct backbone passes, and each fault fails the tests that are for it and no other."""

from __future__ import annotations

import pytest

from braid_core.interfaces import Images, Tokens, Vectors
from braid_core.testing import BackboneContract
from tests.testing import faulty_backbones
from tests.testing.faulty_backbones import Faulty
from tests.testing.moments import MaskedChain, Moments, MomentsSpec
from tests.testing.verdicts import Verdicts, verdicts_of

TESTS = {name for name in dir(BackboneContract) if name.startswith("test_")}


class TestMoments(BackboneContract):
    """The suite as its users write it."""

    spec = MomentsSpec()
    spaces = (Vectors(1), Tokens("ACGT", 3), Images(1, 2, 3))


class Masked(Moments):
    chain = MaskedChain


class TestMasked(BackboneContract):
    spec = MomentsSpec()
    spaces = (Tokens("ACGT", 3), Tokens("-01", 3, pad="-"))

    def build(self, space: Tokens) -> Masked:  # type: ignore[override]
        return Masked(space)


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """Every faulty backbone under its contract."""
    return verdicts_of(faulty_backbones)


@pytest.mark.parametrize("fault", faulty_backbones.FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_fails_the_tests_that_are_for_it(verdicts: Verdicts, fault: type[Faulty]) -> None:
    owner = f"Test{fault.__name__}"
    assert verdicts.those(owner, "failed") == fault.found_by  # type: ignore[attr-defined]
    others = verdicts.those(owner, "passed") | verdicts.those(owner, "skipped")
    assert others == TESTS - fault.found_by  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", faulty_backbones.FAULTS, ids=lambda fault: fault.__name__)
def test_a_failure_names_its_usual_cause(verdicts: Verdicts, fault: type[Faulty]) -> None:
    for test in fault.found_by:  # type: ignore[attr-defined]
        assert "usually: " in verdicts.of[f"Test{fault.__name__}"][test].longreprtext


def test_no_test_of_the_contract_is_one_that_cannot_fail() -> None:
    assert set().union(*(fault.found_by for fault in faulty_backbones.FAULTS)) == TESTS  # type: ignore[attr-defined]


def test_a_forgotten_spec_is_named(verdicts: Verdicts) -> None:
    reports = verdicts.of["TestWithoutSpec"].values()
    assert reports
    assert all("spec = YourSpec()" in report.longreprtext for report in reports if report.outcome == "failed")
