"""Stored stages: damage is noticed, named and mended; what cannot be written is said, and costs no finished stage."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree, which

import pytest
import torch
from braid_bootstrap.oracle import BootstrapOracle

from braid_core.errors import StoreError
from braid_core.experiment.run import run
from braid_core.experiment.store import DamageWarning, Store, read_state
from braid_core.interfaces import Log, State
from braid_core.registry.hooks import empty_manager

from .tiny import STAGES, read, stored, tiny, unfinished

FILES = ("state.safetensors", "metrics.jsonl", "stage.json", "SHA256SUMS")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def compute(log: Log) -> State:
    log.step(1, 1, loss=0.5)
    return State({"weight": torch.arange(3.0)}, {"note": "so"})


def store(root: Path) -> Store:
    return Store(root, empty_manager())


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny run's output, to be damaged."""
    return copytree(finished.parent, tmp_path / "out")


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_its_stage_made_again(
    name: str, damage: Callable[[Path], None], copy: Path, finished: Path, computed: list[str]
) -> None:
    (oracle,) = stored(copy, "oracle")
    damage(oracle / name)
    with pytest.warns(DamageWarning) as caught:
        folder = run(tiny(), copy)
    message = str(caught[0].message)
    assert len(caught) == 1
    assert str(oracle) in message
    assert name in message
    assert "\n" not in message
    assert computed == ["oracle"]
    assert (folder / "designs.csv").read_bytes() == (finished / "designs.csv").read_bytes()
    assert read(folder) == read(finished)
    read_state(oracle)


@pytest.mark.parametrize("place", [0, 0.1, 0.3, 0.7, 0.9, 1])
@pytest.mark.parametrize("name", FILES)
def test_every_byte_counts(name: str, place: float, copy: Path) -> None:
    for kind in STAGES:
        (folder,) = stored(copy, kind)
        if (folder / name).stat().st_size:
            flip(folder / name, place)
            with pytest.raises(StoreError, match="is damaged"):
                read_state(folder)


def test_every_stage_can_be_made_again(copy: Path, finished: Path, computed: list[str]) -> None:
    for kind in STAGES:
        flip(stored(copy, kind)[0] / "state.safetensors")
    with pytest.warns(DamageWarning) as caught:
        folder = run(tiny(), copy)
    assert len(caught) == len(STAGES)
    assert computed == list(STAGES)
    assert (folder / "designs.csv").read_bytes() == (finished / "designs.csv").read_bytes()


def test_a_file_or_an_empty_folder_in_the_way_of_a_stage(copy: Path, computed: list[str]) -> None:
    (oracle,), (backbone,) = stored(copy, "oracle"), stored(copy, "backbone")
    rmtree(oracle)
    oracle.touch()
    rmtree(backbone)
    backbone.mkdir()
    with pytest.warns(DamageWarning):
        run(tiny(), copy)
    assert computed == ["oracle", "backbone"]


@pytest.mark.skipif(which("sha256sum") is None, reason="there is no program sha256sum")
def test_the_sums_are_those_that_sha256sum_checks(finished: Path) -> None:
    for kind in STAGES:
        subprocess.run(
            ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=finished / "checkpoints" / kind, check=True
        )


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_stage_brings_back_what_was_computed(tmp_path: Path) -> None:
    stage = store(tmp_path).stage("oracle", {"seed": 1}, compute)
    assert stage.state().tensors["weight"].tolist() == [0, 1, 2]
    assert stage.state().meta == {"note": "so"}
    assert json.loads((stage.folder / "metrics.jsonl").read_text()) == {
        "stage": "oracle",
        "step": 1,
        "total": 1,
        "loss": 0.5,
    }


def test_a_stage_is_found_by_kind_and_inputs(tmp_path: Path) -> None:
    made = store(tmp_path)
    inputs = [("oracle", {"a": 1, "b": 2}), ("oracle", {"a": 1, "b": 3}), ("backbone", {"a": 1, "b": 2})]
    keys = [made.stage(kind, values, compute).key for kind, values in inputs]
    assert len(set(keys)) == 3
    assert made.stage("oracle", {"b": 2, "a": 1}, lambda log: pytest.fail("computed twice")).key == keys[0]


def test_states_that_share_memory_or_hold_nothing(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    shared = State({"a": weight, "b": weight, "row": weight[1], "turned": weight.T})
    state = store(tmp_path).stage("x", {}, lambda log: shared).state()
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in shared.tensors.items())
    assert store(tmp_path).stage("y", {}, lambda log: State({})).state().tensors == {}


