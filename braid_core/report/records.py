"""What the files of a run folder hold, as checked objects; what earlier versions did not write is unknown."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

REFERENCES = ("Random", "Offline", "Pretrained")
"""Rows that every run reports and that say nothing about its own method."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A number that may be unknown; NaN and infinities count as unknown."""


class Record(BaseModel):
    """A frozen piece of a run folder; fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Stats(Record):
    """Mean and quantiles of one quantity over a row's designs."""

    mean: Figure = None
    q0: Figure = None
    q10: Figure = None
    q25: Figure = None
    q50: Figure = None
    q75: Figure = None
    q90: Figure = None
    q100: Figure = None


class Row(Record):
    """One method's designs in one column: ``raw`` draws, or those ``selected`` by the method's own score."""

    method: str
    column: str
    n: int
    unique: Figure = None
    valid: Figure = None
    shortfall: int = 0
    missing: int = 0
    truth: Stats | None = None
    normalised: Stats | None = None
    predicted: Stats | None = None
    conservative: Stats | None = None
    promised: Stats | None = None
    gap: Figure = None
    coverage: Figure = None
    slack: Figure = None
    pinball: Figure = None
    pinball_offset: Figure = None
    truth_std: Figure = None
    evaluator_distance: Figure = None
    novelty: Figure = None
    diversity: Figure = None
    naturalness: Figure = None
    kl: Figure = None


class Milestone(Row):
    """A method's raw column, had its tuning ended after ``step``."""

    step: int


class Offline(Record):
    """The table that methods learned from, in the task's units."""

    n: int
    mean: Figure = None
    std: Figure = None
    max: Figure = None


class TaskFacts(Record):
    """What the results say about the task."""

    name: str
    unit: str = ""
    has_truth: bool
    truth_kind: str | None = None
    truth_note: str | None = None
    notes: tuple[str, ...] = ()
    offline: Offline


class Judged(Record):
    """How an oracle did on offline designs that it had not seen."""

    rmse: Figure = None
    spearman: Figure = None
    nll: Figure = None
    coverage: Figure = None
    width: Figure = None
    slack: Figure = None
    pinball: Figure = None
    n_held_out: int | None = None


class Rehearsed(Record):
    """How an oracle did that saw lower rewards only: on ``better`` designs, and on those that it ``liked`` best."""

    better: Judged | None = None
    liked: Judged | None = None


class PromiseFacts(Record):
    """What is promised of designs: their prediction less ``scale``·(ĝ + ``floor``), ĝ at c = 1."""

    scale: Figure = None
    floor: Figure = None


class OracleFacts(Judged):
    """The oracle of a run, and how it did on the held-out designs that it ``liked`` best; ``refused`` says why nothing
    is promised."""

    liked: Judged | None = None
    c: Figure = None
    promise: PromiseFacts | None = None
    refused: str | None = None
    lower: Rehearsed | None = None


class Regret(Record):
    """What can be estimated of the regret bound, in the task's units: by the name of a law, such as ``STRL-gp, raw``.

    ``penalty``: E[ĝ]. ``offline``: √E_off[ĝ²]. ``concentrability``: C̄, where the oracle has features.
    """

    penalty: dict[str, Figure]
    offline: Figure = None
    concentrability: dict[str, Figure] = Field(default_factory=dict)


class Rung(Record):
    """What a budget of path KL (nats) brought in the rehearsal that chose one; ``n`` are the distinct designs."""

    budget: float
    kl: Figure = None
    n: int
    predicted: Figure = None
    conservative: Figure = None
    judged: Figure = None
    error: Figure = None


class Selection(Record):
    """How ``kl_budget = "auto"`` was resolved; ``judge`` is the judge's rank correlation with unseen rewards."""

    rungs: tuple[Rung, ...] = Field(min_length=1)
    judge: Figure = None
    chosen: float


class Results(Record):
    """``results.json``."""

    task: TaskFacts
    label: str
    seed: int
    rows: tuple[Row, ...] = Field(min_length=1)
    history: tuple[Milestone, ...] = ()
    oracle: OracleFacts | None = None
    regret: Regret | None = None
    selection: Selection | None = None
    kl: Figure = None


class Manifest(Record):
    """``manifest.json``; ``seconds`` are wall-clock per stage; ``memory``, in cells of benches, its peak in MB."""

    name: str = ""
    spec: dict[str, Any]
    space: dict[str, Any] = Field(default_factory=dict)
    plugins: tuple[dict[str, Any], ...] = ()
    versions: dict[str, Any] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    created: Any = None
    seconds: dict[str, Figure] = Field(default_factory=dict)
    memory: dict[str, Figure] = Field(default_factory=dict)
    command: str | None = None


class Labels(Record):
    """What a cell of a bench is called."""

    task: str
    backbone: str
    method: str
    seed: int


class Failure(Record):
    """How a cell ended."""

    what: str
    where: str | None = None
    why: str | None = None
    fix: str | None = None


class CellFile(Record):
    """The head of a cell's file; below it lie the fields of :class:`Manifest` and :class:`Results`, if it finished."""

    cell: Labels
    key: str
    error: Failure | None


class BenchManifest(Record):
    """``bench.json``; ``cells`` are keys by name: what a cell's file must say to be of this very bench."""

    spec: dict[str, Any]
    cells: dict[str, str] = Field(min_length=1)
    plugins: tuple[dict[str, Any], ...] = ()
    versions: dict[str, Any] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)
    created: Any = None
    command: str | None = None
