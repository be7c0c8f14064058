"""The ensemble: all members train and predict in one batched pass over stacked weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_bootstrap import BootstrapSpec
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_core.nets.reward import RewardModel


@dataclass(frozen=True)
class EnsemblePosterior(Posterior):
    """The members' predictions ``(m, b)`` in reward units."""

    members: Float[Tensor, "m b"]
    c: float
    bound: str

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return self.members.mean(0)

    @property
    def std(self) -> Float[Tensor, " b"]:
        return self.members.std(0)

    def conservative(self) -> Float[Tensor, " b"]:
        mean = self.mean
        # the mean of equal numbers may round below them
        penalty = (mean - self.members.amin(0)).clamp(min=0) if self.bound == "min" else self.std
        return mean - self.c * penalty


class BootstrapOracle(Oracle):
    """M reward networks, each on its own with-replacement resample of the table (Efron 1979)."""

    def __init__(self, spec: BootstrapSpec, space: Space, device: torch.device) -> None:
        self.spec, self.space, self.c = spec, space, spec.scale
        self.model = RewardModel(spec.network, space, spec.members, device)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        self.model.fit(data, generator, log, resample=True)

    def posterior(self, x: Float[Tensor, " b *event"]) -> EnsemblePosterior:
        return EnsemblePosterior(self.model.predict(x), self.c, self.spec.bound)

    def state(self) -> State:
        return self.model.state()

    def load_state(self, state: State) -> None:
        self.model.load_state(state)
