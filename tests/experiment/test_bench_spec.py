"""The grid that a bench spec describes, how it is written, and what is refused with its place."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from braid_guidance import BestOfNSpec
from braid_strl import StrlSpec

from braid_core.errors import BraidError, PluginError, SpecError
from braid_core.experiment.bench_spec import BenchSpec, Method, load_bench, parse_bench
from braid_core.experiment.spec import RunSpec

from .tiny_bench import bench_file, tiny_bench

ONE = {"STRL": {"objective": "strl"}}


def test_a_bench_is_a_grid_of_runs() -> None:
    spec = parse_bench(
        {
            "tasks": ["motif", "tf-bind-8"],
            "backbones": ["masked", "uniform"],
            "methods": {**ONE, "BRAID-Bonus": {"objective": {"type": "braid", "steps": 7}, "oracle": "rkhs"}},
            "seeds": [3, 5],
            "pool": 500,
        }
    )
    assert len(spec.cells) == len({cell.name for cell in spec.cells}) == 2 * 2 * 2 * 2
    last = spec.cells[-1]
    assert last.name == "tf-bind-8--uniform--BRAID-Bonus--seed5"
    assert last.spec == RunSpec(
        task="tf-bind-8",
        backbone="uniform",
        oracle="rkhs",
        objective={"type": "braid", "steps": 7},
        seed=5,
        pool=500,
        name=last.name,
    )
    assert last.labels == {
        "task": "tf-bind-8",
        "backbone": "uniform",
        "method": "BRAID-Bonus",
        "objective": "braid",
        "oracle": "rkhs",
        "seed": 5,
    }


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (3, {"a": (0, 1, 2), "b": (0, 1, 2)}),
        ([4, 2], {"a": (4, 2), "b": (4, 2)}),
        ({"a": 2, "b": [7]}, {"a": (0, 1), "b": (7,)}),
    ],
)
def test_seeds(seeds: object, expected: dict[str, tuple[int, ...]]) -> None:
    tasks = {"a": "motif", "b": {"type": "motif", "n": 300}}
    spec = parse_bench({"tasks": tasks, "methods": ONE, "seeds": seeds})
    assert {task: spec.seeds_of(task) for task in tasks} == expected
    assert parse_bench(spec.to_dict()) == spec


def test_components_by_name_mapping_and_object_are_the_same() -> None:
    named = parse_bench({"tasks": "motif", "methods": ONE})
    assert parse_bench({"tasks": {"type": "motif"}, "methods": {"STRL": Method(objective="strl")}}) == named
    assert BenchSpec(tasks=["motif"], methods={"STRL": {"objective": StrlSpec()}}) == named
    assert parse_bench({"tasks": "braid-design:motif", "methods": ONE}).cells[0].task == "motif"


def test_it_round_trips(tmp_path: Path) -> None:
    spec = parse_bench({"tasks": ["motif", "utr"], "methods": {**ONE, "Best": {"objective": BestOfNSpec(n=3)}}})
    assert parse_bench(json.loads(spec.to_json())) == spec
    assert parse_bench(tomllib.loads(spec.to_toml())) == spec
    for name, text in (("b.json", spec.to_json()), ("b.toml", spec.to_toml())):
        (tmp_path / name).write_text(text)
        assert load_bench(tmp_path / name) == spec
    (tmp_path / "b.py").write_text(
        "from braid_core.experiment.bench_spec import BenchSpec\n"
        'spec = BenchSpec(tasks="motif", methods={"STRL": {"objective": "strl"}})\n'
    )
    assert load_bench(tmp_path / "b.py") == parse_bench({"tasks": "motif", "methods": ONE})


def test_reading_one_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from braid_core.experiment.bench_spec import load_bench\n"
        f"load_bench(Path({str(bench_file(tmp_path))!r})).cells; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": []}, ["tasks is empty", "[tasks.LABEL]"]),
        ({"tasks": 3}, ["tasks is empty or no mapping"]),
        ({"tasks": ["motif", {"type": "motif", "n": 9}]}, ["two entries of tasks are called 'motif'", "[tasks.LABEL]"]),
        ({"tasks": [{"n": 9}]}, ["an entry of tasks has no `type`"]),
        ({"tasks": "motiv"}, ["no task named 'motiv'", "where: b.toml: tasks.motiv", "did you mean 'motif'?"]),
        ({"tasks": {"../x": "motif"}}, ["the label '../x' cannot be used", "where: b.toml: tasks"]),
        ({"tasks": {"a--b": "motif"}}, ["the label 'a--b' cannot be used"]),
        ({"tasks": {"a": "motif", "A": "utr"}}, ["'a' and 'A' are the same", "capitals"]),
        ({"methods": {}}, ["methods is empty"]),
        ({"methods": {"random": {"objective": "strl"}}}, ["the label 'random' is taken"]),
        ({"methods": {"A": "strl"}}, ["a method is a mapping with `objective`", "where: b.toml: methods.A"]),
        ({"methods": {"A": {"objective": "strl", "orcl": "gp"}}}, ["unknown field 'orcl'", "methods.A", "'oracle'"]),
        ({"methods": {"A": {"oracle": "gp"}}}, ["the field 'objective' is missing", "methods.A"]),
        ({"methods": {"A": {"objective": {"type": "strl", "stps": 1}}}}, ["unknown field 'stps'", "methods.A"]),
        (
            {"methods": {"A": {"objective": "strl"}, "B": {"objective": "strl"}}},
            ["two cells are the same run", "motif--masked--A--seed0 and motif--masked--B--seed0"],
        ),
        ({"seeds": 0}, ["seeds = 0", "at least one seed"]),
        ({"seeds": [1, 1]}, ["each once"]),
        ({"seeds": [-1]}, ["seeds"]),
        ({"seeds": {"motif": 1, "utr": 1}}, ["seeds of 'utr', which is no task"]),
        ({"tasks": ["motif", "utr"], "seeds": {"motif": 1}}, ["the task 'utr' has no seeds"]),
        ({"pool": 3}, ["`pool` (3) is smaller than `designs` (128)", "cell motif--masked--STRL--seed0"]),
        ({"sedes": 3}, ["unknown field 'sedes'", "did you mean 'seeds'?"]),
        ({"executor": "lokal"}, ["no executor named 'lokal'", "did you mean 'local'?"]),
        ({"executor": {"type": "local", "jobs": 0}}, ["jobs = 0"]),
    ],
)
def test_what_is_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BraidError) as caught:
        parse_bench({"tasks": "motif", "methods": ONE, **change}, "b.toml")
    assert isinstance(caught.value, SpecError | PluginError)
    missing = [word for word in [*words, "where: b.toml"] if word not in str(caught.value)]
    assert not missing, caught.value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"task": "motif"}, "the spec of a run, not of a bench"),
        (RunSpec(task="motif"), "`braid run` makes single runs"),
        ([], "a bench spec is a mapping"),
        ({"tasks": "motif"}, "the field 'methods' is missing"),
    ],
)
def test_what_is_no_bench(data: object, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_bench(data)


def test_the_tiny_bench_is_one() -> None:
    assert len(tiny_bench().cells) == 6
