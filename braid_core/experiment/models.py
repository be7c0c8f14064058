"""Learned parts, built from their specs and given the state of their stages."""

from __future__ import annotations

import torch

from braid_core.errors import StoreError
from braid_core.experiment.spec import RunSpec
from braid_core.interfaces import Backbone, Objective, Oracle, Sampler, Space, State, Stateful
from braid_core.registry.spec import OracleSpec


def load_backbone(spec: RunSpec, space: Space, device: torch.device, state: State) -> Backbone:
    """The pretrained backbone."""
    backbone = spec.backbone.build(space, device)
    _load(backbone, state, device, "backbone")
    return backbone


def load_oracle(spec: OracleSpec, space: Space, device: torch.device, state: State) -> Oracle:
    """The fitted oracle, with the scale that ``spec`` gives as a number."""
    oracle = spec.build(space, device)
    _load(oracle, State(state.under("oracle"), state.meta), device, "oracle")
    return oracle


def load_sampler(
    objective: Objective, backbone: Backbone, oracle: Oracle, device: torch.device, state: State
) -> Sampler:
    """The finished sampler."""
    sampler = objective.sampler(backbone, oracle)
    _load(sampler, state, device, "objective")
    return sampler


def _load(part: Stateful, state: State, device: torch.device, stage: str) -> None:
    tensors = {name: tensor.to(device) for name, tensor in state.tensors.items()}
    try:
        part.load_state(State(tensors, state.meta))
    except (RuntimeError, KeyError) as error:
        raise StoreError(
            f"the stored {stage} does not fit its spec",
            why=" ".join(str(error).split())[:300],
            fix="the plugin has changed since: make the run again with `braid run`",
        ) from error
