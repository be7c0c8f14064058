"""Behaviour that everyone may add to a run without being named in its spec: the hooks, and who implements them.

A plugin marks functions of a module, or methods of an object, with :data:`hookimpl` and registers that module or
object in the group ``braid.hooks``. An implementation may leave out arguments that it does not need.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from braid_core.errors import BraidError
from braid_core.registry import states
from braid_core.registry.discovery import Plugin, scan
from braid_core.registry.resolve import fault, load
from braid_core.registry.spec import Spec

hookspec = pluggy.HookspecMarker("braid")
hookimpl = pluggy.HookimplMarker("braid")


@hookspec
def braid_run_started(spec: Spec, folder: Path) -> None:
    """Called once before the first stage; ``spec`` is validated, and ``folder`` exists and holds the manifest."""


@hookspec
def braid_step_finished(stage: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Called every few steps of a stage, as often as it reports; ``done`` of ``total`` steps are finished.

    ``stage`` is its name in the run folder; ``figures`` are the numbers that this step measured, by name.
    """


@hookspec
def braid_run_finished(folder: Path, results: dict[str, Any]) -> None:
    """Called once after the last stage, with what ``folder / "results.json"`` holds; not called for a failed run."""


@hookspec
def braid_report_section(runs: list[Any]) -> str | None:
    """Called while a report is written; returns an HTML fragment to append, or None to add nothing.

    ``runs`` are the finished runs that the report covers (``braid_core.report.Run``). The fragment is inserted as it
    is: escape what is not yours. An exception costs this section only; in the other hooks it stops the run.
    """


SPECS = (braid_run_started, braid_step_finished, braid_run_finished, braid_report_section)


def hook_manager(*extra: object) -> pluggy.PluginManager:
    """All enabled hooks of installed plugins, and the in-process objects ``extra``; built once, at the start of a run.

    Raises :class:`PluginError` for a plugin that cannot be imported, names a hook or an argument that does not exist,
    or marks nothing at all; and, when a hook is called, for one that raises something else than a ``BraidError``
    (``braid_report_section`` raises it as it is, and so do the objects ``extra``). Hooks registered for a newer API are
    left out.
    """
    manager = empty_manager()
    catalogue = scan()
    installed = {}
    for plugin in catalogue.plugins:
        if plugin.kind == "hook" and states.state(plugin, catalogue) == states.OK:
            register(manager, plugin, load(plugin))
            installed[plugin.qualified] = plugin
    _blame(manager, installed)
    for implementation in extra:
        manager.register(implementation)
    manager.check_pending()
    return manager


def empty_manager() -> pluggy.PluginManager:
    """A manager that knows the hooks, and nobody who implements them."""
    manager = pluggy.PluginManager("braid")
    manager.add_hookspecs(sys.modules[__name__])
    return manager


def _blame(manager: pluggy.PluginManager, installed: Mapping[str, Plugin]) -> None:
    """From now on, an exception in an ``installed`` plugin's hook names the plugin: nobody has named it in a spec."""

    def after(outcome: pluggy.Result[Any], hook: str, called: Sequence[pluggy.HookImpl], _: Mapping[str, Any]) -> None:
        error = outcome.exception
        if not isinstance(error, Exception) or isinstance(error, BraidError) or hook == braid_report_section.__name__:
            return
        stack = traceback.extract_tb(error.__traceback__)
        running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
        for implementation in called:
            plugin = installed.get(implementation.plugin_name)
            if plugin and getattr(implementation.function, "__code__", None) in running:
                place = f"{stack[-1].filename}, line {stack[-1].lineno}"
                why = f"{hook} raised {type(error).__name__}: {error} ({place})"
                blamed = fault(plugin, why, "correct it, or update it")
                blamed.__cause__ = error
                outcome.force_exception(blamed)

    manager.add_hookcall_monitoring(lambda *_: None, after)


def register(manager: pluggy.PluginManager, plugin: Plugin, implementation: object) -> None:
    """Add the ``implementation`` that ``plugin`` offers; raises :class:`PluginError` where it fits no hook."""
    known = ", ".join(sorted(spec.__name__ for spec in SPECS))
    if isinstance(implementation, type):
        raise fault(plugin, f"{plugin.value} is a class", "register a module or an instance")
    try:
        manager.register(implementation, name=plugin.qualified)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise fault(plugin, f"{reason}; the hooks are {known}", "correct its hooks, or update it") from error
    if not manager.get_hookcallers(implementation):
        raise fault(plugin, f"nothing in {plugin.value} is marked as a hook", "mark its functions with @hookimpl")
