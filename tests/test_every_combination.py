"""Every objective with every oracle on every backbone, in their least forms: it draws, tells the KL, and reopens."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from braid_core.interfaces import (
    Backbone,
    Images,
    LabelledDesigns,
    Oracle,
    Problem,
    Sampler,
    Space,
    State,
    Stateful,
    Streams,
    Tokens,
    Vectors,
)
from braid_core.registry.spec import BackboneSpec, ObjectiveSpec, OracleSpec, component
from braid_core.testing.contract import Contract

LETTERS, N = Tokens("ACGT", 3), 12
LEAST: dict[str, Any] = {"network": {"width": 8, "depth": 1}, "train_steps": 10, "batch": 16}
BACKBONES: dict[str, tuple[dict[str, Any], Space]] = {
    "masked": ({"type": "masked", **LEAST}, LETTERS),
    "uniform": ({"type": "uniform", "steps": 4, **LEAST}, LETTERS),
    "simplex": ({"type": "simplex", "steps": 4, **LEAST}, LETTERS),
    "gaussian": ({"type": "gaussian", "steps": 4, **LEAST}, Vectors(3)),
    "gaussian-images": ({"type": "gaussian", "steps": 3, **LEAST}, Images(1, 4, 4)),
}
REWARD: dict[str, Any] = {"network": {"width": 8, "depth": 1, "train_steps": 10, "batch": 16}}
ORACLES: dict[str, dict[str, Any]] = {
    "bootstrap": {"type": "bootstrap", "members": 2, **REWARD},
    "gp": {"type": "gp"},
    "rkhs": {"type": "rkhs", **REWARD},
}
TUNING: dict[str, Any] = {"steps": 3, "batch": 8, "milestones": 1}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "braid": {"type": "braid", **TUNING},
    "strl": {"type": "strl", **TUNING},
    "guidance": {"type": "guidance"},
    "ddom": {"type": "ddom"},
    "best-of-n": {"type": "best-of-n", "n": 3},
}
FORMS: dict[str, dict[str, Any]] = {
    "policy": {"policy": {"updates": 2}},
    "budget": {"kl_budget": 0.5},
    "policy-budgets": {"policy": {}, "kl_budget": [0.2, 0.5]},
    "lean": {"truncate": 1, "checkpoint": True, "ema": 0.5},
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator(Contract.device).manual_seed(seed)


@cache
def table(space: Space) -> LabelledDesigns:
    """Designs and a linear reward."""
    x = space.random(40, seeded(1))
    weights = torch.linspace(-1, 1.5, x[0].numel(), device=x.device)
    return LabelledDesigns(x, x.flatten(1) @ weights)


@cache
def state_of_backbone(name: str) -> State:
    """Pretrained, once, on designs that are not those of the table."""
    model = build_backbone(name)
    model.fit(BACKBONES[name][1].random(40, seeded(5)), seeded(2))
    return model.state()


def build_backbone(name: str) -> Backbone:
    options, space = BACKBONES[name]
    spec = component("backbone", options)
    assert isinstance(spec, BackboneSpec)
    return spec.build(space, Contract.device)


@cache
def state_of_oracle(name: str, space: Space) -> State:
    """Fitted, once for a space."""
    model = build_oracle(name, space)
    model.fit(table(space), seeded(3))
    return model.state()


def build_oracle(name: str, space: Space) -> Oracle:
    spec = component("oracle", ORACLES[name])
    assert isinstance(spec, OracleSpec)
    return spec.build(space, Contract.device)


def problem(backbone: str, oracle: str) -> Problem:
    """A new pretrained model and a new oracle, opened from their states."""
    space = BACKBONES[backbone][1]
    model, judge = build_backbone(backbone), build_oracle(oracle, space)
    model.load_state(state_of_backbone(backbone))
    judge.load_state(state_of_oracle(oracle, space))
    return Problem(table(space), model, judge, Streams(0), oracle_rmse=table(space).std)


def stored(part: Stateful, path: Path) -> State:
    """What is left of the state in a file."""
    state = part.state()
    save_file({name: tensor.contiguous().clone() for name, tensor in state.tensors.items()}, path)
    return State(load_file(path, str(Contract.device)), state.meta)


def check(options: dict[str, Any], backbone: str, oracle: str, folder: Path) -> Sampler:
    """Fit, draw, score and reopen; returns the sampler that was fitted."""
    spec = component("objective", options)
    assert isinstance(spec, ObjectiveSpec)
    given, other, space = problem(backbone, oracle), problem(backbone, oracle), BACKBONES[backbone][1]
    method = spec.build()
    sampler = method.fit(given)
    path = sampler.sample(N, seeded(4))
    assert path.x.shape == (N, *space.event_shape)
    assert space.contains(path.x).all()
    assert path.kl is not None
    assert path.kl.shape[0] == N
    assert path.kl.isfinite().all()
    assert float(path.kl.sum(1).mean()) >= -1e-5
    with torch.no_grad():
        scores = method.score(given.oracle.posterior(path.x))
    assert scores.shape == (N,)
    assert scores.isfinite().all()
    reopened = spec.build().sampler(other.pretrained, other.oracle)
    reopened.load_state(stored(sampler, folder / "state"))
    again = reopened.sample(N, seeded(4))
    assert torch.equal(again.x, path.x)
    assert again.kl is not None
    assert torch.equal(again.kl, path.kl)
    return sampler


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_combination_works(backbone: str, oracle: str, objective: str, tmp_path: Path) -> None:
    check(OBJECTIVES[objective], backbone, oracle, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_is_tuned_in_every_form(backbone: str, form: str, tmp_path: Path) -> None:
    sampler = check({**OBJECTIVES["braid"], **FORMS[form]}, backbone, "bootstrap", tmp_path)
    assert sampler.milestones
