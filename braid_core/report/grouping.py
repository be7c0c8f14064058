"""Runs sorted for a reader: one group a task, methods in the paper's order, one row a method, column and seed.

Runs are averaged over seeds only where everything but the seed agrees; two settings under one label get two names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from braid_core.experiment.compare import ENOUGH
from braid_core.report.reading import Run
from braid_core.report.records import REFERENCES, Row, Stats, TaskFacts

ORDER = (*REFERENCES, "Best-of-N", "DDOM", "Guidance", "STRL", "BRAID-Boot", "BRAID-Bonus", "BRAID")
"""The order of the paper's figures, by how names begin; methods it does not know follow at the end."""
SHARED_SPEC = ("seed", "device", "task", "name", "spec_version", "folder")
"""Fields of a run's spec that do not tell two settings of a method apart."""


@dataclass(frozen=True)
class Entry:
    """One row of one seed; ``method`` is the name under which it is reported."""

    method: str
    column: str
    seed: int
    row: Row

    @property
    def asked(self) -> int:
        """How many designs were wanted."""
        return self.row.n + self.row.shortfall

    @property
    def complete(self) -> bool:
        """Whether enough different designs were delivered for their quantiles to compare with those of others."""
        unique = 1.0 if self.column == "selected" or self.row.unique is None else self.row.unique
        return self.row.n * unique >= ENOUGH * self.asked


@dataclass(frozen=True, eq=False)
class Member:
    """A run of a group and the name that each of its methods has there."""

    run: Run
    names: Mapping[str, str]

    @property
    def method(self) -> str:
        """The reported name of the run's own method."""
        return self.names[self.run.results.label]

    @property
    def seed(self) -> int:
        return self.run.results.seed


