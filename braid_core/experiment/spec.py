"""The description of one run, and how it is read from Python, TOML and JSON (light: no torch)."""

from __future__ import annotations

import hashlib
import json
import runpy
import tomllib
import traceback
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import Field, PositiveInt, ValidationError, model_validator

from braid_core.errors import BraidError, SpecError, nearest
from braid_core.registry.spec import BackboneField, ObjectiveField, OracleField, Spec, TaskField, explain

SPEC_VERSION = 1
ENCODING = "utf-8-sig"
"""UTF-8, with or without the mark that some editors put in front."""


class RunSpec(Spec):
    """One run: a task, a generative backbone, an uncertainty oracle, an objective and a seed.

    Every component is given by its name, by a mapping with ``type`` and options, or as a spec object.
    """

    task: TaskField
    backbone: BackboneField = Field("masked", validate_default=True)
    oracle: OracleField = Field("bootstrap", validate_default=True)
    objective: ObjectiveField = Field("braid", validate_default=True)
    seed: int = Field(0, ge=0, description="everything random follows from it")
    device: str = Field("auto", description="'auto' (CUDA if there is one), 'cpu', 'cuda' or 'cuda:N'")
    threads: PositiveInt = Field(
        1,
        description="CPU threads; networks as small as the shipped ones gain nothing by more, and lose if busy",
    )
    name: str | None = Field(
        None, pattern=r"^\w[\w.+-]*$", description="of the run folder (default: made of task, method and seed)"
    )
    holdout: float = Field(
        0.1, gt=0, lt=1, description="share of the offline designs that judge the oracle instead of training it"
    )
    designs: PositiveInt = Field(128, description="designs delivered in each column of the report")
    pool: PositiveInt = Field(1024, description="draws among which the selected designs are chosen")

    @model_validator(mode="after")
    def _pool_suffices(self) -> Self:
        if self.pool < self.designs:
            raise ValueError(f"`pool` ({self.pool}) is smaller than `designs` ({self.designs})")
        return self

    @property
    def label(self) -> str:
        """How reports call the method: the objective and the oracle that it trusts."""
        objective, oracle = (part.type.rpartition(":")[2] for part in (self.objective, self.oracle))
        return f"{objective.upper()}-{oracle}"

    @property
    def folder_name(self) -> str:
        """The name of the run folder; without a ``name`` it ends in a hash, so that no other spec writes there."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()[:6]
        parts = (self.task.type, self.objective.type, self.oracle.type, f"seed{self.seed}", digest)
        return self.name or "-".join(part.replace(":", "_") for part in parts)

    def to_json(self) -> str:
        """The spec with every default resolved."""
        return json.dumps(self.to_dict(), indent=2)

    def to_toml(self) -> str:
        """The same as TOML, which has no null: options that are None are left out, so None must be their default."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``parse_spec`` of it is equal to this spec."""
        return self.model_dump(mode="json")


def parse_spec(data: object, where: str = "spec") -> RunSpec:
    """A validated spec from plain data. Raises :class:`SpecError`, or ``PluginError`` for a component."""
    if isinstance(data, RunSpec):
        return data
    if not isinstance(data, dict):
        from braid_core.experiment.bench_spec import BenchSpec  # here, because it is made of run specs

        fix = "`braid bench` makes benches" if isinstance(data, BenchSpec) else None
        raise SpecError("a run spec is a mapping", where=where, why=f"got {type(data).__name__}", fix=fix)
    if "tasks" in data and "task" not in data:
        raise SpecError(
            "this is the spec of a bench, not of a run", where=where, fix="use `braid bench`, or give `task`"
        )
    try:
        return RunSpec.model_validate(data)
    except ValidationError as error:
        raise explain(error, where) from error
    except BraidError as error:  # in a component, which does not know the file it stands in
        place = where if error.where is None else f"{where}: {error.where}"
        raise type(error)(error.what, where=place, why=error.why, fix=error.fix) from error


def load_spec(path: Path) -> RunSpec:
    """Read ``.toml``, ``.json`` or ``.py`` (which must define ``spec``); raises :class:`SpecError`.

    A ``.py`` spec is a program and is executed: run only your own.
    """
    return parse_spec(read_spec(path), str(path))


def read_spec(path: Path) -> object:
    """What the file holds, not validated yet; raises :class:`SpecError`."""
    readers = {".toml": _read_toml, ".json": _read_json, ".py": _read_python}
    if path.suffix not in readers:
        raise SpecError(
            f"cannot read a spec from {path.name!r}",
            where=str(path),
            why=f"its ending is {path.suffix!r}" if path.suffix else "it has no ending",
            fix=nearest(path.suffix, readers),
        )
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*") if p.suffix in readers] if path.parent.is_dir() else []
        raise SpecError("there is no such spec file", where=str(path), fix=nearest(path.name, siblings))
    return readers[path.suffix](path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding=ENCODING)
    except OSError as error:
        raise SpecError("the spec file cannot be read", where=str(path), why=error.strerror or str(error)) from error


def _read_toml(path: Path) -> object:
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError("the spec is not valid TOML", where=str(path), why=str(error)) from error


def _read_json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError("the spec is not valid JSON", where=str(path), why=str(error)) from error


def _read_python(path: Path) -> object:
    try:
        names = runpy.run_path(str(path))
    except ValidationError as error:
        raise explain(error, f"{path}, line {_line(error, path)}") from error
    except BraidError as error:
        place = f"{path}, line {_line(error, path)}" + (f": {error.where}" if error.where else "")
        raise type(error)(error.what, where=place, why=error.why, fix=error.fix) from error
    except (Exception, SystemExit) as error:  # `sys.exit()` would end us too, without a word
        raise SpecError(
            f"the Python spec raised {type(error).__name__}", where=f"{path}, line {_line(error, path)}", why=str(error)
        ) from error
    if "spec" not in names:
        raise SpecError("the Python file defines no `spec`", where=str(path), fix="end it with: spec = RunSpec(...)")
    return names["spec"]


def _line(error: BaseException, path: Path) -> int:
    """The line of the spec file at which ``error`` was raised, or of its last call that led to it."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines or [None])[-1] or 0
