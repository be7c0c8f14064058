"""What all chains over letters share."""

from __future__ import annotations

from jaxtyping import Float
from torch import Generator, Tensor

from braid_core.interfaces import Condition, Potential, Predict, Process, Tokens, Transition
from braid_discrete.guidance import direction


class TokenProcess(Process):
    """A chain whose network says how likely each letter of x0 is, and whose loss is its evidence bound."""

    guided_through_state = False

    def __init__(self, space: Tokens, steps: int, temperature: float | None = None) -> None:
        self.space: Tokens = space
        self.steps = steps
        self.temperature = temperature

    def guided(
        self, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential, level: float
    ) -> Transition:
        # On the letters of x0, before the rates come in: how fast letters are revealed or change stays as it is.
        return self.transition(out + level * direction(self, out, x, k, potential), x, k)

    def bound(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        return self.loss(predict, x0, generator, condition)
