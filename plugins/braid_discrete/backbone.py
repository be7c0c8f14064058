"""Chains over letters with a network."""

from __future__ import annotations

import torch

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Process, Space, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_discrete import MaskedSpec, UniformSpec
from braid_discrete.masked import OneByOne, Parallel
from braid_discrete.uniform import Uniform

FEWEST_STEPS = 32
"""Of a uniform chain whose spec leaves them open."""
MOST_ONE_BY_ONE, STEPS = 100, 16
"""Letters of the longest designs that are revealed one a step by default, and the steps of longer ones."""


def masked(spec: MaskedSpec, space: Space, device: torch.device) -> NetworkBackbone:
    """An untrained backbone; ``out`` is letter logits ``(b, l, v)``. Its network needs no time (Ou et al. 2024)."""
    space = _tokens(space, "masked")
    automatic = spec.reveal == "auto"
    process: Process
    if spec.reveal == "one" or (automatic and space.length <= MOST_ONE_BY_ONE):
        process = OneByOne(space, spec.temperature)
    else:
        process = Parallel(space, STEPS if automatic else spec.steps or space.length, spec.temperature)
    return NetworkBackbone(process, spec, device, timed=False)


def uniform(spec: UniformSpec, space: Space, device: torch.device) -> NetworkBackbone:
    """An untrained backbone; ``out`` is letter logits ``(b, l, v)``. Its network is told the time."""
    space = _tokens(space, "uniform")
    steps = spec.steps or max(2 * space.length, FEWEST_STEPS)
    return NetworkBackbone(Uniform(space, steps, spec.temperature), spec, device)


def _tokens(space: Space, name: str) -> Tokens:
    if not isinstance(space, Tokens):
        raise UnsupportedError(
            f"the {name} backbone works on tokens, not on {type(space).__name__}",
            fix="choose a backbone for this space",
        )
    return space
