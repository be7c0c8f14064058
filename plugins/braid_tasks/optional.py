"""Packages that only one task needs, and that not everyone has installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from braid_core.errors import PluginError


def optional(module: str, package: str, task: str) -> ModuleType:
    """The ``module`` of a ``package``; where it is missing, a :class:`PluginError` says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise PluginError(
            f"the task {task!r} needs the package {package}, which is not installed",
            where=f"task {task!r}",
            why=str(error),
            fix=f"pip install {package}",
        ) from error
