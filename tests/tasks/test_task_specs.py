"""The light halves: data that round-trips, found by name, without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from braid_tasks import (
    DigitsSpec,
    EhrlichSpec,
    EnhancerSpec,
    ManifoldSpec,
    MotifSpec,
    RNABindingSpec,
    ShineDalgarnoSpec,
    TableSpec,
    TFBind8Spec,
    UTRSpec,
    YeastPromoterSpec,
)
from pydantic import ValidationError

from braid_core.errors import SpecError
from braid_core.registry.spec import TaskSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "table"
SPECS: list[TaskSpec] = [
    TFBind8Spec(),
    TFBind8Spec(cap=0.3, n=200, noise=0.1, unlabelled="offline"),
    TableSpec(path="designs.csv"),
    TableSpec(
        path="d.tsv", maximise=False, variance="v", group="g", symmetries=("reverse_complement",), unlabelled="u.txt"
    ),
    MotifSpec(),
    MotifSpec(alphabet="ACDE", length=3, landscape_seed=4, n=10, preference=0),
    EhrlichSpec(),
    EhrlichSpec(alphabet="ACD", quantisation=3, landscape_seed=2, n=None, unlabelled="offline"),
    ManifoldSpec(dim=4, latent=1, noise=0.5),
    RNABindingSpec(targets=2, target_length=30, pool=500, n=100),
    DigitsSpec(size=14, recognised=0.9, split_seed=2),
    EnhancerSpec(source="gosai", target="K562", path="t.txt", score="y", most_error=0.5, sha256="0" * 64),
    ShineDalgarnoSpec(),
    ShineDalgarnoSpec(cap=0.5, n=200, noise=0.1, unlabelled="offline"),
    UTRSpec(),
    UTRSpec(held_out=0.3, split_seed=4, unlabelled="offline"),
    YeastPromoterSpec(),
    YeastPromoterSpec(medium="defined", origins=("native", "random"), n=500, unlabelled="all"),
    EnhancerSpec(source="lentimpra", n=400, unlabelled="offline"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_specs_round_trip(spec: TaskSpec) -> None:
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    assert type(spec).model_validate(spec.model_dump()) == spec
    toml = tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True))
    assert type(spec).model_validate(tomllib.loads(toml)) == spec


@pytest.mark.parametrize("spec", SPECS)
def test_every_field_is_described(spec: TaskSpec) -> None:
    undescribed = [name for name, field in type(spec).model_fields.items() if not field.description]
    assert undescribed == ["type"]


def test_impossible_options_are_refused() -> None:
    for options in ({"cap": 0}, {"cap": 1.1}, {"n": 3}, {"noise": -1}, {"unlabelled": "none"}, {"colour": 1}):
        with pytest.raises(ValidationError):
            TFBind8Spec.model_validate(options)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (ShineDalgarnoSpec, {"unlabelled": "native"}),
        (UTRSpec, {"held_out": 0}),
        (UTRSpec, {"held_out": 1}),
        (UTRSpec, {"split_seed": -1}),
        (YeastPromoterSpec, {"medium": "rich"}),
        (YeastPromoterSpec, {"origins": ()}),
        (YeastPromoterSpec, {"origins": ("native", "designed")}),
        (YeastPromoterSpec, {"n": 50}),
        (UTRSpec, {"sha256": "abc"}),
        (EnhancerSpec, {"source": "starr"}),
        (EnhancerSpec, {"target": "liver"}),
        (EnhancerSpec, {"most_error": 0}),
    ],
)
def test_impossible_options_of_measured_libraries_are_refused(spec: type[TaskSpec], options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec.model_validate(options)


def test_impossible_enhancers_say_what_there_is() -> None:
    with pytest.raises(SpecError, match=r"lentimpra did not measure 'hk'[\s\S]*task\.target[\s\S]*'activity'"):
        EnhancerSpec(source="lentimpra", target="hk")
    with pytest.raises(SpecError, match=r"not in this package[\s\S]*task\.path[\s\S]*Table_S2__MPRA_dataset\.txt"):
        EnhancerSpec(source="gosai")


def test_specs_import_no_torch() -> None:
    code = "import sys, braid_tasks; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("spec", [TFBind8Spec(n=100), TFBind8Spec(unlabelled="offline"), MotifSpec(), *SPECS[-7:]])
def test_tasks_of_one_seed_are_equal(spec: TaskSpec) -> None:
    one, two, other = (spec.build(seed) for seed in (0, 0, 1))
    assert one.fingerprint() == two.fingerprint()
    assert torch.equal(one.offline().y, two.offline().y)
    assert torch.equal(one.unlabelled(), two.unlabelled())
    assert one.unit
    assert one.notes
    assert other.space == one.space


def test_the_example_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parents[1])
    run = tomllib.loads((EXAMPLE / "run.toml").read_text())
    assert (run["backbone"], run["oracle"], run["objective"]) == ("masked", "bootstrap", "braid")
    task = TableSpec.model_validate(run["task"]).build(run["seed"])
    assert task.offline().x.shape == (300, 9, 4)
    assert task.offline().variance is not None
