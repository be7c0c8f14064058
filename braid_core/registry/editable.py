"""Tells when an editable install has fallen behind its ``pyproject.toml``, whose entry points are read only by pip."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

from braid_core.errors import PluginError
from braid_core.registry.discovery import GROUPS, normalised

Registered = frozenset[tuple[str, str, str]]  # (group, name, value)


class Stale(NamedTuple):
    """An editable install whose entry points are not those of its ``pyproject.toml``."""

    distribution: str
    folder: Path
    missing: Registered  # in pyproject.toml, not installed
    leftover: Registered  # installed, no longer in pyproject.toml

    @property
    def fix(self) -> str:
        return f"re-install it: pip install -e {self.folder}"

    def __str__(self) -> str:
        changes = [f"+ {name} ({group})" for group, name, _ in sorted(self.missing)]
        changes += [f"- {name} ({group})" for group, name, _ in sorted(self.leftover)]
        file = self.folder / "pyproject.toml"
        return f"{file} has changed since {self.distribution} was installed: {', '.join(changes)}"


def stale_installs() -> list[Stale]:
    """Every editable install on ``sys.path`` that has to be repeated; called by the check and to explain a miss."""
    return [found for found in _compared() if isinstance(found, Stale)]


def unreadable_installs() -> list[PluginError]:
    """Why others cannot be compared; called by the check alone, because it is not what a user has asked elsewhere."""
    return [found for found in _compared() if isinstance(found, PluginError)]


def _compared() -> Iterator[Stale | PluginError]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name = normalised(distribution.metadata["Name"] or "")
        if name in seen or distribution.read_text("METADATA") is None:
            continue  # hidden by one earlier on the path, or the egg-info that a source checkout leaves behind
        seen.add(name)
        file = "its direct_url.json"
        try:
            folder = _source(distribution)
            if folder is None:
                continue
            file = str(folder / "pyproject.toml")
            declared, installed = _declared(folder / "pyproject.toml"), _installed(distribution)
        except Exception as error:  # whatever a foreign file holds: each form of it has an error of its own
            yield PluginError(
                f"the editable install {name} cannot be compared with its source",
                where=file,
                why=f"{type(error).__name__}: {error}",
                fix="correct the file, then install it again",
            )
            continue
        if declared != installed:
            yield Stale(name, folder, declared - installed, installed - declared)


def _source(distribution: importlib.metadata.Distribution) -> Path | None:
    """The source folder of an editable install; None for any other (PEP 610), or where it has no pyproject.toml."""
    record = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not record.get("dir_info", {}).get("editable"):
        return None
    folder = Path(unquote(urlparse(record["url"]).path))
    return folder if (folder / "pyproject.toml").is_file() else None


def _declared(file: Path) -> Registered:
    groups = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}).get("entry-points", {})
    return frozenset(
        (group, name, value) for group, entries in groups.items() if _ours(group) for name, value in entries.items()
    )


def _installed(distribution: importlib.metadata.Distribution) -> Registered:
    return frozenset((e.group, e.name, e.value) for e in distribution.entry_points if _ours(e.group))


def _ours(group: str) -> bool:
    return group.startswith(tuple(GROUPS.values()))
