"""A small token chain made exact: every state enumerated, so that sums over paths are matrix products.

For checking, not for design: with l letters over an alphabet of v there are (v + 1)^l states. Everything is in
float64 and follows the process's own transitions, whatever their reveal mode.
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Predict, Process, Tokens

MOST_STATES = 4096


class ExactChain:
    """All transition probabilities, and step KLs, of a masked chain.

    ``designs`` are the complete states in the order of ``probabilities()``. Without a ``reference`` the chain pays
    no KL.
    """

    def __init__(self, process: Process, predict: Predict, reference: Predict | None = None) -> None:
        space = process.space
        if not isinstance(space, Tokens) or (len(space.alphabet) + 1) ** space.length > MOST_STATES:
            raise UnsupportedError(f"only token chains of at most {MOST_STATES} states can be enumerated")
        letters = len(space.alphabet)
        index = torch.tensor(list(product(range(letters + 1), repeat=space.length)))
        self.process, self.space = process, space
        self.states = torch.nn.functional.one_hot(index, letters + 1).float()
        self.complete = (index < letters).all(1).nonzero().flatten()
        self.designs: Float[Tensor, "n l v"] = self.states[self.complete, :, :-1]
        self.start = int((index == letters).all(1).nonzero())
        self._steps = [self._matrix(predict, reference, k) for k in range(process.steps)]

    def _matrix(self, predict: Predict, reference: Predict | None, k: int) -> tuple[Tensor, Tensor]:
        """(log P(i → j), KL at i) of step k. A step that cannot be taken has log probability -inf."""
        n, process, states = len(self.states), self.process, self.states
        t = torch.full((n,), process.time(k))
        live = (states[:, :, -1].sum(1) > 0).nonzero().flatten()  # complete states stay as they are
        out = predict(states, t, None).double()
        log_p = torch.full((n, n), -torch.inf, dtype=torch.float64)
        log_p[self.complete, self.complete] = 0.0
        for i in live.tolist():
            step = process.transition(out[i].expand(n, -1, -1), states[i].expand(n, -1, -1), k)
            log_p[i] = step.log_prob(states)
        cost = torch.zeros(n, dtype=torch.float64)
        if reference is not None:
            ours = process.transition(out[live], states[live], k)
            theirs = process.transition(reference(states, t, None).double()[live], states[live], k)
            cost[live] = ours.kl(theirs)
        return log_p, cost

    def probabilities(self) -> Float[Tensor, " n"]:
        """The exact probability of every design, summed over all orders of revealing."""
        mass = torch.zeros(len(self.states), dtype=torch.float64)
        mass[self.start] = 1
        for log_p, _ in self._steps:
            mass = mass @ log_p.exp()
        return mass[self.complete]

    def path_kl(self) -> Float[Tensor, ""]:
        """The expected path KL against the reference, in nats; differentiable."""
        mass = torch.zeros(len(self.states), dtype=torch.float64)
        mass[self.start] = 1
        total = torch.zeros((), dtype=torch.float64)
        for log_p, cost in self._steps:
            total = total + mass @ cost
            mass = mass @ log_p.exp()
        return total

    def objective(self, reward: Float[Tensor, " n"], alpha: float) -> Float[Tensor, ""]:
        """J = E[reward] − α·path KL, exactly; ``reward`` in the units of alpha, one per design."""
        return self.probabilities() @ reward.double() - alpha * self.path_kl()


def optimum(
    pretrained: Float[Tensor, " n"], reward: Float[Tensor, " n"], alpha: float
) -> tuple[Float[Tensor, " n"], float]:
    """p* ∝ p_pre·exp(reward/α) and its value J(p*) = α·log Σ p_pre·exp(reward/α) (Uehara et al. 2024, eq. 4)."""
    logits = pretrained.log() + reward.double() / alpha
    return logits.softmax(0), alpha * float(logits.logsumexp(0))
