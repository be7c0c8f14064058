"""Guidance by the oracle (Dhariwal & Nichol 2021; for letters the gradient of the relaxed x̂0)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import BraidError, DataError
from braid_core.interfaces import (
    Backbone,
    Condition,
    Objective,
    Oracle,
    Posterior,
    Problem,
    Sampler,
    State,
    Trajectory,
)
from braid_core.nets.randomness import repeatable
from braid_core.tuning.rollout import Guidance, rollout
from braid_guidance import GuidanceSpec

Score = Callable[[Posterior], Tensor]


@dataclass(frozen=True)
class Aim:
    """What is followed: log N(``target``; score, ``scale``²) up to a constant, or without a target score / ``scale``.

    Both are in the task's units.
    """

    target: float | None
    scale: float

    def potential(self, score: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """In nats."""
        if self.target is None:
            return score / self.scale
        return -0.5 * ((self.target - score) / self.scale).square()


class Guided(Sampler):
    """Draws from the pretrained backbone, each step tilted along ``level``·∇potential(x̂0).

    The KL of a design is Σ_k KL(guided step k ‖ the same step unguided), exact, along its own path. It is left out
    (None) for a chain with a step without noise, which has none.
    """

    def __init__(self, pretrained: Backbone, oracle: Oracle, score: Score, level: float, aim: Aim | None) -> None:
        self.pretrained, self.oracle, self.score, self.level, self._aim = pretrained, oracle, score, level, aim

    @property
    def aim(self) -> Aim:
        """What is followed. Raises :class:`BraidError` before ``load_state``."""
        if self._aim is None:
            raise BraidError("the sampler does not know its target yet", fix="call `fit` or `load_state` first")
        return self._aim

    def _potential(self, x0: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        return self.aim.potential(self.score(self.oracle.posterior(self.pretrained.decode(x0))))

    @repeatable()
    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        """``n`` designs. Raises :class:`BraidError` where guidance is too strong to be followed."""
        process, predict = self.pretrained.process, self.pretrained.predict
        path = rollout(
            process,
            predict,
            n,
            generator,
            reference=predict if process.tunable else None,
            condition=condition,
            guidance=Guidance(self._potential, self.level),
        )
        # Of letters, which are always finite, it is the KL that shows a lost direction.
        if not all(bool(part.isfinite().all()) for part in (path.x, path.kl) if part is not None):
            raise BraidError(
                "guidance diverged: a guided step is not finite",
                why=f"level {self.level}, {self.aim}",
                fix="lower `level`, or raise `noise`",
            )
        return Trajectory(self.pretrained.decode(path.x), path.kl)

    def state(self) -> State:
        return State({}, asdict(self.aim))

    def load_state(self, state: State) -> None:
        self._aim = Aim(state.meta["target"], state.meta["scale"])


class GuidedSampling(Objective):
    """The baseline of inference-time guidance: the model stays frozen, every draw asks the oracle at every step."""

    def __init__(self, spec: GuidanceSpec) -> None:
        self.spec = spec

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Guided:
        return Guided(pretrained, oracle, self.score, self.spec.level, None)

    def fit(self, problem: Problem) -> Guided:
        """Nothing is trained: the target and the scale are read off the problem."""
        return Guided(problem.pretrained, problem.oracle, self.score, self.spec.level, self._aim(problem))

    def _aim(self, problem: Problem) -> Aim:
        spec = self.spec
        if spec.potential == "reward":
            return Aim(None, problem.data.unit)
        target = float(problem.data.y.max()) if spec.target is None else spec.target
        noise = problem.oracle_rmse if spec.noise is None else spec.noise
        if not noise:
            raise DataError(
                "the noise of the likelihood is not known",
                why="the oracle's error on held-out designs was not given" if noise is None else "that error is 0",
                fix="give `noise` a number, in the task's units",
            )
        return Aim(target, noise)

    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        return posterior.conservative() if self.spec.conservative else posterior.mean
