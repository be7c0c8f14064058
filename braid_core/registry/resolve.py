"""From a name to a plugin: the one door for shipped and foreign components, and the errors at it.

Naming a plugin imports that one alone. Whatever keeps it from being used is a :class:`PluginError` that says which
distribution is at fault, why, and what to do.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from braid_core.errors import PluginError, nearest
from braid_core.registry import states
from braid_core.registry.discovery import API, GROUPS, SHIPPED, Catalogue, Plugin, normalised, scan
from braid_core.registry.editable import stale_installs
from braid_core.registry.spec import BASES, ComponentSpec

_held: list[Catalogue] = []


@contextmanager
def scanned_once() -> Iterator[None]:
    """Finds plugins in what is installed now, without looking again: for a grid of specs that name the same few."""
    _held.append(scan())
    try:
        yield
    finally:
        _held.pop()


def find(kind: str, name: str) -> Plugin:
    """The installed plugin that ``name`` (or ``"distribution:name"``) means; called for every component of a spec.

    Raises :class:`PluginError` if there is none, if it is disabled or for a newer API, or if several answer.
    """
    if kind not in GROUPS:
        raise PluginError(f"there are no plugins of kind {kind!r}", fix=nearest(kind, GROUPS))
    catalogue = _held[-1] if _held else scan()
    found = [(plugin, states.state(plugin, catalogue)) for plugin in catalogue.plugins if plugin.kind == kind]
    found = [(plugin, state) for plugin, state in found if states.matches(plugin, name)]
    for plugin, state in found:
        qualified = plugin.name != name
        if state == states.OK or (qualified and state in (states.SHADOWED, states.CONFLICT)):
            return plugin
    raise _refusal(kind, name, found, catalogue)


def spec_class(kind: str, name: str) -> type[ComponentSpec]:
    """The spec class of the ``kind`` that ``name`` means; imports this plugin and no other.

    Raises :class:`PluginError` if it cannot be found or imported, or is not a concrete spec of this kind.
    """
    plugin = find(kind, name)
    return as_spec(plugin, load(plugin))


def load(plugin: Plugin) -> object:
    """What ``plugin`` registers: imports its module, once it is known to be made for this version of BRAID."""
    _check_requirement(plugin)
    try:
        target: object = import_module(plugin.module)
    except Exception as error:  # any error at all: it is the plugin's code that runs here
        raise _broken(plugin, error) from error
    for part in filter(None, plugin.attribute.split(".")):
        if not hasattr(target, part):
            public = [name for name in dir(target) if not name.startswith("_")]
            raise fault(
                plugin,
                f"{plugin.module} has no {part!r}; {nearest(part, public)}",
                f"correct the entry point, or re-install {plugin.distribution} if its code has changed since",
            )
        target = getattr(target, part)
    return target


def as_spec(plugin: Plugin, target: object) -> type[ComponentSpec]:
    """``target`` as a spec class that can be instantiated; raises :class:`PluginError` where it is something else."""
    base = BASES[plugin.kind]
    if not (isinstance(target, type) and issubclass(target, ComponentSpec)):
        got = f"not derived from {base.__name__}" if isinstance(target, type) else f"of type {type(target).__name__}"
        raise fault(plugin, f"{plugin.value} is {got}", f"register a class derived from {base.__name__}")
    if not issubclass(target, base):
        kind = getattr(target, "kind", "nothing")
        group = GROUPS.get(kind)
        raise fault(
            plugin,
            f"{plugin.value} describes the kind {kind!r}, but is registered in {GROUPS[plugin.kind]}",
            f"register it in {group}" if group else f"derive it from {base.__name__}",
        )
    if inspect.isabstract(target):
        missing = ", ".join(sorted(target.__abstractmethods__))
        raise fault(plugin, f"{plugin.value} is abstract", f"implement {missing}")
    return target


def fault(plugin: Plugin, why: str, fix: str) -> PluginError:
    """The error for a plugin that is found but cannot be used; for a hook, which nobody named, with the way around."""
    without = f"; to go on without it, set {states.DISABLE}={plugin.qualified} or give -p no:{plugin.qualified}"
    return PluginError(
        f"the {plugin.kind} {plugin.name!r} of {plugin.distribution} {plugin.version} cannot be used",
        where=f"{plugin.value}, registered in {plugin.folder}",
        why=why,
        fix=fix + (without if plugin.kind == "hook" else ""),
    )


def _broken(plugin: Plugin, error: Exception) -> PluginError:
    """Explains a failed import: the plugin's own module is gone, a dependency is missing, or its code fails."""
    why = f"importing {plugin.module} raised {type(error).__name__}: {error}"
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{plugin.module}.".startswith(f"{absent}."):
        return fault(
            plugin,
            f"{why}; the entry point is there, but its module is not",
            f"re-install {plugin.distribution}, or uninstall what is left of it",
        )
    if absent:
        return fault(plugin, why, f"install what provides {absent.partition('.')[0]!r} in this environment")
    return fault(plugin, why, f"update or re-install {plugin.distribution}, or report this to its author")


