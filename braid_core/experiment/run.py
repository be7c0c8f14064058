"""One run: task → calibration → oracle → backbone → objective → designs → truth, once → results.

Each stage is stored under the hash of all that determines it, so that methods share one pretrained backbone, an
interrupted run goes on where it stopped, and a changed field reruns only what depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from braid_core.errors import DataError
from braid_core.experiment.calibration import DELIVERED, Calibration, calibrate, with_scale
from braid_core.experiment.designs import Designs, Drawing, Valid, from_state, to_state
from braid_core.experiment.manifest import (
    LEARNING,
    code_hash,
    manifest,
    pick_device,
    plugins_of,
    source_hash,
    versions,
)
from braid_core.experiment.models import load_backbone, load_oracle, load_sampler
from braid_core.experiment.naturalness import Nature
from braid_core.experiment.promise import Beliefs, Promise, beliefs, judge, promised
from braid_core.experiment.regret import regret
from braid_core.experiment.results import design_table, finite, results
from braid_core.experiment.selection import Selection, refuse, select
from braid_core.experiment.selection import automatic as chooses_budget
from braid_core.experiment.spec import RunSpec, parse_spec
from braid_core.experiment.split import OFFLINE, Split
from braid_core.experiment.store import METRICS, Stage, Store
from braid_core.files import make_folder, write_atomic
from braid_core.interfaces import (
    Backbone,
    LabelledDesigns,
    Log,
    Oracle,
    Problem,
    Sampler,
    State,
    Streams,
    Task,
    Trajectory,
)
from braid_core.registry.discovery import SHIPPED
from braid_core.registry.hooks import hook_manager
from braid_core.registry.spec import ObjectiveSpec
from braid_core.tuning.finetune import open_for_tuning
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import FineTuningSpec

STORE = ".stages"
STAGES = ("calibration", "oracle", "backbone", "selection", "objective", "references", "designs", "history")


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
        with_scale(spec.oracle, 1.0).build(task.space, device)  # what cannot be built for this space says so
        backbone = spec.backbone.build(task.space, device)
        if isinstance(spec.objective, FineTuningSpec):
            open_for_tuning(backbone)  # and so does a chain that cannot be tuned
        _refuse_one_group(spec, task)
        if chooses_budget(spec.objective):  # and so does a table that is no good to rehearse on
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
    idle = () if chooses_budget(pipeline.spec.objective) else ("selection",)
    _ = pipeline.scale  # a c that cannot be chosen is refused before anything long
    stages = {name: getattr(pipeline, name) for name in STAGES if name not in idle}
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


@dataclass(frozen=True)
class Pipeline:
    """The stages of one run, each computed when it is first asked for."""

    spec: RunSpec
    task: Task
    device: torch.device
    store: Store

    @cached_property
    def streams(self) -> Streams:
        return Streams(self.spec.seed)

    @cached_property
    def data(self) -> LabelledDesigns:
        return self.task.offline().to(self.device)

    @cached_property
    def split(self) -> Split:
        return Split.of(self.task.offline(), self.spec.holdout, self.streams)

    def _inputs(self, kind: str, *upstream: Stage) -> dict[str, Any]:
        """All that determines a stage of ``kind``, beside its upstream stages."""
        plugins, libraries = plugins_of(self.spec), LEARNING if kind == "oracle" else ("torch", SHIPPED)
        return {
            "plugins": {name: plugins[name] for name in ("task", kind)},
            "spec": getattr(self.spec, kind).model_dump(mode="json"),
            "data": self.task.fingerprint(),
            "seed": self.spec.seed,
            "device": self.device.type,
            "versions": versions(libraries),
            "code": code_hash("braid_core", *(type(getattr(self.spec, part)).__module__ for part in ("task", kind))),
            "upstream": [stage.key for stage in upstream],
        }

    @cached_property
    def backbone(self) -> Stage:
        def compute(log: Log) -> State:
            model = self.spec.backbone.build(self.task.space, self.device)
            designs = self.task.unlabelled().to(self.device)
            model.fit(designs, self.streams.get("backbone", self.device), log=log)
            return model.state()

        return self.store.stage("backbone", self._inputs("backbone"), compute)

    @cached_property
    def calibration(self) -> Stage:
        """Rehearsals of the oracle; a later choice of c needs no other ones."""

        def compute(log: Log) -> State:
            known = self.split.training
            return calibrate(self.spec.oracle, known, self.task.space, self.device, self.streams, log).state()

        inputs = {**self._oracle_inputs, "rehearsal": source_hash("calibration", "promise")}
        return self.store.stage("calibration", inputs, compute)

    @cached_property
    def rehearsed(self) -> Calibration:
        return Calibration.from_state(self.calibration.state())

    @cached_property
    def scale(self) -> float:
        """The scale of the oracle's penalty."""
        return self.rehearsed.scale(self.spec.oracle)

    @cached_property
    def promise(self) -> Promise | None:
        """What is said of designs beside the scores that they were found by."""
        return self.rehearsed.promise()

    @cached_property
    def oracle(self) -> Stage:
        """The fitted oracle, whatever its scale, and its beliefs about the designs held out."""

        def compute(log: Log) -> State:
            training, held_out = (part.to(self.device) for part in (self.split.training, self.split.held_out))
            model = with_scale(self.spec.oracle, 1.0).build(self.task.space, self.device)
            model.fit(training, self.streams.get("oracle", self.device), log)
            state, believed = model.state(), State({"y": held_out.y, **beliefs(model, held_out.x).tensors()})
            tensors = state.prefixed("oracle").tensors | believed.prefixed("held_out").tensors
            return State(tensors, state.meta)

        return self.store.stage("oracle", self._oracle_inputs, compute)

    @property
    def _oracle_inputs(self) -> dict[str, Any]:
        spec = with_scale(self.spec.oracle, 1.0).model_dump(mode="json")
        return {**self._inputs("oracle"), "spec": spec, "holdout": self.spec.holdout}

    @property
    def oracle_quality(self) -> dict[str, Any]:
        """The figures of merit on designs held out at random, and of the oracle that saw lower rewards only."""
        held_out = self.oracle.state().under("held_out")
        y, promise, lower = held_out.pop("y"), self.promise, self.rehearsed.lower
        believed = Beliefs(**held_out)
        liked = believed.mean.topk(max(1, round(DELIVERED * len(y)))).indices
        return {
            **judge(believed, y, promise),
            "liked": judge(believed.take(liked), y[liked], promise),
            "c": self.scale,
            "promise": asdict(promise) if promise else None,
            "refused": self.rehearsed.refused,
            "lower": lower.judge() if lower else None,
        }

    @cached_property
    def selection(self) -> Stage:
        """A rehearsal of the method, where its budget of KL is to be chosen."""

        def compute(log: Log) -> State:
            assert isinstance(self.spec.objective, FineTuningSpec)
            oracle, backbone = self.spec.oracle, self.load_backbone()
            # What is valid may be known by a judge that was trained on data set aside: a choice must not ask it.
            drawing = self._drawing(self.task.space.contains)
            return select(self.spec.objective, oracle, self.data, backbone, drawing, self.streams, log).state()

        inputs = {**self._inputs("objective", self.backbone), "draws": self._draws, "oracle": self._inputs("oracle")}
        inputs |= {"rehearsal": source_hash("calibration", "promise", "selection"), "drawing": self._drawing_code}
        return self.store.stage("selection", inputs, compute)

    @cached_property
    def selected(self) -> Selection | None:
        """What the rehearsal found, if there was one."""
        return Selection.from_state(self.selection.state()) if chooses_budget(self.spec.objective) else None

    @cached_property
    def method(self) -> ObjectiveSpec:
        """The objective with all of its options chosen."""
        objective = self.spec.objective
        return objective.model_copy(update={"kl_budget": self.selected.chosen}) if self.selected else objective

    @cached_property
    def objective(self) -> Stage:
        def compute(log: Log) -> State:
            rmse = self.oracle_quality["rmse"]
            problem = Problem(self.data, self.load_backbone(), self.load_oracle(), self.streams, log, rmse)
            return self.method.build().fit(problem).state()

        chosen = {"spec": self.method.model_dump(mode="json"), "scale": self.scale}
        inputs = {**self._inputs("objective", self.backbone, self.oracle), **chosen}
        return self.store.stage("objective", inputs, compute)

    @cached_property
    def references(self) -> Stage:
        """Random and Pretrained, in the same two columns; selected by the conservative score."""

        def compute(log: Log) -> State:
            model, oracle, drawing = self.load_backbone(), self.load_oracle(), self._drawing(self.task.valid)

            def pretrained(n: int, generator: torch.Generator) -> Trajectory:
                with torch.no_grad():
                    path = rollout(model.process, model.predict, n, generator)
                return Trajectory(model.decode(path.x))

            def score(x: torch.Tensor) -> torch.Tensor:
                return oracle.posterior(x).conservative()

            return to_state(
                [
                    *drawing.columns("Random", lambda n, g: Trajectory(self.task.space.random(n, g)), score),
                    *drawing.columns("Pretrained", pretrained, score),
                ]
            )

        inputs = self._drawn(self._draws, self.backbone, self.oracle)
        return self.store.stage("references", {**inputs, "scale": self.scale}, compute)

    @cached_property
    def designs(self) -> Stage:
        """What the method proposes."""

        def compute(log: Log) -> State:
            sampler, oracle, method = self.load_sampler(), self.load_oracle(), self.spec.objective.build()

            def score(x: torch.Tensor) -> torch.Tensor:
                return method.score(oracle.posterior(x))

            drawing = self._drawing(self.task.valid)
            return to_state(drawing.columns(self.spec.label, sampler.sample, score, sampler.designs))

        return self.store.stage("designs", self._drawn(self._draws, self.objective), compute)

    @cached_property
    def history(self) -> Stage:
        """What the method would have proposed at its milestones."""

        def compute(log: Log) -> State:
            return to_state(self._drawing(self.task.valid).history(self.spec.label, self.load_sampler()))

        return self.store.stage("history", self._drawn(self.spec.designs, self.objective), compute)

    @property
    def _drawing_code(self) -> str:
        return source_hash("designs", "metrics", "run")

    def _drawn(self, draws: int | list[int], *upstream: Stage) -> dict[str, Any]:
        """All that determines a stage of designs."""
        return {"draws": draws, "upstream": [stage.key for stage in upstream], "code": self._drawing_code}

    @property
    def _draws(self) -> list[int]:
        return [self.spec.designs, self.spec.pool]

    def _drawing(self, valid: Valid) -> Drawing:
        return Drawing(self.task.space, valid, self.streams, self.device, self.spec.designs, self.spec.pool)

    def load_backbone(self) -> Backbone:
        return load_backbone(self.spec, self.task.space, self.device, self.backbone.state())

    def load_oracle(self) -> Oracle:
        return load_oracle(with_scale(self.spec.oracle, self.scale), self.task.space, self.device, self.oracle.state())

    def load_sampler(self) -> Sampler:
        return load_sampler(
            self.spec.objective.build(), self.load_backbone(), self.load_oracle(), self.device, self.objective.state()
        )

    def load_designs(self, stage: Stage) -> list[Designs]:
        return from_state(stage.state(), self.device)
