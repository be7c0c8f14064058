"""Benches that take a moment, and executors that stay in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from braid_core.errors import BraidError
from braid_core.experiment.bench_spec import BenchSpec, parse_bench
from braid_core.interfaces import Executor
from braid_core.registry.spec import ExecutorSpec

from .tiny import TINY

ORACLE = TINY["oracle"]
METHODS: dict[str, Any] = {
    "Best-of-N": {"objective": {"type": "best-of-n", "n": 3}, "oracle": ORACLE},
    "STRL": {"objective": {**TINY["objective"], "type": "strl"}, "oracle": ORACLE},
    "BRAID-Boot": {"objective": TINY["objective"], "oracle": ORACLE},
}
FAILING = {"objective": "best-of-n", "oracle": {**ORACLE, "members": 5000}}
"""An oracle with more members than there are designs, as only the data show."""


class Inline(Executor):
    """One cell after the other, here."""

    def map(
        self, function: Callable[[Any], Any], cells: Iterable[Any]
    ) -> Generator[tuple[int, Any | BraidError], None, None]:
        for index, cell in enumerate(cells):
            yield index, function(cell)


class InlineSpec(ExecutorSpec):
    type: str = "inline"

    def build(self) -> Inline:
        return Inline()


def tiny_bench(**changes: Any) -> BenchSpec:
    """Three methods with one oracle on one task and two seeds; ``changes`` replace fields."""
    fields = {
        "tasks": {"motif": TINY["task"]},
        "backbones": {"masked": TINY["backbone"]},
        "methods": METHODS,
        "seeds": 2,
        "executor": InlineSpec(),
        **{name: TINY[name] for name in ("designs", "pool", "device")},
    }
    return parse_bench({**fields, **changes})


def bench_file(folder: Path, name: str = "bench.toml", **changes: Any) -> Path:
    """The tiny bench as a TOML file, computed in worker processes."""
    path = folder / name
    path.write_text(tiny_bench(**{"executor": "local", **changes}).to_toml())
    return path
