"""The documentation names what exists, as it is."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from braid_core.registry.discovery import GROUPS
from braid_core.registry.hooks import SPECS
from braid_core.registry.spec import BASES
from braid_core.registry.states import ALLOW, DISABLE

PLUGINS = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", SPECS, ids=lambda hook: hook.__name__)
def test_every_hook_has_a_heading_with_its_exact_arguments(hook: object) -> None:
    assert callable(hook)
    arguments = ", ".join(inspect.signature(hook).parameters)
    assert f"### `{hook.__name__}({arguments})`\n" in PLUGINS  # type: ignore[attr-defined]


def test_no_heading_names_a_hook_that_does_not_exist() -> None:
    documented = {
        line.split("`")[1].partition("(")[0] for line in PLUGINS.splitlines() if line.startswith("### `braid_")
    }
    assert documented == {hook.__name__ for hook in SPECS}


@pytest.mark.parametrize("kind", GROUPS)
def test_every_group_is_in_the_table(kind: str) -> None:
    base = f"`{BASES[kind].__name__}`" if kind in BASES else "–"
    assert f"| `{GROUPS[kind]}` | {base} |" in PLUGINS


@pytest.mark.parametrize("switch", [DISABLE, ALLOW, "-p no:"])
def test_every_switch_is_explained(switch: str) -> None:
    assert f"| `{switch}" in PLUGINS or f"| `braid {switch}" in PLUGINS