def _check_requirement(plugin: Plugin) -> None:
    """Raises where the plugin's distribution declares that it needs another version of BRAID than this one."""
    if plugin.distribution == SHIPPED:
        return
    from packaging.requirements import InvalidRequirement, Requirement

    ours = next(iter(importlib.metadata.distributions(name=SHIPPED)), None)
    owner = next(iter(importlib.metadata.distributions(name=plugin.distribution)), None)
    if ours is None or owner is None:
        return  # run from an archive or a bare source tree: there is no metadata to compare
    for text in owner.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise fault(plugin, f"its metadata requires {text!r}: {error}", "correct its pyproject.toml") from error
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        fits = requirement.specifier.contains(ours.version, prereleases=True)
        if normalised(requirement.name) == SHIPPED and applies and not fits:
            raise fault(
                plugin,
                f"it requires {requirement}, and {SHIPPED} {ours.version} is installed",
                f"install a matching pair: pip install -U {SHIPPED} {plugin.distribution}",
            )


def _refusal(kind: str, name: str, found: list[tuple[Plugin, str]], catalogue: Catalogue) -> PluginError:
    """The error for a name that means no usable plugin."""
    conflicting = [plugin for plugin, state in found if state == states.CONFLICT]
    if conflicting:
        names = " or ".join(repr(plugin.qualified) for plugin in conflicting)
        return PluginError(
            f"{len(conflicting)} plugins are called {name!r}",
            where=", ".join(f"{plugin.distribution} {plugin.version}" for plugin in conflicting),
            why=f"each registers the {kind} {name!r}, and neither is shipped with BRAID",
            fix=f"write {names}; or uninstall or disable one of them",
        )
    for plugin, state in found:
        if state == states.DISABLED:
            return _disabled(plugin)
    for plugin, state in found:
        if state == states.TOO_NEW:
            return PluginError(
                f"the {kind} {name!r} is made for a newer BRAID",
                where=f"{plugin.distribution} {plugin.version}",
                why=f"it is registered in {GROUPS[kind]}.v{plugin.api}; this BRAID reads plugins for API {API}",
                fix=f"update BRAID (pip install -U {SHIPPED}), or install an older {plugin.distribution}",
            )
    return _missing(kind, name, catalogue)


def _disabled(plugin: Plugin) -> PluginError:
    variable = states.switched_off(plugin)
    by_list = variable == states.DISABLE
    return PluginError(
        f"the {plugin.kind} {plugin.name!r} is disabled",
        where=f"{plugin.distribution} {plugin.version}",
        why=f"{variable} (or -p no:…) lists it" if by_list else f"{variable} is set and does not list it",
        fix=f"take it off {variable}" if by_list else f"add {plugin.qualified} to {variable}",
    )


def _missing(kind: str, name: str, catalogue: Catalogue) -> PluginError:
    """The error for a name nobody registers: the nearest one, the kind it has elsewhere, or a forgotten install."""
    known = [plugin for plugin in catalogue.plugins if plugin.kind == kind]
    installed = ", ".join(sorted(f"{plugin.name} ({plugin.distribution})" for plugin in known))
    hints = [nearest(name, {plugin.qualified if ":" in name else plugin.name for plugin in known})]
    hints += [
        f"{name!r} is registered as {other.kind} by {other.distribution}"
        for other in catalogue.plugins
        if other.kind != kind and states.matches(other, name)
    ]
    bare = name.rpartition(":")[2]
    for stale in stale_installs():
        if any(group == GROUPS[kind] and entry == bare for group, entry, _ in stale.missing):
            hints.append(f"{stale.folder / 'pyproject.toml'} registers it since; {stale.fix}")
    return PluginError(
        f"there is no {kind} named {name!r}",
        why=f"installed: {installed}" if installed else f"no installed distribution registers any in {GROUPS[kind]}",
        fix=f"{'; '.join(hints)}; otherwise install the package that provides it (see: braid plugins list)",
    )
