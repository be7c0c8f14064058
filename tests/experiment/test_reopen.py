"""A finished run as a generator: from its folder alone, wherever that is."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree, rmtree

import pandas as pd
import pytest
import torch
from torch import Tensor

import braid_core
from braid_core.errors import BraidError, StoreError
from braid_core.experiment.manifest import space_from_json, space_to_json
from braid_core.experiment.reopen import open_run
from braid_core.experiment.run import run
from braid_core.interfaces import Images, Posterior, Space, Tokens, Vectors

from .tiny import read, table_file, tiny


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return copytree(finished, tmp_path / "run")


def refused(folder: Path) -> str:
    with pytest.raises(BraidError) as caught:
        open_run(folder)
    return str(caught.value)


def test_samples_are_scored_and_sorted(finished: Path) -> None:
    table = open_run(finished).sample(30)
    assert list(table.columns) == ["design", "predicted", "std", "conservative", "promised"]
    assert len(table) == 30
    assert table["conservative"].is_monotonic_decreasing
    assert table["design"].str.fullmatch("[ACGT]{4}").all()


def test_a_seed_draws_the_same_designs(finished: Path) -> None:
    one = open_run(finished).sample(20, seed=3)
    pd.testing.assert_frame_equal(one, open_run(finished).sample(20, seed=3))
    assert list(one["design"]) != list(open_run(finished).sample(20, seed=4)["design"])


def test_the_reopened_run_believes_what_the_run_believed(finished: Path) -> None:
    drawn = open_run(finished).sample(60).drop_duplicates("design").set_index("design")
    delivered = pd.read_csv(finished / "designs.csv").drop_duplicates("design").set_index("design")
    both = drawn.join(delivered.add_suffix("_then"), how="inner")
    assert len(both) > 5
    for figure in ("predicted", "std", "conservative", "promised"):
        assert both[figure].to_numpy() == pytest.approx(both[f"{figure}_then"].to_numpy(), rel=1e-5)


@pytest.mark.parametrize("damage", ["{", "{}", '{"oracle": {"c": 1.0}}', '{"oracle": {"c": 1.0, "promise": {"q": 1}}}'])
def test_without_what_was_chosen_a_run_is_damaged(copy: Path, damage: str) -> None:
    (copy / "results.json").write_text(damage)
    assert "results.json is damaged" in refused(copy)


def test_a_run_can_be_moved_and_needs_neither_store_nor_data(tmp_path: Path) -> None:
    table = table_file(tmp_path)
    folder = run(tiny(task={"type": "table", "path": str(table)}), tmp_path / "out")
    before = open_run(folder).sample(10)
    folder.rename(tmp_path / "moved")
    rmtree(tmp_path / "out")
    table.unlink()
    (tmp_path / "moved" / "designs.csv").unlink()
    pd.testing.assert_frame_equal(open_run(tmp_path / "moved").sample(10), before)


def test_the_package_offers_it(finished: Path) -> None:
    assert len(braid_core.open_run(finished).sample(2)) == 2


def test_no_run(tmp_path: Path) -> None:
    assert "is no run folder" in refused(tmp_path)
    assert f"there is no folder {tmp_path / 'x'}" in refused(tmp_path / "x")


def test_an_unfinished_run(copy: Path) -> None:
    # So it looks while a run of that name, perhaps of another spec, is being made: its weights are not yet there.
    manifest = read(copy, "manifest.json")
    (copy / "manifest.json").write_text(json.dumps({**manifest, "seconds": {}}))
    message = refused(copy)
    assert "is not finished" in message
    assert "braid run" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": {"task": "motif"}, "space": {"kind": "Torus"}}'])
def test_a_damaged_manifest(text: str, copy: Path) -> None:
    (copy / "manifest.json").write_text(text)
    assert f"{copy / 'manifest.json'} is damaged" in refused(copy)


def test_a_manifest_of_a_plugin_that_is_gone(copy: Path) -> None:
    manifest = read(copy, "manifest.json")
    manifest["spec"]["oracle"]["type"] = "forest"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    message = refused(copy)
    assert "no oracle named 'forest'" in message
    assert "manifest.json" in message


@pytest.mark.parametrize("stage", ["backbone", "oracle", "objective"])
@pytest.mark.parametrize("missing", [True, False])
def test_damaged_weights_are_named(stage: str, missing: bool, copy: Path) -> None:
    file = copy / "checkpoints" / stage / "state.safetensors"
    content = file.read_bytes()
    file.unlink() if missing else file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = refused(copy)
    assert str(file.parent) in message
    assert "state.safetensors" in message
    assert "braid run" in message


def test_weights_of_another_size(copy: Path) -> None:
    # A plugin that has changed since: what it builds from the same spec is not what was stored.
    manifest = read(copy, "manifest.json")
    manifest["spec"]["oracle"]["network"]["width"] = 9
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="the stored oracle does not fit its spec"):
        open_run(copy)


@pytest.mark.parametrize(
    "space", [Tokens("ACGT", 4, ("reverse_complement",)), Tokens("AB", 3), Vectors(5), Images(3, 8, 9)]
)
def test_spaces_are_written_and_read(space: Space) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_a_space_that_nobody_knows_cannot_be_stored() -> None:
    class Torus(Vectors):
        pass

    with pytest.raises(StoreError, match="designs of Torus cannot be stored"):
        space_to_json(Torus(2))


def test_many_are_drawn_and_scored_in_blocks(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, asked = open_run(finished), list[int]()
    whole = opened.sample(50)
    original, belief = opened.sampler.designs, opened.oracle.posterior

    def designs(n: int, generator: torch.Generator) -> Tensor:
        asked.append(n)
        return original(n, generator)

    def posterior(x: Tensor) -> Posterior:
        asked.append(len(x))
        return belief(x)

    monkeypatch.setattr(opened.sampler, "designs", designs)
    monkeypatch.setattr(opened.oracle, "posterior", posterior)
    pd.testing.assert_frame_equal(opened.sample(50), whole)
    monkeypatch.setattr("braid_core.experiment.reopen.BLOCK", 20)
    asked.clear()
    table = opened.sample(50)
    assert max(asked) == 20
    assert asked[:3] == [20, 20, 10]
    assert table["design"].nunique() == 50
    assert table["conservative"].is_monotonic_decreasing


def test_a_design_without_a_score_is_last(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_run(finished)
    best = opened.sample(10)["design"][0]
    score = opened.objective.score

    def patchy(posterior: Posterior) -> Tensor:
        found = score(posterior)
        return torch.where(found == found.max(), torch.nan, found)

    monkeypatch.setattr(opened.objective, "score", patchy)
    assert list(opened.sample(10)["design"])[-1] == best
