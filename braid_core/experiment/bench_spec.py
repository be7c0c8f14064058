"""The description of a bench, and how it becomes cells (light: no torch).

A bench is a grid: every method on every task with every backbone and seed. Each of its cells is one run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from braid_core.errors import BraidError, SpecError, nearest
from braid_core.experiment.spec import RunSpec, read_spec
from braid_core.registry.spec import (
    BackboneField,
    ComponentSpec,
    ExecutorField,
    ObjectiveField,
    OracleField,
    Spec,
    TaskField,
    component,
    explain,
)

BENCH_VERSION = 1
CELLS, RUNS, MANIFEST = "cells", "runs", "bench.json"
"""What lies in a bench's folder."""
BETWEEN = "--"
"""Stands between the labels in a cell's name, so no label may hold it."""
LABEL = re.compile(r"\w[\w.+-]*")
REFERENCES = ("Random", "Offline", "Pretrained")
"""Rows that every run reports, whatever its method."""


class Method(Spec):
    """What a label of a bench stands for: an objective, and the oracle that it trusts."""

    objective: ObjectiveField
    oracle: OracleField = Field("bootstrap", validate_default=True)


def _labelled(name: str, make: Callable[[Any], Any]) -> BeforeValidator:
    """A mapping from labels; one component, or a list of them, is labelled by the components' own names."""

    def read(value: Any) -> dict[str, Any]:
        if isinstance(value, str | Spec) or (isinstance(value, Mapping) and isinstance(value.get("type"), str)):
            value = [value]
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = _by_type(name, value)
        if not isinstance(value, Mapping) or not value:
            raise SpecError(f"{name} is empty or no mapping", where=name, fix=f"add [{name}.LABEL]")
        _check_labels(name, list(value))
        return {label: _at(f"{name}.{label}", make, one) for label, one in value.items()}

    return BeforeValidator(read)


