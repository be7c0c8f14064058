"""A small token chain made exact: every state enumerated, so that sums over paths are matrix products.

For checking, not for design: with l letters over an alphabet of v there are (v + 1)^l states of a masked chain, v^l
of a uniform one. Everything is in float64 and follows the process's own transitions, whatever their form.
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Predict, Process, Tokens

MOST_STATES = 4096
ROWS = 2**16
"""So many pairs of states are scored at once."""


class ExactChain:
    """All transition probabilities, and step KLs, of a chain over letters.

    A chain whose states have a channel for the mask starts with all positions masked, and a state without a mask
    stays; any other starts from uniform letters. ``designs`` are the states without a mask in the order of
    ``probabilities()``. Without a ``reference`` the chain pays no KL.
    """

    def __init__(self, process: Process, predict: Predict, reference: Predict | None = None) -> None:
        space = process.space
        channels = process.prior(1, torch.Generator()).shape[-1]
        if not isinstance(space, Tokens) or channels**space.length > MOST_STATES:
            raise UnsupportedError(f"only token chains of at most {MOST_STATES} states can be enumerated")
        letters = len(space.alphabet)
        index = torch.tensor(list(product(range(channels), repeat=space.length)))
        self.process, self.space = process, space
        self.states = torch.nn.functional.one_hot(index, channels).float()
        self.complete = (index < letters).all(1).nonzero().flatten()
        self.designs: Float[Tensor, "n l v"] = self.states[self.complete, :, :letters]
        masked = channels > letters
        start = (index == letters).all(1) if masked else torch.ones(len(index))
        self.start: Float[Tensor, " s"] = start.double() / start.sum()
        self._live = (index == letters).any(1).nonzero().flatten() if masked else torch.arange(len(index))
        self._steps = [self._matrix(predict, reference, k) for k in range(process.steps)]

    def _matrix(self, predict: Predict, reference: Predict | None, k: int) -> tuple[Tensor, Tensor]:
        """(log P(i → j), KL at i) of step k. A step that cannot be taken has log probability -inf."""
        n, process, states, live = len(self.states), self.process, self.states, self._live
        t = torch.full((n,), process.time(k))
        out = predict(states, t, None).double()
        log_p = torch.full((n, n), -torch.inf, dtype=torch.float64).fill_diagonal_(0.0)
        for rows in torch.split(live, max(1, ROWS // n)):
            step = process.transition(out[rows].repeat_interleave(n, 0), states[rows].repeat_interleave(n, 0), k)
            log_p[rows] = step.log_prob(states.repeat(len(rows), 1, 1)).reshape(-1, n)
        cost = torch.zeros(n, dtype=torch.float64)
        if reference is not None:
            ours = process.transition(out[live], states[live], k)
            theirs = process.transition(reference(states, t, None).double()[live], states[live], k)
            cost[live] = ours.kl(theirs)
        return log_p, cost

    def probabilities(self) -> Float[Tensor, " n"]:
        """The exact probability of every design, summed over all paths."""
        mass = self.start
        for log_p, _ in self._steps:
            mass = mass @ log_p.exp()
        return mass[self.complete]

    def path_kl(self) -> Float[Tensor, ""]:
        """The expected path KL against the reference, in nats; differentiable."""
        mass, total = self.start, torch.zeros((), dtype=torch.float64)
        for log_p, cost in self._steps:
            total = total + mass @ cost
            mass = mass @ log_p.exp()
        return total

    def objective(self, reward: Float[Tensor, " n"], alpha: float) -> Float[Tensor, ""]:
        """J = E[reward] − α·path KL, exactly; ``reward`` in the units of alpha, one per design."""
        return self.probabilities() @ reward.double() - alpha * self.path_kl()

    def best_value(self, reward: Float[Tensor, " n"], alpha: float) -> float:
        """The largest J = E[reward] − α·KL(path ‖ this chain's path) of all chains with this start.

        E_start[V_0] by V_k(x) = α·log Σ_y P_k(x → y)·exp(V_(k+1)(y)/α), from V_T = reward (Uehara et al. 2024, soft
        Bellman equation). With one start state it is J(p*) of :func:`optimum`; where the start is random and tells
        about the design it is less, because the start stays as it is. A chain that factorises over positions
        within a step need not reach it.
        """
        value = torch.full((len(self.states),), -torch.inf, dtype=torch.float64)
        value[self.complete] = reward.double() / alpha
        for log_p, _ in reversed(self._steps):
            value = (log_p.detach() + value).logsumexp(1)
        return alpha * float(self.start @ value)


def optimum(
    pretrained: Float[Tensor, " n"], reward: Float[Tensor, " n"], alpha: float
) -> tuple[Float[Tensor, " n"], float]:
    """p* ∝ p_pre·exp(reward/α) and its value J(p*) = α·log Σ p_pre·exp(reward/α) (Uehara et al. 2024, eq. 4)."""
    logits = pretrained.log() + reward.double() / alpha
    return logits.softmax(0), alpha * float(logits.logsumexp(0))
