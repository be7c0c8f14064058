"""One run: a spec → its stages, copied into a folder that is complete in itself → the truth, once → results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from braid_core.errors import DataError
from braid_core.experiment.calibration import with_scale
from braid_core.experiment.manifest import manifest, pick_device
from braid_core.experiment.naturalness import Nature
from braid_core.experiment.pipeline import Pipeline
from braid_core.experiment.promise import promised
from braid_core.experiment.regret import regret
from braid_core.experiment.results import design_table, finite, results
from braid_core.experiment.selection import automatic as chooses_budget
from braid_core.experiment.selection import refuse
from braid_core.experiment.spec import RunSpec, parse_spec
from braid_core.experiment.split import OFFLINE, Split
from braid_core.experiment.store import METRICS, Stage, Store
from braid_core.files import make_folder, write_atomic
from braid_core.interfaces import Space, Streams, Task
from braid_core.registry.hooks import hook_manager
from braid_core.tuning.finetune import open_for_tuning
from braid_core.tuning.spec import FineTuningSpec

STORE = ".stages"


def run(
    spec: RunSpec | dict[str, Any],
    out: Path | str = "runs",
    *,
    hooks: Sequence[object] = (),
    command: str | None = None,
) -> Path:
    """Make (or continue) the run that ``spec`` describes and return its folder below ``out``.

    ``hooks`` are objects with hook methods, beside those of installed plugins. Raises ``BraidError`` for what the
    user can mend; stages that were finished before are kept in any case.
    """
    spec = parse_spec(spec)
    with _threads(spec.threads):
        # What is wrong with the spec or the data shows here, before anything is written.
        device, task = pick_device(spec.device), spec.task.build(spec.seed)
        check_parts(spec, task.space, device)
        _refuse_one_group(spec, task)
        if chooses_budget(spec.objective):
            refuse(spec.oracle, task.offline(), Streams(spec.seed))
        record = manifest(spec, task.space, device, command)
        manager = hook_manager(*hooks)

        folder = Path(out) / spec.folder_name
        make_folder(folder)
        pipeline = Pipeline(spec, task, device, Store(Path(out) / STORE, manager, folder))
        record["data"] = task.fingerprint()
        record["hooks"] = sorted(name for name, _ in manager.list_name_plugin() if ":" in name)
        write_atomic(folder / "manifest.json", json.dumps(record, indent=2))
        write_atomic(folder / OFFLINE, pipeline.split.packed(task.space))
        manager.hook.braid_run_started(spec=spec, folder=folder)
        record["seconds"] = _make_stages(pipeline, folder)
        found = _judge(pipeline, folder)
        write_atomic(folder / "manifest.json", json.dumps(record, indent=2))
        manager.hook.braid_run_finished(folder=folder, results=found)
    return folder


def check_parts(spec: RunSpec, space: Space, device: torch.device) -> None:
    """Build oracle, backbone and objective once, unfitted; a bench does so for all of its cells.

    Raises the ``BraidError`` of what cannot be built for designs of ``space``, or cannot be tuned but should be.
    """
    with_scale(spec.oracle, 1.0).build(space, device)
    backbone = spec.backbone.build(space, device)
    spec.objective.build()
    if isinstance(spec.objective, FineTuningSpec):
        open_for_tuning(backbone)


def _refuse_one_group(spec: RunSpec, task: Task) -> None:
    """Raises :class:`DataError` where no design can be held out, naming the column that says so."""
    data, column = task.offline(), getattr(spec.task, "group", None)
    try:
        Split.of(data, spec.holdout, Streams(spec.seed))
    except DataError as error:
        if column is None:
            raise
        where, fix = f"task, group = {column!r}", "name another column, or none: all rows are one group in this one"
        raise DataError(error.what, where=where, why=error.why, fix=fix) from error


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make_stages(pipeline: Pipeline, folder: Path) -> dict[str, float]:
    """Compute or find every stage and copy it into the run folder; returns the seconds that each took."""
    stages = pipeline.stages()
    for name, stage in stages.items():
        _copy(stage, folder / "checkpoints", name)
    metrics = b"".join((stage.folder / METRICS).read_bytes() for stage in stages.values())
    write_atomic(folder / "metrics.jsonl", metrics)
    return {name: stage.seconds for name, stage in stages.items()}


def _judge(pipeline: Pipeline, folder: Path) -> dict[str, Any]:
    """Everything that a method decides has been decided: only now is the truth looked at, and only once."""
    spec, task = pipeline.spec, pipeline.task
    stages = (pipeline.references, pipeline.designs, pipeline.history)
    columns = [column for stage in stages for column in pipeline.load_designs(stage)]
    oracle = pipeline.load_oracle()
    bound = partial(promised, pipeline.promise, c=pipeline.scale)
    table, offline = design_table(columns, task, oracle, pipeline.data, bound)
    delivered = table[table["step"].isna()].drop(columns="step")
    write_atomic(folder / "designs.csv", delivered.to_csv(index=False, float_format="%.9g"))  # float32, exactly
    nature = Nature.of(task, pipeline.load_backbone(), pipeline.streams)
    found = results(table, columns, task, spec, pipeline.data, offline, pipeline.oracle_quality, nature)
    found["selection"] = asdict(pipeline.selected) if pipeline.selected else None
    found["regret"] = regret(oracle, pipeline.data, {f"{c.method}, {c.column}": c.x for c in columns if c.step is None})
    cleaned: dict[str, Any] = finite(found)
    write_atomic(folder / "results.json", json.dumps(cleaned, indent=2, allow_nan=False))
    return cleaned


def _copy(stage: Stage, folder: Path, name: str) -> None:
    """Make the run folder complete in itself: it can be moved, and sampled from, without the store."""
    target = folder / name
    make_folder(target)
    for file in stage.folder.iterdir():
        write_atomic(target / file.name, file.read_bytes())
