"""Executor ``local``: cells of a grid in processes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braid_core.registry.spec import ExecutorSpec

if TYPE_CHECKING:
    from braid_local.executor import LocalExecutor


class LocalSpec(ExecutorSpec):
    """Worker processes on this machine, one for each of the ``jobs``; one that dies costs its cell and no other."""

    type: str = "local"

    def build(self) -> LocalExecutor:
        from braid_local.executor import LocalExecutor

        return LocalExecutor(self.jobs)
