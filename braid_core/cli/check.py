"""Tries every plugin: the action ``braid plugins check``."""

from __future__ import annotations

from braid_core.cli.foreign import as_verb
from braid_core.cli.plugins import shown_state, unknown
from braid_core.errors import PluginError
from braid_core.registry import states
from braid_core.registry.discovery import API, Catalogue, Plugin, scan
from braid_core.registry.editable import stale_installs, unreadable_installs
from braid_core.registry.hooks import empty_manager, register
from braid_core.registry.resolve import as_spec, fault, find, load


def check_plugins(names: list[str]) -> int:
    """Import the plugins called ``names`` (default: all) and print a line for each; 1 if any cannot be used."""
    catalogue = scan()
    broken = 0
    for plugin in _chosen(names, catalogue):
        verdict = _verdict(plugin, catalogue)
        broken += verdict.startswith("BROKEN")
        print(f"{plugin.kind:<10} {plugin.qualified:<32} {verdict}")
    notes = [*catalogue.warnings, *(f"{stale}\n  fix: {stale.fix}" for stale in stale_installs())]
    notes += map(str, unreadable_installs())
    for note in notes:
        print(f"warning: {note}")
    return 1 if broken or notes else 0


def _chosen(names: list[str], catalogue: Catalogue) -> list[Plugin]:
    """The plugins that ``names`` mean; raises :class:`PluginError` for one that means none."""
    for name in names:
        if not any(states.matches(plugin, name) for plugin in catalogue.plugins):
            raise unknown(name, catalogue)
    return [p for p in catalogue.plugins if not names or any(states.matches(p, name) for name in names)]


def _verdict(plugin: Plugin, catalogue: Catalogue) -> str:
    state = shown_state(plugin, catalogue)
    if state == states.DISABLED:
        return f"disabled by {states.switched_off(plugin)}"
    try:
        if state == states.TOO_NEW:
            find(plugin.kind, plugin.qualified)  # raises, unless the distribution serves this API beside the newer one
            return f"for API {plugin.api}; passed over, because {plugin.distribution} has it for API {API} too"
        _try(plugin)
    except PluginError as error:
        return f"BROKEN  {error}"
    return "ok" if state == states.OK else f"ok, but only by this full name ({state})"


def _try(plugin: Plugin) -> None:
    """Load ``plugin`` and see that it is what its group asks for; raises :class:`PluginError` where it is not."""
    target = load(plugin)
    if plugin.kind == "hook":
        register(empty_manager(), plugin, target)
    elif plugin.kind == "command":
        as_verb(plugin, target)
    else:
        field = as_spec(plugin, target).model_fields["type"]
        if field.annotation is not str or field.default != plugin.name:
            why = f"`type` of {plugin.value} does not default to the registered name, or is not a plain str"
            raise fault(plugin, why, f'declare `type: str = "{plugin.name}"`: a spec must name its own class')
