"""What plugins add to a report."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy
from markupsafe import escape

from braid_core.report.reading import Run


def plugin_sections(manager: pluggy.PluginManager, runs: Sequence[Run]) -> list[str]:
    """The HTML fragments of every hook, in the order of registration.

    A hook that fails costs its own section, not the report of a long run: the page names it and says why.
    """
    sections = []
    plugins = {impl.plugin for impl in manager.hook.braid_report_section.get_hookimpls()}
    for plugin in (one for _, one in manager.list_name_plugin() if one in plugins):
        alone = manager.subset_hook_caller("braid_report_section", plugins - {plugin})
        try:
            sections += [str(text) for text in alone(runs=list(runs)) if text]
        except Exception as error:
            sections.append(_failure(str(manager.get_name(plugin)), error))
    return sections


def _failure(name: str, error: Exception) -> str:
    reason = escape(f"{type(error).__name__}: {error}")
    return f'<p class="warning">The section of the plugin {escape(name)} is missing, because it failed: {reason}</p>'
