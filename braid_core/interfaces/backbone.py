"""A pretrained generator: a process and the network that drives it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from braid_core.interfaces.condition import Condition, ConditionSpec
from braid_core.interfaces.log import Log, Silent
from braid_core.interfaces.process import Predict, Process
from braid_core.interfaces.state import Stateful


@dataclass(frozen=True)
class Tunable:
    """A backbone opened for fine-tuning.

    ``tuned`` starts out equal to the pretrained backbone and is what is sampled from in the end; ``parameters`` are
    those that may change; ``reference`` is the frozen pretrained network. Its parameters take no gradient, but the
    gradient with respect to its *input* must flow: the path KL depends on the state through both networks.
    """

    tuned: Backbone
    reference: Predict
    parameters: list[Parameter]


class Backbone(Stateful):
    """A generative model of valid designs."""

    process: Process
    device: torch.device
    condition: ConditionSpec | None = None

    @abstractmethod
    def predict(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Tensor:
        """The network's additive output at state ``x`` and time ``t``; called once a step."""

    @abstractmethod
    def fit(
        self,
        designs: Float[Tensor, " n *event"],
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Float[Tensor, " n"] | None = None,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """Train on valid designs; called once, in the backbone stage (and by DDOM on its conditional twin).

        They are designs, not latents: a backbone whose chain runs on latents learns here how to encode them.
        """

    @abstractmethod
    def fresh(self, condition: ConditionSpec | None) -> Self:
        """An untrained twin of equal architecture and encoding of designs, with the given condition."""

    @abstractmethod
    def tunable(self) -> Tunable:
        """Open the model for fine-tuning without changing it."""

    def encode(self, designs: Float[Tensor, " b *event"]) -> Float[Tensor, " b *latent"]:
        """Designs to what the chain runs on; the identity unless the chain lives in a latent space."""
        return designs

    def decode(self, latents: Float[Tensor, " b *latent"]) -> Float[Tensor, " b *event"]:
        """The inverse of :meth:`encode`, differentiable."""
        return latents
