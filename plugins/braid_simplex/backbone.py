"""The simplex chain with a network that reads what each position looks like."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from braid_core.interfaces import Condition, Space
from braid_core.interfaces.transition import softmax
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.denoiser import denoiser
from braid_simplex import SimplexSpec
from braid_simplex.process import TIMES, SimplexProcess


class SimplexBackbone(NetworkBackbone):
    """``out`` is letter logits. The network is shown softmax(log p_τ(sticks | letter)): how far each letter is likely.

    These are the sticks in units that mean the same at all times. (The tables stand for 1/128 of the time each.)
    """

    process: SimplexProcess

    def _network(self, generator: torch.Generator) -> nn.Module:
        shape = self.process.space.event_shape
        return denoiser(self.spec.network, shape, self.out, generator, condition=self.condition, timed=self.timed)

    def predict(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Tensor:
        index = (t * TIMES).long().clamp(max=TIMES - 1)
        likely = softmax(self.process.training(x.device).evidence(x, index).letters())
        return super().predict(likely, t, condition)


def simplex(spec: SimplexSpec, space: Space, device: torch.device) -> SimplexBackbone:
    """An untrained backbone."""
    process = SimplexProcess(
        space,
        spec.steps,
        horizon=spec.horizon,
        end=spec.end,
        warp=spec.warp,
        speed=spec.speed,
        objective=spec.objective,
        temperature=spec.temperature,
    )
    return SimplexBackbone(process, spec, device)
