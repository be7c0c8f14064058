"""A correct objective: conservative fine-tuning, quick, and handed on so that a fault can be put in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid_core.interfaces import (
    Backbone,
    Condition,
    Objective,
    Oracle,
    Posterior,
    Problem,
    Sampler,
    Space,
    State,
    Tokens,
    Trajectory,
    Vectors,
)
from braid_core.tuning.finetune import FineTuned, FineTuning
from braid_core.tuning.spec import FineTuningSpec

LETTERS, VECTORS = Tokens("ACG", 2), Vectors(2)


class SoundSpec(FineTuningSpec):
    """The correct objective."""

    type: str = "sound"

    def build(self) -> Any:
        return Sound(self)


QUICK = SoundSpec(alpha=1.0, steps=8, batch=64, learning_rate=0.25, milestones=3)
STILL = SoundSpec(steps=1, learning_rate=1e-30)


class Tuned(Sampler):
    """Hands everything on to a tuned sampler."""

    def __init__(self, inner: FineTuned) -> None:
        self.inner = inner

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        return self.inner.sample(n, generator, condition)

    @property
    def milestones(self) -> tuple[int, ...]:
        return self.inner.milestones

    def at(self, milestone: int) -> AbstractContextManager[Sampler]:
        return self._at(milestone)

    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        with self.inner.at(milestone):
            yield self

    def state(self) -> State:
        return self.inner.state()

    def load_state(self, state: State) -> None:
        self.inner.load_state(state)


class Tuning(FineTuning):
    """Maximises the conservative reward."""

    def score(self, posterior: Posterior) -> Tensor:
        return posterior.conservative()


class Sound(Objective):
    """No fault: conservative fine-tuning."""

    found_by: ClassVar[set[str]] = set()
    space: ClassVar[Space] = LETTERS
    tuning: ClassVar[type[FineTuning]] = Tuning
    tuned: ClassVar[type[Tuned]] = Tuned

    def __init__(self, spec: FineTuningSpec) -> None:
        self.method = self.tuning(spec)

    def fit(self, problem: Problem) -> Tuned:
        return self.tuned(self.method.fit(problem))

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Tuned:
        return self.tuned(self.method.sampler(pretrained, oracle))

    def score(self, posterior: Posterior) -> Tensor:
        return posterior.conservative()
