"""The truth is asked once, when nothing can be decided by it any more; methods see the offline side alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from braid_bootstrap.oracle import BootstrapOracle
from braid_tasks.motif import Motif
from torch import Tensor

from braid_core.cli.progress import ProgressDisplay
from braid_core.experiment.pipeline import Pipeline
from braid_core.experiment.run import run
from braid_core.experiment.store import Store
from braid_core.interfaces import LabelledDesigns, Problem, Sampler, Streams, Task
from braid_core.nets.backbone import NetworkBackbone
from braid_core.registry.hooks import empty_manager
from braid_core.tuning.finetune import FineTuning

from .tiny import STAGES, read, stored, tiny


def parts(value: object) -> Iterator[object]:
    """Everything that ``value`` refers to: attributes, items, closures, bound arguments."""
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    yield getattr(value, "__self__", None)
    yield getattr(value, "__func__", None)
    yield getattr(value, "__defaults__", None)
    for cell in getattr(value, "__closure__", None) or ():
        yield cell.cell_contents
    yield getattr(value, "__dict__", None)
    for slot in getattr(type(value), "__slots__", ()):
        yield getattr(value, slot, None)


def reachable(start: object) -> list[object]:
    """All objects within reach of ``start``, but for modules, classes and the numbers in tensors."""
    found: dict[int, object] = {}
    waiting = [start]
    while waiting:
        value = waiting.pop()
        if id(value) in found or isinstance(value, ModuleType | type | str | bytes | int | float | None):
            continue
        found[id(value)] = value
        waiting += list(parts(value))
    return list(found.values())


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """The problems that objectives are given."""
    given: list[Problem] = []
    original = FineTuning.fit

    def fit(self: FineTuning, problem: Problem) -> Sampler:
        given.append(problem)
        return original(self, problem)

    monkeypatch.setattr(FineTuning, "fit", fit)
    return given


def test_the_truth_is_asked_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = Motif.truth

    def truth(self: Motif, x: Tensor) -> Tensor:
        assert [kind for kind in STAGES if not stored(tmp_path, kind)] == [], "the truth was asked too early"
        asked.append(len(x))
        return original(self, x)

    monkeypatch.setattr(Motif, "truth", truth)
    folder = run(tiny(), tmp_path)
    rows = len((folder / "designs.csv").read_text().splitlines()) - 1
    rows += sum(entry["n"] for entry in read(folder)["history"])
    rows += len(tiny().task.build(0).offline())  # whose true rewards are shown beside those of the designs
    assert asked == [rows]
    run(tiny(), tmp_path)
    assert asked == [rows, rows]  # once a run, also when nothing else is to be done


def test_a_task_without_truth_is_never_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motif, "has_truth", False)
    monkeypatch.setattr(Motif, "truth", lambda self, x: pytest.fail("asked for a truth that there is not"))
    run(tiny(), tmp_path)


def test_no_task_is_within_reach_of_an_objective(tmp_path: Path, problems: list[Problem]) -> None:
    with ProgressDisplay() as display:
        run(tiny(), tmp_path, hooks=[display])
    found = reachable(problems[0])
    assert [value for value in found if isinstance(value, Task)] == []
    assert [value for value in found if isinstance(value, Pipeline)] == []
    # The search goes deep: it meets the backbone's weights, the log's hooks and what hangs on them.
    kinds = {type(value).__name__ for value in found}
    assert {"NetworkBackbone", "StackedMLP", "BootstrapOracle", "LabelledDesigns", "ProgressDisplay"} <= kinds


def test_the_search_would_find_a_task() -> None:
    task = tiny().task.build(0)
    hidden: list[Any] = [lambda: task, functools.partial(print, task), {"a": [task.truth]}, (lambda x=task: x)]
    for way in hidden:
        assert any(isinstance(value, Task) for value in reachable(way))


def test_everyone_gets_the_offline_side_alone(
    tmp_path: Path, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretraining: list[Tensor] = []
    training: list[LabelledDesigns] = []
    fit_backbone, fit_oracle = NetworkBackbone.fit, BootstrapOracle.fit

    def backbone(self: NetworkBackbone, designs: Tensor, *rest: Any, **more: Any) -> None:
        assert not rest[1:]
        assert set(more) == {"log"}  # neither conditions nor weights: nothing that was made of rewards
        pretraining.append(designs)
        fit_backbone(self, designs, *rest, **more)

    def oracle(self: BootstrapOracle, data: LabelledDesigns, *rest: Any) -> None:
        training.append(data)
        fit_oracle(self, data, *rest)

    monkeypatch.setattr(NetworkBackbone, "fit", backbone)
    monkeypatch.setattr(BootstrapOracle, "fit", oracle)
    run(tiny(), tmp_path)
    task = tiny().task.build(0)
    offline = set(task.space.decode(task.offline().x))
    assert torch.equal(pretraining[0], task.unlabelled())
    lower, whole, known = training
    assert set(task.space.decode(known.x)) < offline
    assert len(known) == 54
    for part in (lower, whole):  # calibration keeps its hands off the rest
        assert set(task.space.decode(part.x)) < set(task.space.decode(known.x))
    assert float(lower.y.max()) < float(whole.y.max())
    assert torch.equal(problems[0].data.x, task.offline().x)
    assert torch.equal(problems[0].data.y, task.offline().y)


def test_held_out_designs_do_not_train_the_oracle_and_groups_stay_together(tmp_path: Path) -> None:
    # Both strands and the repeats of a molecule, and molecules of one family, are one group.
    lines = ["sequence,score,family"]
    for k, design in enumerate(["AACC", "GGTT", "ACAC", "GTGT", "ACAC", "CCCA", "TTTT", "CACA", "GAGA", "GCGA"]):
        lines.append(f"{design},{k},{'f' if design in ('TTTT', 'CCCA') else design}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = {"type": "table", "path": str(tmp_path / "t.csv"), "group": "family", "symmetries": ["reverse_complement"]}
    for seed in range(20):
        spec = tiny(task=table, seed=seed, holdout=0.4)
        task = spec.task.build(seed)
        pipeline = Pipeline(spec, task, torch.device("cpu"), Store(tmp_path / "s", empty_manager()))
        training, held_out = pipeline.split.training, pipeline.split.held_out
        assert len(training) + len(held_out) == 10
        assert training.group is not None
        assert held_out.group is not None
        assert set(training.group.tolist()).isdisjoint(held_out.group.tolist())
        designs = task.space.decode(held_out.x)
        assert ("AACC" in designs) == ("GGTT" in designs)
        assert designs.count("ACAC") in (0, 2)
        assert ("ACAC" in designs) == ("GTGT" in designs)
        assert ("TTTT" in designs) == ("CCCA" in designs)
        assert pipeline.streams == Streams(seed)


def test_the_seed_draws_the_held_out_designs(tmp_path: Path) -> None:
    def held_out(seed: int, **changes: Any) -> list[float]:
        spec = tiny(seed=seed, **changes)
        store = Store(tmp_path, empty_manager())
        # One task for all seeds, so that only the split can differ.
        split = Pipeline(spec, tiny().task.build(0), torch.device("cpu"), store).split
        values: list[float] = split.held_out.y.tolist()
        return values

    assert held_out(0) != held_out(1)
    assert held_out(0) == held_out(0, oracle={"members": 3}, backbone={"network": {"width": 9}})


def test_the_offline_row_shows_true_rewards_not_noisy_labels(tmp_path: Path) -> None:
    task = {"type": "motif", "length": 3, "n": 30, "cap": 0.6, "noise": 3.0}
    spec = tiny(task=task)
    found = json.loads((run(spec, tmp_path) / "results.json").read_text())
    built = spec.task.build(spec.seed)
    (row,) = (row for row in found["rows"] if row["method"] == "Offline")
    assert row["truth"]["q100"] == pytest.approx(float(built.truth(built.offline().x).max()))
    assert row["truth"]["q100"] < found["task"]["offline"]["max"]
