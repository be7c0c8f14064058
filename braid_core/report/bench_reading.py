"""A bench's folder as groups of runs under its labels: from ``bench.json`` and ``cells/``, and ``runs/`` if there.

The small files hold every figure; single designs and the curves of batches come from the run folders, which stay where
the bench was computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from braid_core.errors import StoreError
from braid_core.experiment.bench_spec import CELLS, MANIFEST, RUNS
from braid_core.report.grouping import Group, group_of
from braid_core.report.reading import DESIGN_COLUMNS, Run, read_run, record
from braid_core.report.records import BenchManifest, CellFile, Failure, Labels, Manifest, Results

SHOWN = 6
"""Cells of a long list that are named; `braid bench --dry-run` names all."""


@dataclass(frozen=True, eq=False)
class Part:
    """A task of a bench, with one backbone."""

    task: str
    backbone: str
    group: Group


@dataclass(frozen=True, eq=False)
class BenchResults:
    """What a bench's folder holds. ``failed``: cells with their errors; ``missing``: sentences about the others.

    ``without_designs``: how many finished cells have no run folder here.
    """

    folder: Path
    manifest: BenchManifest
    parts: tuple[Part, ...]
    failed: tuple[tuple[Labels, Failure], ...]
    missing: tuple[str, ...]
    without_designs: int

    @property
    def groups(self) -> list[Group]:
        return [part.group for part in self.parts]

    @property
    def runs(self) -> list[Run]:
        """Every finished cell."""
        return [member.run for group in self.groups for member in group.members]

    def methods(self, objective: str) -> list[str]:
        """The labels of the methods with this objective, in the spec's order."""
        types = self._types("objective")
        return [label for label, name in types.items() if name.rpartition(":")[2] == objective]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every ``braid`` method with the ``strl`` methods of the same oracle, or with all, if there is none."""
        oracle, pairs = self._types("oracle"), []
        for braid in self.methods("braid"):
            every = self.methods("strl")
            pairs += [(braid, b) for b in [b for b in every if oracle[b] == oracle[braid]] or every]
        return pairs

    def _types(self, part: str) -> dict[str, str]:
        given = self.manifest.spec.get("methods", {})
        return {label: str(method.get(part, {}).get("type")) for label, method in given.items()}

    def table(self) -> pd.DataFrame:
        """What ``experiment.compare`` needs of ``results.csv``: the median true reward of each row, and of how many."""
        rows = [
            {"task": part.task, "backbone": part.backbone, "method": entry.method, "column": entry.column}
            | {"seed": entry.seed, "truth_q50": entry.row.truth.q50 if entry.row.truth else None}
            | {name: getattr(entry.row, name) for name in ("n", "shortfall", "missing")}
            | {"offline_std": deviations[entry.seed]}
            for part in self.parts
            for deviations in [{member.seed: member.run.results.task.offline.std for member in part.group.members}]
            for entry in part.group.entries
        ]
        labels, counts = ["task", "backbone", "method", "column", "seed"], ["n", "shortfall", "missing"]
        table = pd.DataFrame(rows, columns=[*labels, "truth_q50", "offline_std", *counts])
        return table.astype({"truth_q50": float, "offline_std": float})


def is_bench(folder: Path) -> bool:
    """Whether ``folder`` is a bench's."""
    return (folder / MANIFEST).is_file()


def read_bench(folder: Path) -> BenchResults:
    """The bench in ``folder``, finished or not. Raises ``StoreError`` where ``bench.json`` is missing or damaged."""
    if not is_bench(folder):
        raise StoreError(
            "this folder is no bench",
            where=str(folder),
            why=f"it has no {MANIFEST}",
            fix="give the folder that `braid bench` printed",
        )
    manifest = record(BenchManifest, folder / MANIFEST)
    cells: list[tuple[Labels, Run]] = []
    failed: list[tuple[Labels, Failure]] = []
    absent: dict[str, list[str]] = {}
    for name, key in manifest.cells.items():
        path = folder / CELLS / f"{name}.json"
        found = _head(path, key)
        if isinstance(found, str):
            absent.setdefault(found, []).append(name)
        elif found.error:
            failed.append((found.cell, found.error))
        else:
            cells.append((found.cell, _run(folder, path)))
    missing = tuple(f"{why}: {_some(names)}" for why, names in absent.items())
    without = sum(run.designs.empty for _, run in cells)
    return BenchResults(folder, manifest, tuple(_parts(cells)), tuple(failed), missing, without)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:SHOWN])} and {rest} more"


def _head(path: Path, key: str) -> CellFile | str:
    """What a cell's file says first, or why it does not count."""
    if not path.is_file():
        return "Not computed yet"
    try:
        found = record(CellFile, path)
    except StoreError as error:
        return f"Unreadable ({' '.join(str(error.why).split())})"
    return found if found.key == key else "Outdated, because the spec, the data or the code has changed since"


def _run(folder: Path, path: Path) -> Run:
    """A finished cell, with designs and curves where its run folder is there and whole."""
    results = record(Results, path)
    manifest = record(Manifest, path).model_copy(update={"name": path.stem})
    home = folder / RUNS / path.stem
    designs, metrics = (pd.DataFrame(columns=list(names)) for names in (DESIGN_COLUMNS, ("stage", "step")))
    bare = Run(home, manifest, results, designs, metrics)
    if not home.is_dir():
        return bare
    try:
        made = read_run(home)
    except StoreError as error:
        return replace(bare, notes=(f"its run folder is left out, because {error.what}",))
    if made.manifest.created != manifest.created:
        return replace(bare, notes=("its run folder is left out, because another run lies in it",))
    designs = made.designs.assign(method=made.designs["method"].replace(made.results.label, results.label))
    return replace(bare, designs=designs, metrics=made.metrics, notes=made.notes)


def _parts(cells: Sequence[tuple[Labels, Run]]) -> list[Part]:
    by_part: dict[tuple[str, str], list[Run]] = {}
    for labels, run in cells:
        by_part.setdefault((labels.task, labels.backbone), []).append(run)
    backbones = Counter(task for task, _ in by_part)
    return [
        Part(
            task,
            backbone,
            _with_note(group_of(task if backbones[task] == 1 else f"{task}, {backbone}", runs, compared=False)),
        )
        for (task, backbone), runs in by_part.items()
    ]


def _with_note(group: Group) -> Group:
    note = (
        "Predictions, selections and scores of Random and Pretrained are, seed by seed, by the oracle of the first "
        "method that has finished."
    )
    return replace(group, notes=(note, *group.notes))
