"""What starting up costs: which modules are imported, and how much time passes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import pytest

from braid_core.registry.discovery import SHIPPED, scan
from braid_core.registry.spec import BASES

BUDGET = 3.0  # times a bare `python -c pass`
ROUNDS = 21

LOADED = """
import sys
{call}
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(*sorted(name for name in loaded if name.startswith("braid_") or name in ("torch", "pydantic")))
"""
SHIPPED_SPECS = [(p.kind, p.name, p.module) for p in scan().plugins if p.distribution == SHIPPED and p.kind in BASES]


def loaded(call: str) -> set[str]:
    """Our packages, torch and pydantic, as far as a fresh process that runs ``call`` has imported them."""
    command = [sys.executable, "-c", LOADED.format(call=call)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "argv", [["--help"], [], ["plugins", "list"], ["plugins", "list", "--json"], ["plugins", "-h"]]
)
def test_listing_imports_no_plugin_and_nothing_heavy(argv: list[str]) -> None:
    assert loaded(f"from braid_core.cli import main; main({argv})") == {"braid_core"}


@pytest.mark.parametrize(("kind", "name", "module"), SHIPPED_SPECS)
def test_naming_a_plugin_imports_it_alone_and_no_torch(kind: str, name: str, module: str) -> None:
    call = f"from braid_core.registry.resolve import spec_class; spec_class({kind!r}, {name!r})"
    assert loaded(call) == {"braid_core", "pydantic", module.partition(".")[0]}


def test_the_list_costs_at_most_three_bare_pythons() -> None:
    """The median over interleaved runs, so that both sides see the same noise; the best of three attempts.

    Byte code is cached on both sides, as it is for any installed package.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ratios: list[float] = []
    while len(ratios) < 3 and min(ratios, default=BUDGET + 1) > BUDGET:
        ratios.append(_ratio(environment))
        print(f"braid plugins list: {ratios[-1]:.2f} × python -c pass (budget {BUDGET})")
    assert min(ratios) <= BUDGET, f"measured {ratios}"


def _ratio(environment: dict[str, str]) -> float:
    commands = {"bare": ["-c", "pass"], "list": ["-m", "braid_core.cli", "plugins", "list"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], env=environment, capture_output=True, check=True, timeout=60)
            seconds[name].append(time.perf_counter() - start)
    return statistics.median(seconds["list"]) / statistics.median(seconds["bare"])
