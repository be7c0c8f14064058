"""The masked chain with a network."""

from __future__ import annotations

import torch

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Process, Space, Tokens
from braid_core.nets.backbone import NetworkBackbone
from braid_discrete import MaskedSpec
from braid_discrete.masked import OneByOne, Parallel


def masked(spec: MaskedSpec, space: Space, device: torch.device) -> NetworkBackbone:
    """An untrained backbone; ``out`` is letter logits ``(b, l, v)``. Its network needs no time (Ou et al. 2024)."""
    if not isinstance(space, Tokens):
        raise UnsupportedError(
            f"the masked backbone works on tokens, not on {type(space).__name__}",
            fix="choose a backbone for this space",
        )
    process: Process = (
        OneByOne(space, spec.temperature)
        if spec.reveal == "one"
        else Parallel(space, spec.steps or space.length, spec.temperature)
    )
    return NetworkBackbone(process, spec, device, timed=False)