@dataclass(frozen=True, eq=False)
class Group:
    """All runs of one task."""

    title: str
    task: TaskFacts
    members: tuple[Member, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The task's registered name, without the distribution that a qualified name starts with."""
        return str(self.members[0].run.manifest.spec.get("task", {}).get("type", "")).rpartition(":")[2]

    @property
    def methods(self) -> list[str]:
        """Every reported method, in the paper's order; where that leaves it open, in the order of the runs."""
        return sorted(dict.fromkeys(entry.method for entry in self.entries), key=rank)

    @property
    def own(self) -> list[str]:
        """The methods under study: all but the reference rows."""
        return [method for method in self.methods if not is_reference(method)]

    @property
    def seeds(self) -> list[int]:
        return sorted({member.seed for member in self.members})

    @property
    def has_truth(self) -> bool:
        return self.task.has_truth and any(entry.row.truth for entry in self.entries)

    @property
    def rescaled(self) -> bool:
        """Whether the task has a published scale of its own, so that ``normalised`` differs from ``truth``."""
        pairs = [(e.row.truth, e.row.normalised) for e in self.entries if e.row.truth and e.row.normalised]
        return any(not _close(truth.mean, scaled.mean) for truth, scaled in pairs)

    def select(self, method: str, column: str) -> list[Entry]:
        """The rows of ``method`` in ``column``, one a seed."""
        return [entry for entry in self.entries if (entry.method, entry.column) == (method, column)]

    def column_of(self, method: str) -> str:
        """The column to judge ``method`` by: ``selected`` where it has one."""
        return "selected" if self.select(method, "selected") else "raw"

    def judged(self, method: str) -> list[Entry]:
        """The rows of ``method`` in the column that it is judged by, one a seed."""
        return self.select(method, self.column_of(method))

    def complete(self, method: str) -> bool:
        """Whether ``method`` delivered enough designs in every seed to be compared."""
        return is_reference(method) or all(entry.complete for entry in self.judged(method))

    def paired(self) -> Group:
        """The same with only the seeds that every method under study has, if there are any: means then compare."""
        having = [{entry.seed for entry in self.entries if entry.method == method} for method in self.own]
        shared = set.intersection(*having) if having else set()
        if not shared or shared == set(self.seeds):
            return self
        members = tuple(member for member in self.members if member.seed in shared)
        return replace(self, members=members, entries=tuple(e for e in self.entries if e.seed in shared))

    def designs(self) -> pd.DataFrame:
        """The delivered designs of every run under reported names, with a ``seed`` column; references once a seed."""
        tables = []
        seen: set[tuple[str, int]] = set()
        for member in self.members:
            table = member.run.designs.assign(seed=member.seed)
            table["method"] = table["method"].map(lambda name, names=member.names: names.get(name, name))
            tables.append(table.loc[[(name, member.seed) not in seen for name in table["method"]]])
            seen |= {(name, member.seed) for name in table["method"] if is_reference(name)}
        return pd.concat(tables, ignore_index=True)


def is_reference(method: str) -> bool:
    """Whether ``method`` is Random, Offline or Pretrained, also when its name was made longer."""
    return method.split(" (")[0] in REFERENCES


def rank(method: str) -> int:
    """A sort key that puts methods in the paper's order."""
    known = (k for k, name in enumerate(ORDER) if method.casefold().startswith(name.casefold()))
    return next(known, len(ORDER))


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """``runs`` by task, in order of first appearance; the same task with other options is another group."""
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([run.results.task.name, run.manifest.spec.get("task")], sort_keys=True, default=str)
        by_task.setdefault(key, []).append(run)
    specs = [flatten(members[0].manifest.spec.get("task", {})) for members in by_task.values()]
    names = [members[0].results.task.name for members in by_task.values()]
    titles = told_apart(list(zip(names, specs, strict=True)))
    return [group_of(title, members) for title, members in zip(titles, by_task.values(), strict=True)]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def group_of(title: str, runs: list[Run], *, compared: bool = True) -> Group:
    """``runs`` of one task under ``title``.

    ``compared``: of reference rows that several runs have, figures that differ are blanked; else the first run's stay.
    """
    members, notes = _once_a_seed(_members(runs))
    entries: dict[tuple[str, str, int], Entry] = {}
    blanked = False
    for member in members:
        for row in member.run.results.rows:
            key = (member.names[row.method], row.column, member.seed)
            if key in entries and not compared:
                continue
            if key in entries:
                row, differs = _agreed(entries[key].row, row)
                blanked |= differs
            entries[key] = Entry(*key, row)
    if blanked:
        notes.append(
            "Figures of reference rows that depend on the oracle, and so differ between these runs, are left blank."
        )
    notes += [f"{member.run.folder.name}: {note}" for member in members for note in member.run.notes]
    return Group(title, runs[0].results.task, tuple(members), tuple(entries.values()), tuple(notes))


def _members(runs: list[Run]) -> list[Member]:
    methods = list(dict.fromkeys(row.method for run in runs for row in run.results.rows))
    names: list[dict[str, str]] = [{run.results.label: run.results.label} for run in runs]
    for method in methods:
        having = [k for k, run in enumerate(runs) if any(row.method == method for row in run.results.rows)]
        told = told_apart([(method, _setting(runs[k], method)) for k in having])
        for k, name in zip(having, told, strict=True):
            names[k][method] = name
    return [Member(run, name) for run, name in zip(runs, names, strict=True)]


def _setting(run: Run, method: str) -> dict[str, Any]:
    """What determines ``method``'s rows in ``run``, apart from the task and the seed."""
    if method == "Pretrained":
        return flatten(run.manifest.spec.get("backbone", {}))
    if method in REFERENCES:
        return {}
    return flatten({key: value for key, value in run.manifest.spec.items() if key not in SHARED_SPEC})


def told_apart(named: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Each name, with the fields that differ added where one name stands for several settings."""
    names = []
    given: dict[tuple[str, str], str] = {}
    for name, setting in named:
        rivals = [other for same, other in named if same == name]
        keys = [key for key in dict.fromkeys(k for other in rivals for k in other) if _varies(key, rivals)]
        given_here = [key for key in keys if setting.get(key) is not None] or keys
        shown = ", ".join(f"{key.removeprefix('objective.')}={setting.get(key)}" for key in given_here[:3])
        long = f"{name} ({shown})" if keys else name
        identity = (name, json.dumps([setting.get(key) for key in keys], default=str))
        if identity not in given:
            taken = sum(other.split(" #")[0] == long for other in given.values())
            given[identity] = f"{long} #{taken + 1}" if taken else long
        names.append(given[identity])
    return names


def _varies(key: str, settings: Iterable[Mapping[str, Any]]) -> bool:
    return len({json.dumps(setting.get(key), default=str) for setting in settings}) > 1


def _once_a_seed(members: list[Member]) -> tuple[list[Member], list[str]]:
    """The newest run of every method and seed, so that a repeated run does not count as a second seed."""
    newest: dict[tuple[str, int], Member] = {}
    for member in sorted(members, key=lambda member: str(member.run.manifest.created)):
        newest[member.method, member.seed] = member
    kept = [member for member in members if newest[member.method, member.seed] is member]
    dropped = [member.run.folder.name for member in members if newest[member.method, member.seed] is not member]
    return kept, [f"{name} repeats the spec and seed of a newer run and was left out." for name in dropped]


def _agreed(first: Row, second: Row) -> tuple[Row, bool]:
    """``first`` without the figures on which ``second`` disagrees, and whether there were any."""
    update: dict[str, None] = {}
    for field in Row.model_fields:
        one, other = getattr(first, field), getattr(second, field)
        if isinstance(one, Stats) and isinstance(other, Stats):
            if not all(_close(getattr(one, q), getattr(other, q)) for q in Stats.model_fields):
                update[field] = None
        elif isinstance(one, float) and isinstance(other, float) and not _close(one, other):
            update[field] = None
    return first.model_copy(update=update), bool(update)


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
