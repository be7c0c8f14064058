"""The page on objectives names the options that exist, with their defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from braid_conservative import BraidSpec
from braid_ddom import DdomSpec
from braid_guidance import BestOfNSpec, GuidanceSpec

from braid_core.registry.spec import ObjectiveSpec

PAGE = (Path(__file__).parents[1] / "docs" / "objectives.md").read_text(encoding="utf-8")
SPECS: list[type[ObjectiveSpec]] = [BraidSpec, GuidanceSpec, BestOfNSpec, DdomSpec]


def table(spec: type[ObjectiveSpec]) -> dict[str, str]:
    """The options in the section of an objective, and the defaults that it names."""
    section = PAGE.split(f"## `{spec.model_fields['type'].default}`\n")[1].split("\n## ")[0]
    options = section.split("| option | default |")[1].split("\n\n")[0]
    rows = [line.split("|") for line in options.splitlines() if line.startswith("| `")]
    return {row[1].strip(" `"): row[2].strip(' `"') for row in rows}


@pytest.mark.parametrize("spec", SPECS)
def test_every_option_is_in_the_table_with_its_default(spec: type[ObjectiveSpec]) -> None:
    found = table(spec)
    assert set(found) == set(spec.model_fields) - {"type"}
    for name, shown in found.items():
        default = spec.model_fields[name].default
        if isinstance(default, bool | str):
            assert shown == str(default).lower()
        elif default is not None:
            assert float(shown) == default
