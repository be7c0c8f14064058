"""What contracts share: the spaces that they run on, and failures that are expected for a stated reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import pytest
import torch

from braid_core.errors import SpecError, nearest
from braid_core.interfaces import Space, Tokens, Vectors


class Contract:
    """Runs each inherited test on every one of ``spaces``.

    ``expected_failures`` maps a test, ``"test_name"`` or ``"test_name[space]"`` as pytest shows it, to the reason why
    it fails. Such a test must fail: when it passes, the entry is out of date and the run is red.
    """

    spaces: ClassVar[tuple[Space, ...]] = (
        Tokens("ACGT", 6),
        Tokens("ACGT", 6, ("reverse_complement",)),
        Vectors(3),
    )
    device: ClassVar[torch.device] = torch.device("cpu")
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        known = {name for name in dir(cls) if name.startswith("test_")}
        known |= {f"{name}[{space_id(space)}]" for name in known for space in cls.spaces}
        for name, reason in cls.expected_failures.items():
            where = f"{cls.__name__}.expected_failures"
            if name not in known:
                raise SpecError(f"there is no test {name!r} to fail", where=where, fix=nearest(name, known))
            if not reason.strip():
                raise SpecError(f"no reason is given for {name!r}", where=where, fix="say why it fails")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Called by pytest for each test: one case for each space, marked where it is expected to fail."""
        if "space" in metafunc.fixturenames:
            name = metafunc.function.__name__
            metafunc.parametrize("space", [self._case(name, space) for space in self.spaces], scope="class")

    def _case(self, test: str, space: Space) -> Any:
        shown = space_id(space)
        reasons = (self.expected_failures.get(key) for key in (test, f"{test}[{shown}]"))
        marks = [pytest.mark.xfail(reason=reason, strict=True) for reason in reasons if reason]
        return pytest.param(space, id=shown, marks=marks)


def space_id(space: Space) -> str:
    """A name for ``space`` in the ids of tests, such as ``Tokens-ACGT-6-reverse_complement``."""
    values: list[Any] = [getattr(space, field.name) for field in fields(space)] if is_dataclass(space) else []
    words = [word for value in values for word in (value if isinstance(value, tuple) else (value,))]
    return "-".join(filter(None, map(str, [type(space).__name__, *words])))
