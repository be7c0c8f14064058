"""BRAID: doubly conservative offline design, with plugins for every part.

``RunSpec`` describes a run, ``run`` makes it, ``open_run`` reopens it to draw more designs; ``BenchSpec`` and ``bench``
compare methods. They are imported when they are first used, so that ``import braid_core`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braid_core.experiment.bench import bench
    from braid_core.experiment.bench_spec import BenchSpec, load_bench
    from braid_core.experiment.reopen import open_run
    from braid_core.experiment.run import run
    from braid_core.experiment.spec import RunSpec, load_spec

__all__ = ["BenchSpec", "RunSpec", "bench", "load_bench", "load_spec", "open_run", "run"]

_HOMES = {
    "BenchSpec": "braid_core.experiment.bench_spec",
    "bench": "braid_core.experiment.bench",
    "load_bench": "braid_core.experiment.bench_spec",
    "RunSpec": "braid_core.experiment.spec",
    "load_spec": "braid_core.experiment.spec",
    "open_run": "braid_core.experiment.reopen",
    "run": "braid_core.experiment.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
