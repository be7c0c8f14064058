"""Run specs: three ways to name a component, two formats to write them, and what every mistake is answered with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from pydantic import ValidationError

from braid_core.errors import BraidError, PluginError, SpecError
from braid_core.experiment.manifest import pick_device
from braid_core.experiment.spec import RunSpec, load_spec, parse_spec
from braid_core.registry.discovery import SHIPPED, scan
from braid_core.registry.resolve import spec_class

from .tiny import TINY, tiny

KINDS = ("task", "backbone", "oracle", "objective")
REQUIRED = {"table": {"path": "designs.csv"}}
"""What a shipped plugin cannot do without."""


def shipped(kind: str) -> list[str]:
    return [plugin.name for plugin in scan().plugins if (plugin.kind, plugin.distribution) == (kind, SHIPPED)]


def each_shipped() -> list[Any]:
    return [pytest.param(kind, name, id=f"{kind}-{name}") for kind in KINDS for name in shipped(kind)]


def refused(data: object) -> str:
    """The answer to a bad spec."""
    with pytest.raises(BraidError) as caught:
        parse_spec(data)
    return str(caught.value)


def answer(path: Path, text: str) -> str:
    """The answer to a bad file."""
    path.write_text(text)
    with pytest.raises(BraidError) as caught:
        load_spec(path)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "name"), each_shipped())
def test_name_mapping_and_object_are_one(kind: str, name: str) -> None:
    options = {"type": name, **REQUIRED.get(name, {})}
    made = spec_class(kind, name).model_validate(options)
    others = {} if kind == "task" else {"task": "motif"}
    assert RunSpec(**others, **{kind: options}) == RunSpec(**others, **{kind: made})
    if name not in REQUIRED:
        assert RunSpec(**others, **{kind: name}) == RunSpec(**others, **{kind: made})


@pytest.mark.parametrize(("kind", "name"), each_shipped())
def test_json_and_toml_bring_back_an_equal_spec(kind: str, name: str, tmp_path: Path) -> None:
    spec = parse_spec({**TINY, kind: {"type": name, **REQUIRED.get(name, {})}, "seed": 3, "name": "a.run-1"})
    (tmp_path / "run.json").write_text(spec.to_json())
    (tmp_path / "run.toml").write_text(spec.to_toml())
    assert load_spec(tmp_path / "run.json") == spec
    assert load_spec(tmp_path / "run.toml") == spec
    assert type(getattr(load_spec(tmp_path / "run.toml"), kind)) is spec_class(kind, name)


@pytest.mark.parametrize(("kind", "name"), each_shipped())
def test_none_is_the_default_wherever_it_is_allowed(kind: str, name: str) -> None:
    # TOML has no null, so an option that is None but has another default could not be written.
    cls = spec_class(kind, name)
    for field, info in cls.model_fields.items():
        try:
            cls.model_validate({**REQUIRED.get(name, {}), field: None})
        except ValidationError:
            continue
        assert info.default is None, field


def test_json_keeps_what_is_none() -> None:
    assert json.loads(tiny().to_json())["objective"]["truncate"] is None


def test_a_component_is_resolved_by_its_qualified_name_too() -> None:
    spec = tiny(oracle={"type": "braid-design:bootstrap"})
    assert isinstance(spec.oracle, BootstrapSpec)
    assert spec.label == "BRAID-bootstrap"
    assert ":" not in spec.folder_name


def test_python_defines_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "run.py"
    path.write_text("from braid_core.experiment.spec import RunSpec\nspec = RunSpec(task='motif', seed=7)\n")
    assert load_spec(path) == RunSpec(task="motif", seed=7)
    path.write_text("spec = {'task': 'motif', 'seed': 7}\n")
    assert load_spec(path) == RunSpec(task="motif", seed=7)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbf" + b'task = "motif"\n')
    assert load_spec(tmp_path / "run.toml") == RunSpec(task="motif")


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        tiny().seed = 1  # type: ignore[misc]


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_an_unknown_field_gets_the_nearest_one() -> None:
    message = refused({"task": "motif", "seeed": 1})
    assert "unknown field 'seeed'" in message
    assert "did you mean 'seed'?" in message


def test_an_unknown_field_in_a_component_is_located() -> None:
    message = refused({"task": "motif", "objective": {"type": "braid", "alhpa": 1}})
    assert "unknown field 'alhpa'" in message
    assert "spec: objective" in message
    assert "BraidSpec has no such field" in message
    assert "did you mean 'alpha'?" in message


def test_several_faults_are_all_named() -> None:
    message = refused({"task": "motif", "pool": "many", "seeed": 1, "holdout": 2})
    assert "(and 2 more: " in message
    assert all(field in message for field in ("pool", "seeed", "holdout"))


def test_an_unknown_plugin_gets_the_nearest_one() -> None:
    message = refused({"task": "motif", "oracle": "bootstap"})
    assert "no oracle named 'bootstap'" in message
    assert "did you mean 'bootstrap'?" in message


def test_a_plugin_of_another_kind_is_recognised() -> None:
    assert "'braid' is registered as objective" in refused({"task": "motif", "oracle": "braid"})
    assert "got BraidSpec" in refused({"task": "motif", "oracle": BraidSpec()})


@pytest.mark.parametrize("value", [3, None, [], {"members": 3}, {"type": 3}])
def test_what_is_no_component_is_refused(value: Any) -> None:
    assert "the oracle is not a component" in refused({"task": "motif", "oracle": value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": {"alpha": -0.1}}, ["alpha = -0.1", "greater than or equal to 0"]),
        ({"objective": {"alpha": float("nan")}}, ["alpha = nan", "finite"]),
        ({"designs": 32, "pool": 31}, ["`pool` (31) is smaller than `designs` (32)"]),
        ({"designs": 0}, ["designs = 0"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"holdout": 1.0}, ["holdout = 1.0"]),
        ({"oracle": {"members": 1}}, ["members = 1"]),
        ({"backbone": {"steps": 3}}, ["reveal='parallel'"]),
        ({"task": {"length": 12}}, ["cannot enumerate", "smaller length"]),
    ],
)
def test_values_out_of_bounds(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        tiny(**changes)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", ["..", ".", ".stages", "a/b", "", "-o"])
def test_a_run_name_cannot_leave_its_folder_or_hide(name: str) -> None:
    assert "name = " in refused({"task": "motif", "name": name})


def test_the_task_cannot_be_left_out() -> None:
    assert "the field 'task' is missing" in refused({})
    assert "a run spec is a mapping" in refused(["motif"])


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "meta", "mps", "", "cpu:3:1"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(SpecError, match="unknown"):
        pick_device(name)


def test_a_missing_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(SpecError, match="sees 0 CUDA devices"):
            pick_device(name)
    assert pick_device("auto") == torch.device("cpu")


def test_a_cuda_device_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tensors name it, or two names of one device would not be equal."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")


# --- files ------------------------------------------------------------------------------------------------------------


def test_malformed_toml_names_the_line(tmp_path: Path) -> None:
    message = answer(tmp_path / "run.toml", 'task = "motif"\nseed = = 3\n')
    assert "not valid TOML" in message
    assert "line 2" in message
    assert "run.toml" in message


def test_malformed_json_names_the_line(tmp_path: Path) -> None:
    message = answer(tmp_path / "run.json", '{"task": "motif",\n "seed" 3}')
    assert "not valid JSON" in message
    assert "line 2" in message


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b'task = "m\xff"')
    with pytest.raises(SpecError, match="not valid TOML"):
        load_spec(tmp_path / "run.toml")


def test_a_missing_file_gets_the_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "promoter.toml").touch()
    with pytest.raises(SpecError, match=r"did you mean 'promoter\.toml'\?"):
        load_spec(tmp_path / "promotor.toml")
    with pytest.raises(SpecError, match="no such spec file"):
        load_spec(tmp_path / "nowhere" / "run.toml")


@pytest.mark.parametrize(("name", "why"), [("run.yaml", "its ending is '.yaml'"), ("run", "it has no ending")])
def test_other_endings(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=why):
        load_spec(tmp_path / name)


def test_mistakes_in_a_component_name_the_file(tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    assert f"{toml}: oracle" in answer(toml, 'task = "motif"\n[oracle]\ntype = "bootstrap"\nmembres = 3\n')
    assert str(toml) in answer(toml, 'task = "motif"\noracle = "bootstap"\n')
    with pytest.raises(PluginError):
        load_spec(toml)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", ["defines no `spec`", "spec = RunSpec"]),
        ("spec = 3\n", ["a run spec is a mapping", "int"]),
        ("\nspec = {'task'\n", ["SyntaxError", "line 2"]),
        ("\n\nspec = undefined\n", ["NameError", "line 3", "undefined"]),
        ("spec = {'task': 'motif', 'seeed': 1}\n", ["unknown field 'seeed'", "did you mean 'seed'?"]),
        ("from braid_core.experiment.spec import *\nspec = RunSpec(task='motif', pool=1)\n", ["`pool` (1)", "line 2"]),
        (
            "from braid_conservative import BraidSpec\nx = BraidSpec(alhpa=1)\n",
            ["unknown field 'alhpa'", "line 2", "did you mean 'alpha'?"],
        ),
        (
            "from braid_core.experiment.spec import *\nspec = RunSpec(task='motiv')\n",
            ["no task named 'motiv'", "line 2", "did you mean 'motif'?"],
        ),
    ],
)
def test_mistakes_in_python_name_the_line(text: str, words: list[str], tmp_path: Path) -> None:
    message = answer(tmp_path / "run.py", text)
    assert "run.py" in message
    assert [word for word in words if word not in message] == []
