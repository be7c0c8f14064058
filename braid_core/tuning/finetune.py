"""The fine-tuning loop: maximise E[score]/σ − α·KL(path ‖ pretrained path) through the rollout.

BRAID and STRL are this loop with different scores (Uehara et al. 2024, eq. 5 and its ĝ = 0 ablation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import BraidError, UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    Objective,
    Oracle,
    Problem,
    Sampler,
    Space,
    State,
    Trajectory,
    Tunable,
)
from braid_core.nets.randomness import repeatable
from braid_core.nets.training import RunningMean
from braid_core.tuning.estimators import Batch, estimator
from braid_core.tuning.price import price
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import FineTuningSpec

LOG_EVERY = 10
WARM_UP, WARM_UP_SHARE = 20, 0.2
"""Steps in which the learning rate rises, and how much of the first (or only) share of the steps they may take."""


@final
class FineTuned(Sampler):
    """Draws from a tuned backbone and reports the KL that each design has cost.

    ``earlier``: what the tuned backbone had learned after some earlier steps.
    """

    def __init__(self, opened: Tunable, earlier: dict[int, State] | None = None) -> None:
        self.tuned, self.reference, self.earlier = opened.tuned, opened.reference, earlier or {}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = rollout(
            self.tuned.process, self.tuned.predict, n, generator, reference=self.reference, condition=condition
        )
        return Trajectory(self.tuned.decode(path.x), path.kl)

    @torch.no_grad()
    def designs(
        self, n: int, generator: torch.Generator, condition: Condition | None = None
    ) -> Float[Tensor, " n *event"]:
        return self.tuned.decode(rollout(self.tuned.process, self.tuned.predict, n, generator, condition=condition).x)

    @property
    def milestones(self) -> tuple[int, ...]:
        return tuple(sorted(self.earlier))

    @contextmanager
    def at(self, milestone: int) -> Iterator[Sampler]:
        if milestone not in self.earlier:
            super().at(milestone)  # which refuses
        last = self.tuned.state()
        self.tuned.load_state(self.earlier[milestone])
        try:
            yield self
        finally:
            self.tuned.load_state(last)

    def state(self) -> State:
        states = {"last": self.tuned.state(), **{str(step): state for step, state in self.earlier.items()}}
        tensors = {name: t.clone() for key, state in states.items() for name, t in state.prefixed(key).tensors.items()}
        return State(tensors, {key: state.meta for key, state in states.items()})

    def load_state(self, state: State) -> None:
        states = {key: State(state.under(key), meta) for key, meta in state.meta.items()}
        self.tuned.load_state(states.pop("last"))
        self.earlier = {int(step): earlier for step, earlier in states.items()}


class FineTuning(Objective):
    """Everything but the score, which a subclass defines."""

    def __init__(self, spec: FineTuningSpec) -> None:
        self.spec = spec

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> FineTuned:
        return FineTuned(pretrained.tunable())

    @repeatable()
    def fit(self, problem: Problem) -> FineTuned:
        spec, unit = self.spec, problem.data.unit
        opened = open_for_tuning(problem.pretrained)
        gradient = estimator(
            spec, opened, problem.oracle, lambda x: self.score(problem.oracle.posterior(x)) / unit, price(spec)
        )
        optimiser = torch.optim.Adam(opened.parameters, lr=spec.learning_rate, fused=True)
        decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, spec.shares))
        average = RunningMean(opened.parameters, spec.ema)
        generator = problem.streams.get("tuning", problem.pretrained.device)
        earlier = {}
        for step in range(1, spec.steps + 1):
            optimiser.zero_grad()
            batch = gradient.backward(generator)  # of the tuned parameters alone
            norm = torch.nn.utils.clip_grad_norm_(opened.parameters, spec.clip)
            optimiser.step()
            decay.step()
            average.update()
            if step in spec.kept:
                with average.applied():
                    earlier[step] = opened.tuned.state()
            # Reading a figure waits for the device, so it is done only now and then.
            if step % LOG_EVERY == 0 or step == spec.steps:
                _check(batch.loss + norm, step, batch, spec)  # a lost gradient shows in the loss of the next step only
                problem.log.step(step, spec.steps, **_figures(batch, problem.oracle), grad_norm=float(norm))
        average.keep()
        for parameter in opened.parameters:
            parameter.grad = None
        return FineTuned(opened, earlier)


def open_for_tuning(pretrained: Backbone) -> Tunable:
    """A trainable twin and its frozen reference. Raises :class:`UnsupportedError` for a chain without noise."""
    opened = pretrained.tunable()
    if not opened.tuned.process.tunable:
        raise UnsupportedError(
            "this backbone cannot be fine-tuned",
            why="one of its steps has no noise, so that its path KL would be infinite",
            fix="give every step noise (for DDIM: eta > 0), or use an objective that does not tune",
        )
    return opened


def _rate(step: int, ends: tuple[int, ...]) -> float:
    """The learning rate's factor: down along half a cosine in each share of the steps; ``ends``: the last step of each.

    At first it warms up: Adam's first steps are as long as the rate whatever the gradient, and would throw a model of
    images hundreds of nats off before any price can answer.
    """
    start = max((end for end in ends if end <= step), default=0)
    end = min((end for end in ends if end > step), default=step + 1)
    warm = min(1.0, (step + 1) / min(WARM_UP, max(1.0, WARM_UP_SHARE * ends[0])))
    return warm * 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))


@torch.no_grad()
def _figures(batch: Batch, oracle: Oracle) -> dict[str, float]:
    """Batch means for the log: r̂ and r̂ − ĝ in the rewards' unit, nats, and how different the designs still are."""
    posterior = oracle.posterior(batch.x)
    return {
        "mean": float(posterior.mean.mean()),
        "conservative": float(posterior.conservative().mean()),
        "kl": float(batch.kl.mean()),
        "alpha": float(batch.alpha),
        "diversity": _diversity(batch.x, oracle.space),
    }


def _diversity(x: Float[Tensor, " b *event"], space: Space) -> float:
    """The mean distance between two designs of a batch: 0 where the generator has collapsed to one."""
    return float(space.distance(x, x).sum() / (len(x) * (len(x) - 1)))


def _check(figure: Tensor, step: int, batch: Batch, spec: FineTuningSpec) -> None:
    if bool(figure.isfinite()):
        return
    where = f"step {step} of {spec.steps}"
    if not bool(batch.score.isfinite().all()):
        raise BraidError(
            "the oracle's score of some designs is not a number",
            where=where,
            fix="look at the oracle's quality in the report; lower learning_rate if designs have gone astray",
        )
    raise BraidError(
        "fine-tuning diverged: the loss or its gradient is not finite",
        where=where,
        why=f"alpha {float(batch.alpha):.3g}, learning rate {spec.learning_rate}",
        fix="lower learning_rate, or raise alpha" if spec.alpha is not None else "lower learning_rate",
    )
