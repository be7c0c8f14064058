"""The fine-tuning loop: maximise E[score]/σ − α·KL(path ‖ pretrained path) through the rollout.

BRAID and STRL are this loop with different scores (Uehara et al. 2024, eq. 5 and its ĝ = 0 ablation).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import BraidError, DataError, UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    Objective,
    Oracle,
    Predict,
    Problem,
    Sampler,
    State,
    Tokens,
    Trajectory,
)
from braid_core.tuning.letters import by_substitution
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import FineTuningSpec

LOG_EVERY = 10
MOST_SUBSTITUTIONS = 256
"""Up to so many substitutions a design, letter_gradient = 'auto' scores them all."""


class FineTuned(Sampler):
    """Draws from a tuned backbone and reports the KL that each design has cost."""

    def __init__(self, tuned: Backbone, reference: Predict) -> None:
        self.tuned, self.reference = tuned, reference

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = rollout(
            self.tuned.process, self.tuned.predict, n, generator, reference=self.reference, condition=condition
        )
        return Trajectory(self.tuned.decode(path.x), path.kl)

    def state(self) -> State:
        return self.tuned.state()

    def load_state(self, state: State) -> None:
        self.tuned.load_state(state)


class FineTuning(Objective):
    """Everything but the score, which a subclass defines."""

    def __init__(self, spec: FineTuningSpec) -> None:
        self.spec = spec

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> FineTuned:
        opened = pretrained.tunable()
        return FineTuned(opened.tuned, opened.reference)

    def fit(self, problem: Problem) -> FineTuned:
        spec, opened = self.spec, problem.pretrained.tunable()
        if not opened.tuned.process.tunable:
            raise UnsupportedError(
                "this backbone cannot be fine-tuned",
                why="one of its steps has no noise, so that its path KL would be infinite",
                fix="give every step noise (for DDIM: eta > 0), or use an objective that does not tune",
            )
        unit = problem.data.std
        if bool((problem.data.y == problem.data.y[0]).all()):  # their standard deviation need not round to 0
            raise DataError("all offline rewards are equal, so alpha has no unit", fix="check the score column")
        optimiser = torch.optim.Adam(opened.parameters, lr=spec.learning_rate, fused=True)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, spec.steps)
        generator = problem.streams.get("tuning", problem.pretrained.device)
        score_of = self._differentiable_score(problem.oracle)
        for step in range(1, spec.steps + 1):
            path = self._rollout(opened.tuned, opened.reference, generator)
            x = opened.tuned.decode(path.x)
            kl = _total(path)
            loss = (spec.alpha * kl - score_of(x) / unit).mean()
            optimiser.zero_grad()
            # Only the tuned parameters get a gradient; those of the oracle and the reference are left alone.
            # `backward` gives gradients the parameters' strides; fused Adam would read others as if they had them.
            torch.autograd.backward(loss, inputs=opened.parameters)
            norm = torch.nn.utils.clip_grad_norm_(opened.parameters, spec.clip)
            optimiser.step()
            decay.step()
            # Reading a figure waits for the device, so it is done only now and then.
            if step % LOG_EVERY == 0 or step == spec.steps:
                _check(loss + norm, step, spec)  # a lost gradient shows in the loss of the next step only
                figures = {"kl": float(kl.detach().mean()), "grad_norm": float(norm)}
                problem.log.step(step, spec.steps, **_beliefs(problem.oracle, x), **figures)
        for parameter in opened.parameters:
            parameter.grad = None
        return FineTuned(opened.tuned, opened.reference)

    def _differentiable_score(self, oracle: Oracle) -> Callable[[Tensor], Tensor]:
        """The score of designs, with the gradient that the spec asks for."""

        def score(x: Tensor) -> Tensor:
            return self.score(oracle.posterior(x))

        choice, space = self.spec.letter_gradient, oracle.space
        if choice == "exact" and not isinstance(space, Tokens):
            raise UnsupportedError(
                f"letter_gradient = 'exact' is for token designs, not for {type(space).__name__}",
                fix="leave letter_gradient out",
            )
        few = isinstance(space, Tokens) and space.length * (len(space.alphabet) - 1) <= MOST_SUBSTITUTIONS
        if choice == "exact" or (choice == "auto" and few):
            return lambda x: by_substitution(score, x)
        return score

    def _rollout(self, tuned: Backbone, reference: Predict, generator: torch.Generator) -> Trajectory:
        return rollout(
            tuned.process,
            tuned.predict,
            self.spec.batch,
            generator,
            reference=reference,
            checkpoint=self.spec.checkpoint,
            truncate=self.spec.truncate,
        )


@torch.no_grad()
def _beliefs(oracle: Oracle, x: Tensor) -> dict[str, float]:
    """The batch means of r̂ and r̂ − ĝ, for the log."""
    posterior = oracle.posterior(x.detach())
    return {"mean": float(posterior.mean.mean()), "conservative": float(posterior.conservative().mean())}


def _total(path: Trajectory) -> Float[Tensor, " b"]:
    """The path KL per design: summed over all steps (each step's is summed over dimensions)."""
    if path.kl is None:
        raise UnsupportedError("the rollout was made without a reference, so there is no path KL")
    return path.kl.sum(1)


def _check(figure: Tensor, step: int, spec: FineTuningSpec) -> None:
    if not bool(figure.isfinite()):
        raise BraidError(
            "fine-tuning diverged: the loss or its gradient is not finite",
            where=f"step {step} of {spec.steps}",
            why=f"alpha {spec.alpha}, learning rate {spec.learning_rate}",
            fix="lower learning_rate, or raise alpha",
        )