def _by_type(name: str, values: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        kind = value if isinstance(value, str) else getattr(value, "type", None)
        kind = value.get("type") if isinstance(value, Mapping) else kind
        if not isinstance(kind, str):
            raise SpecError(f"an entry of {name} has no `type`", where=name, why=f"got {value!r}")
        label = kind.rpartition(":")[2]
        if label in found:
            raise SpecError(
                f"two entries of {name} are called {label!r}",
                where=name,
                fix=f"give each a label of its own, as in [{name}.LABEL]",
            )
        found[label] = value
    return found


def _check_labels(name: str, labels: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        if not isinstance(label, str) or not LABEL.fullmatch(label) or BETWEEN in label:
            why = f"it names files: letters, digits, and _ . + - after the first, without {BETWEEN!r}"
            raise SpecError(f"the label {label!r} cannot be used", where=name, why=why)
        folded = label.casefold()
        if folded in seen:
            why = "some file systems do not tell capitals apart"
            raise SpecError(f"the labels {seen[folded]!r} and {label!r} are the same", where=name, why=why)
        seen[folded] = label
        if name == "methods" and folded in (row.casefold() for row in REFERENCES):
            raise SpecError(f"the label {label!r} is taken", where=name, why="every bench has rows of that name")


def _at(where: str, make: Callable[[Any], Any], value: Any) -> Any:
    """``make(value)``, with its place in the spec where it fails."""
    try:
        return make(value)
    except ValidationError as error:
        raise explain(error, where) from error
    except BraidError as error:
        raise located(error, where) from error


def located(error: BraidError, where: str) -> BraidError:
    """The same error, said of ``where``."""
    place = where if error.where is None else f"{where}: {error.where}"
    return type(error)(error.what, where=place, why=error.why, fix=error.fix)


def _method(value: Any) -> Method:
    if not isinstance(value, Method | Mapping):
        raise SpecError("a method is a mapping with `objective` and `oracle`", why=f"got {value!r}")
    return Method.model_validate(value)


def _component(kind: str) -> Callable[[Any], ComponentSpec]:
    return lambda value: component(kind, value)


def _seeds(value: Any) -> Any:
    """Each form as the longest one: 3 is 0, 1, 2."""
    if isinstance(value, Mapping):
        return {task: _seeds(seeds) for task, seeds in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("give at least one seed")
        return tuple(range(value))
    if isinstance(value, list | tuple) and (not value or len(set(value)) < len(value)):
        raise ValueError("give at least one seed, and each once")
    return value


Seeds = tuple[Annotated[int, Field(ge=0)], ...]


class BenchSpec(Spec):
    """Methods × tasks × backbones × seeds.

    ``tasks`` and ``backbones``: one component, a list of them, or a mapping from labels of your own. The other fields
    are those of a run, for all cells.
    """

    tasks: Annotated[dict[str, TaskField], _labelled("tasks", _component("task"))]
    methods: Annotated[dict[str, Method], _labelled("methods", _method)] = Field(
        description="by the labels that reports use, each with an `objective` and the `oracle` that it trusts"
    )
    backbones: Annotated[dict[str, BackboneField], _labelled("backbones", _component("backbone"))] = Field(
        "masked", validate_default=True
    )
    seeds: Annotated[Seeds | dict[str, Seeds], BeforeValidator(_seeds)] = Field(
        1,
        validate_default=True,
        description="how many, counted from 0, or a list of them; or either of these by the label of each task",
    )
    executor: ExecutorField = Field("local", validate_default=True, description="where cells are computed")
    device: str = Field("auto", description="'auto' (CUDA if there is one), 'cpu', 'cuda' or 'cuda:N'")
    threads: PositiveInt = Field(1, description="CPU threads of each cell")
    holdout: float = Field(0.1, gt=0, lt=1, description="share of the offline designs that judge the oracle")
    designs: PositiveInt = Field(128, description="designs delivered in each column of the report")
    pool: PositiveInt = Field(1024, description="draws among which the selected designs are chosen")

    @model_validator(mode="after")
    def _every_cell_is_a_run_of_its_own(self) -> BenchSpec:
        if isinstance(self.seeds, dict):
            for task in self.tasks:
                if task not in self.seeds:
                    raise SpecError(f"the task {task!r} has no seeds", where="seeds", fix=f"add {task!r} to them")
            for label in self.seeds:
                if label not in self.tasks:
                    fix = nearest(label, self.tasks)
                    raise SpecError(f"seeds of {label!r}, which is no task", where="seeds", fix=fix)
        known: dict[str, str] = {}
        for cell in self.cells:
            twin = known.setdefault(cell.spec.model_copy(update={"name": None}).to_json(), cell.name)
            if twin != cell.name:
                raise SpecError("two cells are the same run", where=f"{twin} and {cell.name}", fix="take one out")
        return self

    def seeds_of(self, task: str) -> Seeds:
        """The seeds of a task."""
        return self.seeds[task] if isinstance(self.seeds, dict) else self.seeds

    @property
    def cells(self) -> list[Cell]:
        """Every cell: by task, backbone, method and seed, each in the spec's order."""
        return [
            self._cell(task, backbone, method, seed)
            for task in self.tasks
            for backbone in self.backbones
            for method in self.methods
            for seed in self.seeds_of(task)
        ]

    def _cell(self, task: str, backbone: str, method: str, seed: int) -> Cell:
        name = BETWEEN.join((task, backbone, method, f"seed{seed}"))
        fields = {field: getattr(self, field) for field in ("device", "threads", "holdout", "designs", "pool")}
        parts = {"task": self.tasks[task], "backbone": self.backbones[backbone], "oracle": self.methods[method].oracle}
        parts["objective"] = self.methods[method].objective
        spec = _at(f"cell {name}", RunSpec.model_validate, {**fields, **parts, "seed": seed, "name": name})
        return Cell(task, backbone, method, seed, spec)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``parse_bench`` of it is equal to this spec."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The spec with every default resolved."""
        return json.dumps(self.to_dict(), indent=2)

    def to_toml(self) -> str:
        """The same as TOML, which has no null: options that are None are left out, so None must be their default."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True)
class Cell:
    """One run of a bench, by its labels."""

    task: str
    backbone: str
    method: str
    seed: int
    spec: RunSpec

    @property
    def name(self) -> str:
        """Of the cell's file and run folder, and in messages."""
        assert self.spec.name is not None
        return self.spec.name

    @property
    def labels(self) -> dict[str, Any]:
        """What identifies its rows in tables."""
        objective, oracle = (part.type.rpartition(":")[2] for part in (self.spec.objective, self.spec.oracle))
        names = {"task": self.task, "backbone": self.backbone, "method": self.method}
        return {**names, "objective": objective, "oracle": oracle, "seed": self.seed}


def parse_bench(data: object, where: str = "bench") -> BenchSpec:
    """A validated bench from plain data. Raises :class:`SpecError`, or ``PluginError`` for a component."""
    if isinstance(data, BenchSpec):
        return data
    if not isinstance(data, dict):
        fix = "`braid run` makes single runs" if isinstance(data, RunSpec) else None
        raise SpecError("a bench spec is a mapping", where=where, why=f"got {type(data).__name__}", fix=fix)
    if "task" in data and "tasks" not in data:
        raise SpecError(
            "this is the spec of a run, not of a bench", where=where, fix="use `braid run`, or give `tasks`"
        )
    return _at(where, BenchSpec.model_validate, data)  # type: ignore[no-any-return]


def load_bench(path: Path) -> BenchSpec:
    """Read ``.toml``, ``.json`` or ``.py`` (which must define ``spec``); raises :class:`SpecError`.

    A ``.py`` spec is a program and is executed: run only your own.
    """
    return parse_bench(read_spec(path), str(path))
