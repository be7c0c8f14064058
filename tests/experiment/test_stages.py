"""What a run leaves behind, and which of its stages a change makes anew."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from shutil import copytree
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from braid_core.errors import DataError, SpecError, UnsupportedError
from braid_core.experiment import pipeline
from braid_core.experiment.reopen import open_run
from braid_core.experiment.results import finite
from braid_core.experiment.run import run
from braid_core.experiment.spec import load_spec, parse_spec
from braid_core.registry.hooks import hookimpl
from braid_core.report.reading import read_run

from .tiny import STAGES, read, row, spec_file, stored, table_file, tiny, unfinished

run_module = import_module("braid_core.experiment.run")  # the package has a function of the same name
AFTER_OBJECTIVE = ["objective", "designs", "history"]
AFTER_SCALE = ["objective", "references", "designs", "history"]


def table(path: Path, **options: Any) -> dict[str, Any]:
    return {"type": "table", "path": str(path), **options}


def test_a_run_folder_is_complete(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "manifest.json",
        "offline.csv.gz",
        "checkpoints",
        "metrics.jsonl",
        "designs.csv",
        "results.json",
    }
    assert {path.name for path in (finished / "checkpoints").iterdir()} == set(STAGES)
    assert unfinished(finished.parent) == []


def test_the_manifest_repeats_the_run(finished: Path, tmp_path: Path) -> None:
    manifest = read(finished, "manifest.json")
    assert parse_spec(manifest["spec"]) == tiny()
    assert {plugin["kind"]: plugin["type"] for plugin in manifest["plugins"]} == {
        "task": "motif",
        "backbone": "masked",
        "oracle": "bootstrap",
        "objective": "braid",
    }
    assert set(manifest["seconds"]) == set(STAGES)
    again = run(manifest["spec"], tmp_path)
    assert (again / "designs.csv").read_bytes() == (finished / "designs.csv").read_bytes()
    assert read(again) == read(finished)


def test_the_report_reads_every_figure(finished: Path) -> None:
    record = read_run(finished)
    assert record.results.label == "BRAID-bootstrap"
    assert [(row.method, row.column) for row in record.results.rows] == [
        ("Offline", "raw"),
        ("Random", "raw"),
        ("Random", "selected"),
        ("Pretrained", "raw"),
        ("Pretrained", "selected"),
        ("BRAID-bootstrap", "raw"),
        ("BRAID-bootstrap", "selected"),
    ]
    own = record.results.rows[-2]
    assert own.n == 16
    assert None not in (own.truth, own.predicted, own.conservative, own.gap, own.coverage, own.novelty, own.kl)
    assert record.results.kl == own.kl
    assert record.results.oracle is not None
    assert record.results.oracle.n_held_out == 6
    assert record.results.oracle.c == 1
    lower = record.results.oracle.lower
    assert lower is not None
    assert lower.better is not None
    assert lower.liked is not None
    liked = record.results.oracle.liked
    assert liked is not None
    assert None not in (lower.better.rmse, lower.better.spearman, lower.liked.rmse, liked.coverage, liked.pinball)
    assert len(record.designs) == sum(row.n for row in record.results.rows[1:])
    assert set(record.metrics["stage"]) == {"backbone", "calibration", "oracle", "objective"}


def test_another_seed_is_another_run(finished: Path, tmp_path: Path) -> None:
    other = run(tiny(seed=1), tmp_path)
    assert other.name != finished.name
    assert (other / "designs.csv").read_bytes() != (finished / "designs.csv").read_bytes()


def test_a_repeated_run_computes_nothing(tmp_path: Path, computed: list[str]) -> None:
    folder = run(tiny(), tmp_path)
    assert computed == list(STAGES)
    before = (folder / "designs.csv").read_bytes()
    (folder / "designs.csv").unlink()
    computed.clear()
    assert run(tiny(), tmp_path) == folder
    assert computed == []
    assert (folder / "designs.csv").read_bytes() == before


def test_another_oracle_leaves_the_backbone(tmp_path: Path, computed: list[str]) -> None:
    run(tiny(), tmp_path)
    computed.clear()
    run(tiny(oracle={"members": 3}), tmp_path)
    assert computed == ["calibration", "oracle", *AFTER_SCALE]
    assert len(stored(tmp_path, "backbone")) == 1


def test_another_oracle_leaves_the_draws_of_the_pretrained_model(tmp_path: Path) -> None:
    one, other = (run(tiny(oracle={"members": m}, name=f"m{m}"), tmp_path) for m in (2, 3))
    assert row(one, "Pretrained", "raw")["truth"] == row(other, "Pretrained", "raw")["truth"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"objective": {"alpha": 0.7}}, AFTER_OBJECTIVE),
        ({"objective": {"type": "strl"}}, AFTER_OBJECTIVE),
        ({"pool": 65}, ["references", "designs"]),
        ({"designs": 15}, ["references", "designs", "history"]),
        ({"holdout": 0.3}, ["calibration", "oracle", *AFTER_SCALE]),
        ({"oracle": {"c": 2.0}}, AFTER_SCALE),
        ({"backbone": {"network": {"width": 9}}}, ["backbone", *AFTER_SCALE]),
        ({"task": {"noise": 0.1}}, list(STAGES)),
        ({"seed": 5}, list(STAGES)),
        ({"name": "other"}, []),
    ],
)
def test_a_change_reruns_what_depends_on_it(
    change: dict[str, Any], again: list[str], finished: Path, tmp_path: Path, computed: list[str]
) -> None:
    copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    run(tiny(**change), tmp_path)
    assert computed == again


@pytest.mark.parametrize("module", ["designs", "metrics", "models", "pipeline", "promise", "split"])
def test_edited_code_reruns_what_it_makes(
    module: str, finished: Path, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pipeline.source_hash
    monkeypatch.setattr(
        pipeline, "source_hash", lambda *names: f"{original(*names)}{' edited' if module in names else ''}"
    )
    copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    run(tiny(), tmp_path)
    drawn = ["references", "designs", "history"]
    assert computed == (
        drawn if module in ("designs", "metrics") else ["calibration", "oracle", "backbone", "objective", *drawn]
    )


@pytest.mark.parametrize("library", ["numpy", "scipy", "scikit-learn", "gpytorch"])
def test_another_version_of_what_an_oracle_is_made_of_fits_it_again(
    library: str, finished: Path, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "braid_core.experiment.manifest._version", lambda name: "0" if name == library else version(name)
    )
    copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    run(tiny(), tmp_path)
    assert computed == ["calibration", "oracle", *AFTER_SCALE]


def test_other_data_rerun_everything(tmp_path: Path, computed: list[str]) -> None:
    path = table_file(tmp_path)
    run(tiny(task=table(path)), tmp_path)
    computed.clear()
    path.rename(tmp_path / "moved.csv")
    run(tiny(task=table(tmp_path / "moved.csv")), tmp_path)
    assert computed == []
    lines = (tmp_path / "moved.csv").read_text().splitlines()
    (tmp_path / "moved.csv").write_text("\n".join([*lines[:-1], lines[-1].split(",")[0] + ",0.125"]))
    run(tiny(task=table(tmp_path / "moved.csv")), tmp_path)
    assert computed == list(STAGES)


def test_methods_share_backbone_oracle_and_references(tmp_path: Path) -> None:
    runs = [run(tiny(objective={"type": method}), tmp_path) for method in ("braid", "strl")]
    assert [len(stored(tmp_path, kind)) for kind in STAGES] == [1, 1, 1, 2, 1, 2, 2]
    for method in ("Random", "Pretrained"):
        assert row(runs[0], method) == row(runs[1], method)
    weights = [load_file(run / "checkpoints" / "objective" / "state.safetensors") for run in runs]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_scale_is_chosen_once_and_for_all(tmp_path: Path, computed: list[str]) -> None:
    """Choosing c takes no fit beyond those that every run makes, and a reopened run has the same scale."""
    many = {"length": 5, "n": 300}
    run(tiny(task=many), tmp_path)
    computed.clear()
    folder = run(tiny(oracle={"c": "auto"}, task=many), tmp_path)
    c = read(folder)["oracle"]["c"]
    assert c < 1  # it is not what everybody gets
    assert computed == AFTER_SCALE
    fixed = run(tiny(oracle={"c": c}, task=many), tmp_path)
    assert (fixed / "designs.csv").read_bytes() == (folder / "designs.csv").read_bytes()
    drawn = [open_run(made).sample(10) for made in (folder, fixed)]
    assert drawn[0].equals(drawn[1])


def test_what_is_promised_follows_from_the_rehearsals(tmp_path: Path) -> None:
    folder = run(tiny(task={"length": 5, "n": 300}, oracle={"c": 2.0}), tmp_path)
    facts = read(folder)["oracle"]
    scale, floor = facts["promise"]["scale"], facts["promise"]["floor"]
    assert scale > 0
    for table in (pd.read_csv(folder / "designs.csv"), open_run(folder).sample(10)):
        penalty = (table["predicted"] - table["conservative"]) / 2
        promised = table["predicted"] - scale * (penalty + floor)
        assert promised.to_numpy() == pytest.approx(table["promised"].to_numpy(), abs=1e-5)


def test_a_table_too_small_for_a_promise_can_be_used(tmp_path: Path) -> None:
    folder = run(tiny(task={"n": 40}), tmp_path)
    facts = read(folder)["oracle"]
    assert (facts["promise"], facts["coverage"], facts["lower"]) == (None, None, None)
    assert "too few to rehearse" in facts["refused"]
    assert pd.read_csv(folder / "designs.csv")["promised"].isna().all()
    own = row(folder, "BRAID-bootstrap")
    assert (own["promised"], own["coverage"], own["pinball"]) == (None, None, None)
    assert own["pinball_offset"] is not None
    assert open_run(folder).sample(5)["promised"].isna().all()


def test_a_table_too_small_to_choose_a_scale_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few to rehearse"):
        run(tiny(oracle={"c": "auto"}, task={"n": 40}), tmp_path)


def test_a_task_without_truth(tmp_path: Path) -> None:
    folder = run(tiny(task=table(table_file(tmp_path))), tmp_path)
    own = row(folder, "BRAID-bootstrap")
    assert (own["truth"], own["gap"], own["coverage"], own["missing"]) == (None, None, None, 0)
    assert own["predicted"]["mean"] > own["conservative"]["mean"]
    assert not read_run(folder).results.task.has_truth


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"task": {"type": "table", "path": "nowhere.csv"}}, DataError),
        ({"device": "gpu"}, SpecError),
        ({"backbone": "gaussian"}, UnsupportedError),
        ({"task": "manifold", "backbone": {"type": "gaussian", "eta": 0.0}}, UnsupportedError),
    ],
)
def test_a_mistake_leaves_no_folder(change: dict[str, Any], error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        run(parse_spec({**tiny().to_dict(), **change}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_table_of_one_group_names_its_column_and_leaves_no_folder(tmp_path: Path) -> None:
    path = table_file(tmp_path)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},plate", *(f"{row},1" for row in rows)]))
    with pytest.raises(DataError, match="form 1 group") as caught:
        run(tiny(task=table(path, group="plate")), tmp_path / "runs")
    assert "'plate'" in str(caught.value.where)
    assert not (tmp_path / "runs").exists()


def test_a_figure_that_is_no_number_is_unknown(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    endless = {"penalty": {"law": math.inf}, "offline": math.nan, "concentrability": {}}
    monkeypatch.setattr(run_module, "regret", lambda *_: endless)
    folder = run(tiny(), tmp_path)
    assert read(folder)["regret"] == {"penalty": {"law": None}, "offline": None, "concentrability": {}}
    assert finite({"rungs": ({"kl": math.inf, "n": 3},), "flag": True}) == {
        "rungs": [{"kl": None, "n": 3}],
        "flag": True,
    }


def test_hooks_hear_of_the_whole_run(tmp_path: Path) -> None:
    class Listener:
        heard: list[Any] = []  # noqa: RUF012

        @hookimpl
        def braid_run_started(self, folder: Path) -> None:
            assert (folder / "manifest.json").is_file()
            self.heard.append("started")

        @hookimpl
        def braid_step_finished(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
            self.heard.append((stage, done == total, bool(figures)))

        @hookimpl
        def braid_run_finished(self, folder: Path, results: dict[str, Any]) -> None:
            assert results == read(folder)
            self.heard.append("finished")

    run(tiny(), tmp_path, hooks=[Listener()])
    steps = [(stage, True, True) for stage in ("calibration", "calibration", "oracle", "backbone", "objective")]
    assert Listener.heard == ["started", *steps, "finished"]


def test_a_spec_file_makes_the_same_run(finished: Path, tmp_path: Path) -> None:
    folder = run(load_spec(spec_file(tmp_path)), tmp_path)
    assert (folder / "designs.csv").read_bytes() == (finished / "designs.csv").read_bytes()
