"""What the kernel compares: designs in all their forms, or the features that a reward network has learned of them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Log, Space, State, Stateful
from braid_core.nets.reward import BLOCK, RewardModel

FLAT = 1e-3
"""Features that vary by less than this share of the most varying one are noise, and are not blown up to its size."""


class Inputs(Stateful):
    """Kernel inputs of designs, differentiable, one row for each form that the space calls the same."""

    @abstractmethod
    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log) -> None:
        """Learn what there is to learn, before the Gaussian process is fitted."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b d"]:
        """The inputs, in the dtype of ``x``."""


class Designs(Inputs):
    """The flattened design itself."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log) -> None:
        del data, generator, log

    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b d"]:
        return self.space.orbit(x).flatten(2)

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        del state


class Learned(Inputs):
    """The last hidden layer of a reward network, trained first and then frozen; one form, as it is symmetric.

    Standardised. A deep kernel in two stages: training both at once (Wilson et al. 2016) overfits where data are few
    (Ober et al. 2021).
    """

    def __init__(self, model: RewardModel) -> None:
        self.model = model
        width = model.mlp.weights[-1].shape[1]
        self.mean = torch.zeros(width, device=model.device)
        self.std = torch.ones(width, device=model.device)

    def fit(self, data: LabelledDesigns, generator: torch.Generator, log: Log) -> None:
        self.model.fit(data, generator, log)
        hidden = torch.cat([self.model.features(block)[0] for block in torch.split(data.x, BLOCK)])
        self.mean, std = hidden.mean(0), hidden.std(0)
        self.std = std.clamp(min=float(FLAT * std.max()) or 1.0)

    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b d"]:
        return (self.model.features(x) - self.mean) / self.std

    def state(self) -> State:
        network = self.model.state().prefixed("network")
        return State({**network.tensors, "mean": self.mean.clone(), "std": self.std.clone()}, network.meta)

    def load_state(self, state: State) -> None:
        self.model.load_state(State(state.under("network"), state.meta))
        self.mean, self.std = (state.tensors[name].to(self.model.device) for name in ("mean", "std"))
