"""Verbs that other distributions add (group ``braid.commands``): listed by name, imported only when called."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from braid_core.errors import BraidError, nearest
from braid_core.registry import states
from braid_core.registry.discovery import Plugin, scan

if TYPE_CHECKING:
    import argparse


@runtime_checkable  # for the type checks of the test run
class Verb(Protocol):
    """What a command plugin registers: a module, or an object, with these two functions."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's arguments; called before they are parsed, also for ``braid VERB --help``."""

    def main(self, args: argparse.Namespace) -> int:
        """Run, and return the exit code."""


def foreign_verbs(known: Collection[str]) -> dict[str, str]:
    """The enabled verbs of other distributions, as they have to be typed beside the ``known`` ones: whose they are."""
    catalogue = scan()
    verbs = {}
    for plugin in catalogue.plugins:
        state = states.state(plugin, catalogue) if plugin.kind == "command" else states.DISABLED
        if state in (states.OK, states.CONFLICT):
            clear = state == states.OK and plugin.name not in known
            verbs[plugin.name if clear else plugin.qualified] = plugin.distribution
    return verbs


def load_verb(name: str, known: Collection[str]) -> Verb:
    """Import the verb ``name``; raises :class:`BraidError` if there is none or its plugin cannot be used."""
    if not any(plugin.kind == "command" and states.matches(plugin, name) for plugin in scan().plugins):
        hint = nearest(name, [*known, *foreign_verbs(known)])
        raise BraidError(f"there is no verb {name!r}", fix=f"{hint} (see: braid --help)")
    from braid_core.registry.resolve import find, load

    plugin = find("command", name)
    return as_verb(plugin, load(plugin))


def as_verb(plugin: Plugin, target: object) -> Verb:
    """``target`` as a verb; raises ``PluginError`` where it lacks one of the two functions."""
    from braid_core.registry.resolve import fault

    for function in ("add_arguments", "main"):
        if not callable(getattr(target, function, None)):
            raise fault(plugin, f"{plugin.value} has no function {function!r}", "register a module that has it")
    return cast(Verb, target)
