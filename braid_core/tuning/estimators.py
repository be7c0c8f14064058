"""Two ways to the gradient of E[score]/σ − α·KL(path ‖ pretrained path): through the rollout, and by its likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Oracle, Predict, Process, Tokens, Trajectory, Tunable
from braid_core.tuning.letters import Memory, by_substitution
from braid_core.tuning.price import Price
from braid_core.tuning.rollout import activations, rollout
from braid_core.tuning.spec import FineTuningSpec, PolicySpec

Score = Callable[[Tensor], Tensor]
MOST_SUBSTITUTIONS = 64
"""Up to so many substitutions a design, letter_gradient = 'auto' scores them all."""
MOST_KEPT = 4 * 2**30
"""Bytes of activations that checkpoint = 'auto' lets a rollout keep on a processor."""
ROWS = 4096
"""The most states that are scored again at once."""


@dataclass(frozen=True)
class Batch:
    """What a step has seen, without gradients: designs, scores, path KLs (nats), alpha, and the loss or its like."""

    x: Float[Tensor, " b *event"]
    score: Float[Tensor, " b"]
    kl: Float[Tensor, " b"]
    alpha: Float[Tensor, ""]
    loss: Float[Tensor, ""]


class Estimator(ABC):
    """Adds the gradient of the loss −(E[score] − α·KL) to the tuned parameters, on designs of its own drawing.

    ``score``: in standard deviations of the offline rewards.
    """

    def __init__(self, spec: FineTuningSpec, opened: Tunable, score: Score, price: Price) -> None:
        self.spec, self.opened, self.score, self.price = spec, opened, score, price

    @abstractmethod
    def backward(self, generator: torch.Generator) -> Batch:
        """One step's gradient. `backward` gives gradients the parameters' strides, which fused Adam relies on."""


@final
class Pathwise(Estimator):
    """Gradients flow from the score of the designs back through the chain that made them."""

    def __init__(self, spec: FineTuningSpec, opened: Tunable, score: Score, price: Price) -> None:
        super().__init__(spec, opened, score, price)
        if isinstance(spec.checkpoint, bool):
            self.checkpoint = spec.checkpoint
        else:
            tuned, device = opened.tuned, opened.parameters[0].device
            needed = activations(tuned.process, tuned.predict, spec.batch, device, reference=opened.reference)
            self.checkpoint = needed > most_kept(device)

    def backward(self, generator: torch.Generator) -> Batch:
        tuned, spec = self.opened.tuned, self.spec
        path = rollout(
            tuned.process,
            tuned.predict,
            spec.batch,
            generator,
            reference=self.opened.reference,
            checkpoint=self.checkpoint,
            truncate=spec.truncate,
        )
        x, kl = tuned.decode(path.x), _steps(path).sum(1)
        score = self.score(x)
        if not score.requires_grad:
            raise UnsupportedError(
                "the oracle's score has no gradient",
                why="tuning through the rollout would minimise the path KL alone",
                fix="give policy = {}, or letter_gradient = 'exact' for letters",
            )
        alpha = self.price.next(score.detach(), kl.detach())
        loss = (alpha * kl - score).mean()
        torch.autograd.backward(loss, inputs=self.opened.parameters)
        return Batch(x.detach(), score.detach(), kl.detach(), alpha, loss.detach())


@final
class Policy(Estimator):
    """Step k of a path is as good as what came after it: A_k = score − α·Σ_{j>k} KL_j, less the other paths' mean.

    With KL_k taken exactly at the states that were visited, ∇J = E[Σ_k A_k·∇log p(x_{k+1} | x_k) − α·Σ_k ∇KL_k], for
    any score: it need not have a gradient. Each batch serves ``updates`` steps by the clipped probability ratio of
    PPO (Schulman et al. 2017, eq. 7). The advantages are not divided by their spread, as is often done: that would
    change alpha.
    """

    def __init__(self, spec: FineTuningSpec, opened: Tunable, score: Score, price: Price, policy: PolicySpec) -> None:
        super().__init__(spec, opened, score, price)
        self.policy, self.left = policy, 0

    def backward(self, generator: torch.Generator) -> Batch:
        if not self.left:
            self._draw(generator)
            self.left = self.policy.updates
        self.left -= 1
        tuned, alpha, total = self.opened.tuned, self.alpha, torch.zeros_like(self.alpha)
        to_go = self.scores[:, None] - alpha * (self.kl.sum(1, keepdim=True) - self.kl.cumsum(1))
        advantage = (to_go - to_go.mean(0)) * len(to_go) / (len(to_go) - 1)  # less the mean of the *other* paths
        for ks, fixed in self.blocks:
            log_prob, kl = rescore(tuned.process, tuned.predict, fixed, self.states, ks)
            ratio, worth = (log_prob - self.log_prob[:, ks]).exp(), advantage[:, ks]
            clipped = ratio.clamp(1 - self.policy.ratio, 1 + self.policy.ratio)
            loss = (alpha * kl - torch.minimum(ratio * worth, clipped * worth)).sum(1).mean()
            torch.autograd.backward(loss, inputs=self.opened.parameters)
            total = total + loss.detach()
        return Batch(self.x, self.scores, self.kl.sum(1), alpha, total)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        tuned, reference = self.opened.tuned, self.opened.reference
        path = rollout(tuned.process, tuned.predict, self.spec.batch, generator, reference=reference, record=True)
        assert path.log_prob is not None
        assert path.states is not None
        self.x, self.kl, self.log_prob, self.states = tuned.decode(path.x), _steps(path), path.log_prob, path.states
        self.scores = self.score(self.x)
        self.alpha = self.price.next(self.scores, self.kl.sum(1), self.policy.updates)
        # The reference says the same of these states at every update.
        blocks = [
            rows.tolist() for rows in torch.split(torch.arange(len(path.states) - 1), max(1, ROWS // len(self.x)))
        ]
        self.blocks = [(ks, _predictions(tuned.process, reference, path.states, ks)) for ks in blocks]


def rescore(
    process: Process, predict: Predict, reference: Tensor, states: Float[Tensor, "t1 b *state"], ks: list[int]
) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
    """Log probabilities of the steps ``ks`` of stored paths under weights as they are now, and their KLs.

    ``reference``: the pretrained network's predictions at the states before these steps, ``(t b *out)``.
    """
    out = _predictions(process, predict, states, ks)
    steps = [process.transition(out[i], states[k], k) for i, k in enumerate(ks)]
    log_prob = [step.log_prob(states[k + 1]) for step, k in zip(steps, ks, strict=True)]
    kl = [
        step.kl(process.transition(reference[i], states[k], k))
        for i, (step, k) in enumerate(zip(steps, ks, strict=True))
    ]
    return torch.stack(log_prob, 1), torch.stack(kl, 1)


def _predictions(process: Process, predict: Predict, states: Float[Tensor, "t1 b *state"], ks: list[int]) -> Tensor:
    """What a network says before the steps ``ks``, ``(t b *out)``, in one call."""
    here = states[ks].flatten(0, 1)
    t = torch.tensor([process.time(k) for k in ks], device=here.device).repeat_interleave(states.shape[1])
    out = predict(here, t, None)
    return out.reshape(len(ks), -1, *out.shape[1:])


def estimator(spec: FineTuningSpec, opened: Tunable, oracle: Oracle, score: Score, price: Price) -> Estimator:
    """What ``spec`` asks for. Raises :class:`UnsupportedError` for exact letter gradients of what has no letters."""
    if spec.policy is not None:
        return Policy(spec, opened, score, price, spec.policy)
    space = oracle.space
    if spec.letter_gradient == "exact" and not isinstance(space, Tokens):
        raise UnsupportedError(
            f"letter_gradient = 'exact' is for token designs, not for {type(space).__name__}",
            fix="leave letter_gradient out",
        )
    few = isinstance(space, Tokens) and space.length * (len(space.alphabet) - 1) <= MOST_SUBSTITUTIONS
    if spec.letter_gradient == "exact" or (spec.letter_gradient == "auto" and few):
        device = opened.parameters[0].device
        memory = Memory(score, space) if isinstance(space, Tokens) and Memory.holds(space, device) else None
        return Pathwise(spec, opened, lambda x: by_substitution(score, x, memory), price)
    return Pathwise(spec, opened, score, price)


def most_kept(device: torch.device) -> int:
    """Bytes of activations that a rollout may keep on ``device`` without being asked."""
    if device.type != "cuda":
        return MOST_KEPT
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch, and not in use
    return (torch.cuda.mem_get_info(device)[0] + spare) // 2


def _steps(path: Trajectory) -> Float[Tensor, "b t"]:
    """Each step's path KL (summed over dimensions)."""
    if path.kl is None:
        raise UnsupportedError("the rollout was made without a reference, so there is no path KL")
    return path.kl
