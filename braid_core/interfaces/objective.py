"""A method: from a pretrained backbone and an oracle to a sampler of designs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces.backbone import Backbone
from braid_core.interfaces.condition import Condition
from braid_core.interfaces.log import Log, Silent
from braid_core.interfaces.oracle import LabelledDesigns, Oracle, Posterior
from braid_core.interfaces.state import Stateful
from braid_core.interfaces.streams import Streams


@dataclass(frozen=True)
class Trajectory:
    """What a rollout leaves behind.

    ``x``: the designs. ``kl``: nats paid at each step against the reference, if one was given. ``log_prob``: of each
    step taken, and ``states`` before each step and after the last, if they were recorded.
    """

    x: Float[Tensor, " b *event"]
    kl: Float[Tensor, "b t"] | None = None
    log_prob: Float[Tensor, "b t"] | None = None
    states: Float[Tensor, "t1 b *state"] | None = None


@dataclass(frozen=True)
class Problem:
    """Everything a method may see. There is no task in it, so no way to the truth.

    ``oracle_rmse``: the error of the oracle's mean on designs held out from it, in the task's units, where known.
    """

    data: LabelledDesigns
    pretrained: Backbone
    oracle: Oracle
    streams: Streams
    log: Log = field(default_factory=Silent)
    oracle_rmse: float | None = None


class Sampler(Stateful):
    """A generator of proposed designs; a finished run is one of these."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        """``n`` designs, without gradients."""

    def designs(
        self, n: int, generator: torch.Generator, condition: Condition | None = None
    ) -> Float[Tensor, " n *event"]:
        """The designs of :meth:`sample` alone; to be overridden where leaving out their KL saves work."""
        return self.sample(n, generator, condition).x

    @property
    def milestones(self) -> tuple[int, ...]:
        """The earlier steps of its making that it can go back to; none unless a method keeps them."""
        return ()

    def at(self, milestone: int) -> AbstractContextManager[Sampler]:
        """The sampler as it was after step ``milestone``; it is that only within the context."""
        raise UnsupportedError(f"{type(self).__name__} has not kept what it was at step {milestone}")


class Objective(ABC):
    """Fine-tuning (BRAID, STRL), retraining (DDOM) and inference-time methods (Guidance, Best-of-N) alike."""

    @abstractmethod
    def fit(self, problem: Problem) -> Sampler:
        """Make a sampler; called once, in the tuning stage. Reports to ``problem.log``."""

    @abstractmethod
    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Sampler:
        """An unfitted sampler of the kind :meth:`fit` returns, ready for ``load_state``; used to reopen a run."""

    @abstractmethod
    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        """The method's own opinion of designs, by which its best are selected."""
