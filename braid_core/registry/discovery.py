"""Finds what is installed, without importing any of it: the one module that reads entry points.

Start-up time decides how: only the standard library and ``entrypoints`` are imported, and a distribution is parsed
only if its ``entry_points.txt`` mentions a group of ours, so that an unreadable one elsewhere cannot get in the way
(``docs/decisions/0001-reading-entry-points.md`` has the measurements).
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from collections.abc import Iterator, Sequence

import entrypoints

API = 1  # of the plugin interfaces; a group with the suffix ``.v2`` holds plugins for API 2
SHIPPED = "braid-design"  # our own distribution, whose names are reserved
GROUPS = {
    "backbone": "braid.backbones",
    "oracle": "braid.oracles",
    "objective": "braid.objectives",
    "task": "braid.tasks",
    "executor": "braid.executors",
    "hook": "braid.hooks",
    "command": "braid.commands",
}
KINDS = {group: kind for kind, group in GROUPS.items()}


class Plugin(namedtuple("Plugin", ["kind", "name", "value", "distribution", "version", "api", "folder"])):
    """One registered entry point. A named tuple, because importing ``dataclasses`` costs more than a bare Python.

    ``value`` is ``"module:attribute"``, ``distribution`` the normalised name (PEP 503), ``folder`` the ``*.dist-info``
    folder (or archive) that registers it.
    """

    __slots__ = ()
    kind: str
    name: str
    value: str
    distribution: str
    version: str
    api: int
    folder: str

    @property
    def qualified(self) -> str:
        """The name that always means this plugin and no other of its kind."""
        return f"{self.distribution}:{self.name}"

    @property
    def module(self) -> str:
        """What is imported when the plugin is named."""
        return self.value.partition("[")[0].partition(":")[0].strip()

    @property
    def attribute(self) -> str:
        """What is taken from the module; empty where the module itself is the plugin."""
        return self.value.partition("[")[0].partition(":")[2].strip()


class Catalogue(namedtuple("Catalogue", ["plugins", "warnings"])):
    """All plugins on ``sys.path`` in order of discovery, and a warning for each folder that did not parse."""

    __slots__ = ()
    plugins: tuple[Plugin, ...]
    warnings: tuple[str, ...]


def normalised(distribution: str) -> str:
    """The name of a distribution in the form in which two spellings are equal (PEP 503)."""
    return "-".join(part for part in distribution.lower().replace("_", "-").replace(".", "-").split("-") if part)


def scan(path: Sequence[str] | None = None) -> Catalogue:
    """Everything registered by the distributions on ``path`` (default ``sys.path``); called whenever a name is needed.

    A distribution counts once: where it is on the path twice, the first one is what Python would import.
    """
    plugins: list[Plugin] = []
    warnings: list[str] = []
    for folder, distribution, version in _distributions(sys.path if path is None else path, warnings):
        for section, entries in _read(folder, distribution, warnings).items():
            kind, api = _kind(section)
            for name, value in entries.items() if kind else ():
                plugins.append(Plugin(kind, name, value, distribution, version, api, folder))
    for folder in _archives(sys.path if path is None else path):
        plugins += _from_archive(folder, {plugin.distribution for plugin in plugins}, warnings)
    return Catalogue(tuple(plugins), tuple(warnings))


def _kind(section: str) -> tuple[str | None, int]:
    """The kind that a group holds and the API version it is for; ``(None, 0)`` for a group that is not ours."""
    group, _, suffix = section.rpartition(".v")
    if group in KINDS and suffix.isdecimal():
        return KINDS[group], int(suffix)
    return (KINDS[section], 1) if section in KINDS else (None, 0)


def _distributions(path: Sequence[str], warnings: list[str]) -> list[tuple[str, str, str]]:
    """The (metadata folder, name, version) of the distributions that Python would import and that have plugins.

    A ``*.dist-info`` beats an ``*.egg-info`` found earlier: the second is what a source checkout leaves behind, and
    the first is what was installed.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder in dict.fromkeys(entry or "." for entry in path):
        for name in _metadata_folders(folder):
            distribution = normalised(name.rpartition(".")[0].partition("-")[0])
            earlier, _ = found.get(distribution, ("", ""))
            if not earlier or (earlier.endswith(".egg-info") and name.endswith(".dist-info")):
                found[distribution] = (f"{folder}{os.sep}{name}", name)
            elif os.path.dirname(earlier) == folder and name.endswith(".dist-info") and _mentions_us(earlier):
                warnings.append(
                    f"{distribution} is installed twice in {folder} ({os.path.basename(earlier)} and {name}): "
                    f"the first is used; uninstall it and install it again"
                )
    return [
        (metadata, distribution, name.rpartition(".")[0].partition("-")[2].partition("-py")[0])
        for distribution, (metadata, name) in found.items()
        if _mentions_us(metadata)
    ]