def test_a_failure_leaves_no_trace(tmp_path: Path) -> None:
    def fail(log: Log) -> State:
        log.step(1, 2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store(tmp_path).stage("oracle", {}, fail)
    assert stored(tmp_path.parent, "oracle") == unfinished(tmp_path) == []


def test_only_the_last_user_of_a_store_clears_up(tmp_path: Path) -> None:
    first = store(tmp_path)
    left = tmp_path / ".oracle-0123.braid-abcdef.tmp"
    left.mkdir()
    (left / "state.safetensors").touch()
    store(tmp_path)
    assert left.exists()  # it may be what `first` is at
    del first
    store(tmp_path)
    assert not left.exists()


def test_only_what_is_braids_and_under_its_lock_is_removed(tmp_path: Path) -> None:
    out, name = tmp_path / "out", ".a.braid-01234567.tmp"
    ours = [
        out / ".stages" / name,
        out / "run" / name,
        out / "run" / "checkpoints" / "oracle" / name,
        out / "begun" / ".manifest.json.braid-01234567.tmp",
        out / "beside" / name,
        out / "beside" / "cells" / name,
    ]
    others = [
        out / "run" / ".notes.tmp",
        out / ".stages" / ".12.tmp",
        out / "project" / name,  # no run
        out / "other" / ".stages" / name,  # another store, which has its own lock
        out / "beside" / "deep" / "down" / name,
    ]
    for path in (*ours, *others, out / "run" / "manifest.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Store(out / ".stages", empty_manager(), out / "beside")
    assert [path for path in ours if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


def test_what_is_left_does_not_hinder_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a container every process has the same id, so that a killed one looks alive.
    monkeypatch.setattr(os, "getpid", lambda: 7)
    keeper = store(tmp_path)
    key = keeper.stage("oracle", {}, compute).key
    rmtree(tmp_path / f"oracle-{key}")
    (tmp_path / f".oracle-{key}.braid-7.tmp").mkdir()
    assert store(tmp_path).stage("oracle", {}, compute).key == key


# --- what cannot be written -------------------------------------------------------------------------------------------


def refused(out: Path) -> str:
    with pytest.raises(StoreError) as caught:
        run(tiny(), out)
    return str(caught.value)


@pytest.mark.parametrize("inner", ["", ".stages", tiny().folder_name, f"{tiny().folder_name}/checkpoints"])
def test_a_file_in_the_way(inner: str, tmp_path: Path) -> None:
    obstacle = tmp_path / "out" / inner
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.touch()
    assert f"cannot write {obstacle}" in refused(tmp_path / "out")


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / tiny().folder_name / "designs.csv").mkdir(parents=True)
    message = refused(tmp_path)
    assert "designs.csv" in message
    assert "Is a directory" in message
    assert unfinished(tmp_path) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", FILES[::2])
def test_a_full_disk_keeps_finished_stages(
    stage: str, name: str, tmp_path: Path, finished: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for method in ("write_bytes", "write_text"):
            original = getattr(Path, method)

            def write(path: Path, content: str, original: Callable[..., int] = original) -> int:
                if path.parent.name.startswith(f".{stage}-") and path.name == name:
                    raise FULL
                return original(path, content)

            patch.setattr(Path, method, write)
        message = refused(tmp_path)
    assert f"cannot write {tmp_path / '.stages'}" in message
    assert "No space left on device" in message
    assert "finished stages are kept" in message
    assert unfinished(tmp_path) == []
    computed.clear()
    folder = run(tiny(), tmp_path)
    assert computed == list(STAGES[STAGES.index(stage) :])
    assert (folder / "designs.csv").read_bytes() == (finished / "designs.csv").read_bytes()


def test_a_full_disk_while_figures_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def open_full(path: Path, mode: str = "r", **options: object) -> object:
        if mode == "a":
            raise FULL
        return original(path, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_full)
    assert "No space left on device" in refused(tmp_path)
    assert unfinished(tmp_path) == []


def test_a_failure_of_a_component_is_not_taken_for_one_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(self: BootstrapOracle, *arguments: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "embeddings.pt")

    monkeypatch.setattr(BootstrapOracle, "fit", fit)
    with pytest.raises(FileNotFoundError, match="embeddings"):
        run(tiny(), tmp_path)


def test_a_sound_store_warns_of_nothing(copy: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tiny(), copy)
    assert caught == []
