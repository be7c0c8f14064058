"""Decides which of the installed plugins a name may mean: switches, reserved names, twins and newer APIs.

``BRAID_DISABLE`` switches plugins off; ``BRAID_ALLOW``, if set, switches all foreign ones off but those it lists. Both
hold a comma-separated list of ``NAME``, ``KIND:NAME`` or ``DISTRIBUTION:NAME``. The command line's ``-p no:NAME`` adds
to ``BRAID_DISABLE``, so that worker processes follow it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from braid_core.registry.discovery import API, SHIPPED, Catalogue, Plugin, normalised

OK = "ok"
SHADOWED = "shadowed"  # a foreign plugin with a shipped name: reachable only as "distribution:name"
CONFLICT = "conflict"  # two foreign plugins with one name: each reachable only as "distribution:name"
DISABLED = "disabled"
TOO_NEW = "too new"

DISABLE = "BRAID_DISABLE"
ALLOW = "BRAID_ALLOW"


def state(plugin: Plugin, catalogue: Catalogue) -> str:
    """What the bare name of ``plugin`` comes to among all that is installed."""
    if plugin.api > API:
        return TOO_NEW
    if switched_off(plugin):
        return DISABLED
    if plugin.kind == "hook" or plugin.distribution == SHIPPED:
        return OK  # hooks all run; nobody chooses one by its name
    twins = [twin for twin in catalogue.plugins if _twins(plugin, twin)]
    if any(twin.distribution == SHIPPED for twin in twins):
        return SHADOWED
    return CONFLICT if any(not switched_off(twin) for twin in twins) else OK


def switched_off(plugin: Plugin) -> str:
    """The environment variable that keeps ``plugin`` from being used; empty if none does."""
    if _listed(plugin, os.environ.get(DISABLE, "")):
        return DISABLE
    allowed = os.environ.get(ALLOW)
    if allowed is None or plugin.distribution == SHIPPED or _listed(plugin, allowed):
        return ""
    return ALLOW


@contextmanager
def without(names: Iterable[str]) -> Iterator[None]:
    """Switches off ``names`` for a while, here and in the processes that are started meanwhile."""
    before = os.environ.get(DISABLE)
    os.environ[DISABLE] = ",".join([before or "", *names])
    try:
        yield
    finally:
        if before is None:
            del os.environ[DISABLE]
        else:
            os.environ[DISABLE] = before


def matches(plugin: Plugin, name: str) -> bool:
    """Whether ``name`` (bare, or qualified by the distribution in any spelling) means ``plugin``."""
    owner, colon, rest = name.partition(":")
    if plugin.name == name:
        return True
    return bool(colon) and (plugin.distribution, plugin.name) == (normalised(owner), rest)


def _listed(plugin: Plugin, names: str) -> bool:
    stripped = (name.strip() for name in names.split(","))
    return any(matches(plugin, name) or name == f"{plugin.kind}:{plugin.name}" for name in stripped if name)


def _twins(plugin: Plugin, other: Plugin) -> bool:
    same = (plugin.kind, plugin.name) == (other.kind, other.name) and other.api <= API
    return same and plugin.distribution != other.distribution