def _metadata_folders(folder: str) -> list[str]:
    """The metadata folders in one entry of ``sys.path``; ``~…`` is what an interrupted uninstall leaves."""
    if not os.path.isdir(folder) or not os.access(folder, os.R_OK):
        return []
    names = (name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))
    return sorted(name for name in names if not name.startswith("~"))


def _mentions_us(metadata: str) -> bool:
    file = f"{metadata}{os.sep}entry_points.txt"
    if not os.path.isfile(file):
        return False
    with open(file, "rb", buffering=0) as stream:
        return b"[braid." in stream.read()


def _read(metadata: str, distribution: str, warnings: list[str]) -> dict[str, dict[str, str]]:
    """The groups of one ``entry_points.txt``, read strictly; with a warning and leniently where that fails."""
    file = f"{metadata}{os.sep}entry_points.txt"
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
    try:
        with open(file, encoding="utf-8") as stream:
            parser.read_file(stream, source=file)
        # raw: a `%` is a character like any other
        return {section: dict(parser.items(section, raw=True)) for section in parser.sections()}
    except (entrypoints.configparser.Error, ValueError) as error:
        return _lenient(metadata, distribution, error, warnings)


def _lenient(metadata: str, distribution: str, error: Exception, warnings: list[str]) -> dict[str, dict[str, str]]:
    """What ``importlib.metadata`` makes of a file that does not parse; of duplicate keys, the first counts."""
    import importlib.metadata
    from pathlib import Path

    reason = " ".join(str(error).split())
    problem = f"{metadata}{os.sep}entry_points.txt of {distribution} does not parse ({reason})"
    groups: dict[str, dict[str, str]] = {}
    try:
        for entry in importlib.metadata.Distribution.at(Path(metadata)).entry_points:
            groups.setdefault(entry.group, {}).setdefault(entry.name, entry.value)
    except Exception as second:
        # the parser of importlib.metadata has no error type of its own: TypeError, AttributeError, ValueError …
        warnings.append(f"{problem}, nor leniently ({second}): ignored; re-install {distribution} or tell its author")
        return {}
    warnings.append(f"{problem}: read leniently; re-install {distribution} or tell its author")
    return groups


def _archives(path: Sequence[str]) -> Iterator[str]:
    """The entries of ``sys.path`` that are eggs or zip files."""
    for folder in dict.fromkeys(path):
        if folder.rstrip("/\\").endswith(".egg") or os.path.isfile(folder):
            yield folder


def _from_archive(folder: str, known: set[str], warnings: list[str]) -> list[Plugin]:
    """The plugins in one egg or zip file, from distributions that are not ``known`` from a folder."""
    plugins: list[Plugin] = []
    try:
        for parser, distro in entrypoints.iter_files_distros(path=[folder]):
            distribution, version = normalised(distro.name), (distro.version or "").partition("-py")[0]
            for section in () if distribution in known else parser.sections():
                kind, api = _kind(section)
                for name, value in parser.items(section, raw=True) if kind else ():
                    plugins.append(Plugin(kind, name, value, distribution, version, api, folder))
    except (entrypoints.configparser.Error, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        warnings.append(f"{folder} does not parse ({reason}): what follows the error in it is ignored")
    return plugins
