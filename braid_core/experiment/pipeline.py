"""The stages of a run: calibration → oracle → backbone → objective → designs, each with its key.

Each stage is stored under the hash of all that determines it, so that methods share one pretrained backbone, an
interrupted run goes on where it stopped, and a changed field reruns only what depends on it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from braid_core.experiment.calibration import DELIVERED, Calibration, calibrate, with_scale
from braid_core.experiment.designs import Designs, Drawing, Valid, from_state, to_state
from braid_core.experiment.manifest import LEARNING, code_hash, plugins_of, source_hash, versions
from braid_core.experiment.models import load_backbone, load_oracle, load_sampler
from braid_core.experiment.promise import Beliefs, Promise, beliefs, judge
from braid_core.experiment.selection import Selection, select
from braid_core.experiment.selection import automatic as chooses_budget
from braid_core.experiment.spec import RunSpec
from braid_core.experiment.split import Split
from braid_core.experiment.store import Stage, Store
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
from braid_core.registry.spec import ObjectiveSpec
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import FineTuningSpec

STAGES = ("calibration", "oracle", "backbone", "selection", "objective", "references", "designs", "history")


@dataclass(frozen=True)
class Pipeline:
    """The stages of one run, each computed when it is first asked for."""

    spec: RunSpec
    task: Task
    device: torch.device
    store: Store

    def stages(self) -> dict[str, Stage]:
        """All stages that the run has, by name, in the order in which they are computed."""
        idle = () if chooses_budget(self.spec.objective) else ("selection",)
        _ = self.scale  # a c that cannot be chosen is refused before anything long
        return {name: getattr(self, name) for name in STAGES if name not in idle}

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
            "stages": source_hash("models", "pipeline", "promise", "split"),
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

        inputs = {**self._oracle_inputs, "rehearsal": source_hash("calibration")}
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
        inputs |= {"rehearsal": source_hash("calibration", "selection"), "drawing": self._drawing_code}
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
        return source_hash("designs", "metrics")

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
