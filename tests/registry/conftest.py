"""Fake distributions: folders as pip would leave them, on a temporary ``sys.path`` entry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ORACLE = """
from braid_core.registry.spec import OracleSpec

class {cls}(OracleSpec):
    type: str = "{name}"
    neighbours: int = 5

    def build(self, space, device):
        raise NotImplementedError
"""


@dataclass(frozen=True)
class Site:
    """A folder of fake installs, first on ``sys.path``."""

    folder: Path

    def install(
        self,
        name: str,
        entries: Mapping[str, Mapping[str, str]] | str,
        *,
        version: str = "1.0",
        modules: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
        form: str = "dist-info",
    ) -> Path:
        """Write the metadata and the modules of one distribution, and return its metadata folder."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.{form}"
        info.mkdir(parents=True)
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
        text = entries if isinstance(entries, str) else _ini(entries)
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        for module, source in (modules or {}).items():
            (self.folder / f"{module}.py").write_text(source)
        return info

    def oracle(self, distribution: str, name: str, **options: object) -> str:
        """Install a distribution with one working oracle ``name``; returns its module."""
        module = f"{distribution.replace('-', '_')}_module"
        entries = {"braid.oracles": {name: f"{module}:Spec"}}
        source = ORACLE.format(cls="Spec", name=name)
        self.install(distribution, entries, modules={module: source}, **options)  # type: ignore[arg-type]
        return module

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with this folder first on its path."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), **environment}
        return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=120)

    def braid(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line with this folder first on its path."""
        return self.python("-m", "braid_core.cli", *arguments, **environment)


def _ini(entries: Mapping[str, Mapping[str, str]]) -> str:
    groups = (
        [f"[{group}]", *(f"{name} = {value}" for name, value in items.items())] for group, items in entries.items()
    )
    return "\n".join(line for group in groups for line in [*group, ""])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("BRAID_DISABLE", raising=False)
    monkeypatch.delenv("BRAID_ALLOW", raising=False)
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
