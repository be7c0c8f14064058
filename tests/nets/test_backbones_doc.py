"""What the page on backbones says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from braid_core.nets.denoiser import SIZES
from braid_core.nets.spec import DenoiserSpec, TrainingSpec
from braid_core.tuning.rollout import rollout
from tests.checks import seeded

PAGE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", [*DenoiserSpec.model_fields, *TrainingSpec.model_fields])
def test_every_field_is_in_a_table(name: str) -> None:
    assert f"| `{name}` |" in PAGE


def test_the_sizes_are_those_of_the_presets() -> None:
    described = str(DenoiserSpec.model_fields["preset"].description)
    for kind, (width, depth) in [pair for sizes in SIZES.values() for pair in sizes.items()]:
        assert f"{kind} {depth} x {width}" in described


def test_a_network_of_ones_own_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    with torch.random.fork_rng():
        exec(CODE[-1], names)
    for name in ("final", "untrained"):
        backbone = names[name]
        x = rollout(backbone.process, backbone.predict, 3, seeded()).x  # type: ignore[attr-defined]
        assert x.shape == (3, 12, 4)
    assert names["final"].training is None  # type: ignore[attr-defined]
