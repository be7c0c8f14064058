"""The peak memory of a piece of work: measured against blocks of a known size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from braid_core.experiment import memory
from braid_core.experiment.memory import MB, watch_memory

SIZE = 200
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a high-water mark")


def touch(megabytes: int) -> None:
    block = bytearray(megabytes * MB)
    block[:: 2**12] = b"x" * len(block[:: 2**12])


@linux
def test_the_peak_holds_what_was_freed_again() -> None:
    idle = watch_memory()()
    peak = watch_memory()
    touch(SIZE)
    found = peak()
    assert idle is not None
    assert found is not None
    assert found - idle == pytest.approx(SIZE, rel=0.1)


@linux
def test_an_earlier_peak_does_not_count() -> None:
    touch(SIZE)
    first = watch_memory()()
    touch(SIZE)
    second = watch_memory()()
    assert first is not None
    assert second == pytest.approx(first, rel=0.1)


def test_without_a_reset_only_a_new_peak_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RESET", Path("/nowhere/clear_refs"))
    marks = iter([300.0, 300.0, 300.0, 350.0])
    monkeypatch.setattr(memory, "_high_water", lambda: next(marks))
    assert watch_memory()() is None
    assert watch_memory()() == 350.0
