"""Runs are averaged only where nothing but the seed differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from braid_core.report import Group, group_runs, read_runs

from .fabricate import edit

Make = Callable[..., Path]


def group(*folders: Path) -> Group:
    (only,) = group_runs(read_runs(folders)[0])
    return only


def test_methods_come_in_the_papers_order_and_references_once(make: Make) -> None:
    found = group(*(make(label=label, seed=seed) for label in ("New", "BRAID-gp", "STRL") for seed in (0, 1)))
    assert found.methods == ["Random", "Offline", "Pretrained", "STRL", "BRAID-gp", "New"]
    assert found.own == ["STRL", "BRAID-gp", "New"]
    assert [entry.seed for entry in found.select("Random", "raw")] == [0, 1]
    random = found.designs().query("method == 'Random' and seed == 0")
    assert len(random) == found.select("Random", "raw")[0].row.n


def test_two_settings_under_one_label_are_told_apart(make: Make) -> None:
    found = group(make(), make(options={"alpha": 0.5}), make(options={"alpha": 0.5}, seed=1))
    assert found.own == ["BRAID-bootstrap (alpha=0.05)", "BRAID-bootstrap (alpha=0.5)"]
    assert [entry.seed for entry in found.select("BRAID-bootstrap (alpha=0.5)", "raw")] == [0, 1]


def test_a_budget_in_place_of_alpha_is_named_alone(make: Make) -> None:
    found = group(make(), make(options={"alpha": None, "kl_budget": 4.0}))
    assert found.own == ["BRAID-bootstrap (alpha=0.05)", "BRAID-bootstrap (kl_budget=4.0)"]


def test_settings_that_look_alike_when_shortened_stay_apart(make: Make) -> None:
    options = [{"a": 0, "b": 0, "c": 0, "d": 0}, {"a": 1, "b": 1, "c": 1, "d": 0}, {"a": 1, "b": 1, "c": 1, "d": 1}]
    found = group(*(make(options=option) for option in options))
    assert len(found.own) == 3
    assert found.own[-1].endswith("#2")


def test_a_repeated_run_does_not_count_as_a_seed(make: Make) -> None:
    old = make(created="2026-01-01T00:00:00")
    found = group(old, make(created="2026-02-01T00:00:00"))
    assert len(found.members) == 1
    assert found.notes == (f"{old.name} repeats the spec and seed of a newer run and was left out.",)


def test_pretrained_models_of_different_backbones_are_different_rows(make: Make) -> None:
    wide = make(seed=0, label="STRL")
    edit(wide / "manifest.json", lambda manifest: manifest["spec"]["backbone"].update(width=256))
    found = group(make(), wide)
    assert [name for name in found.methods if name.startswith("Pretrained")] == [
        "Pretrained (width=64)",
        "Pretrained (width=256)",
    ]


def test_reference_figures_on_which_oracles_disagree_are_left_blank(make: Make) -> None:
    other = make(label="STRL", oracle={"type": "gp"})
    edit(other / "results.json", lambda results: results["rows"][0].update(gap=9.0))
    found = group(make(), other)
    (random,) = found.select("Random", "raw")
    assert random.row.gap is None
    assert random.row.truth is not None
    assert "left blank" in found.notes[0]


def test_tasks_are_apart_also_under_one_name(make: Make) -> None:
    narrow = make()
    edit(narrow / "manifest.json", lambda manifest: manifest["spec"]["task"].update(quantile=0.4))
    groups = group_runs(read_runs([make(), narrow, make(task="motif")])[0])
    assert [found.title for found in groups] == [
        "tf-bind-8 (quantile=None)",
        "tf-bind-8 (quantile=0.4)",
        "motif",
    ]


def test_a_task_of_another_distribution_keeps_its_kind(make: Make) -> None:
    run = make()
    edit(run / "manifest.json", lambda manifest: manifest["spec"]["task"].update(type="braid-design:tf-bind-8"))
    assert group(run).kind == "tf-bind-8"
