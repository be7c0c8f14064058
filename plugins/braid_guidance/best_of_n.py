"""Best of n: what every practitioner tries first."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

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
from braid_core.tuning.rollout import rollout
from braid_guidance import BestOfNSpec

ROWS = 1024
"""The most designs that are drawn and scored at once: as many as a run's pool has by default."""


class Best(Sampler):
    """Each design is the best of ``n`` draws of its own by the conservative reward, so designs are independent.

    The KL of each is stated as log n − (n − 1)/n nats, an upper bound of KL(best of n ‖ pretrained) whatever the chain.
    For continuous scores it is the KL itself (Stiennon et al. 2020); where designs repeat or tie it is less (Beirami et
    al. 2024).
    """

    def __init__(self, pretrained: Backbone, oracle: Oracle, n: int) -> None:
        self.pretrained, self.oracle, self.n = pretrained, oracle, n

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        if n:
            blocks = torch.split(torch.arange(n, device=self.pretrained.device), ROWS)
            x = torch.cat([self._block(rows, generator, condition) for rows in blocks])
        else:  # nothing to choose among: the oracle is not asked
            x = self._rollout(0, generator, condition)
        return Trajectory(x, torch.full((n, 1), math.log(self.n) - (self.n - 1) / self.n, device=x.device))

    def _block(
        self, rows: Tensor, generator: torch.Generator, condition: Condition | None
    ) -> Float[Tensor, " b *event"]:
        """The designs ``rows``, of which there are at most :data:`ROWS`: a few rounds of draws for all of them."""
        best = score = None
        left = self.n
        while left:
            rounds = min(left, ROWS // len(rows))
            left -= rounds
            told = None if condition is None else condition.at(rows.repeat(rounds))
            x, found = self._draw(rounds * len(rows), generator, told)
            found, which = found.view(rounds, -1).max(0)
            x = x.view(rounds, len(rows), *x.shape[1:])[which, torch.arange(len(rows), device=x.device)]
            if best is not None and score is not None:
                better = found > score
                x = torch.where(better.view(-1, *[1] * (x.ndim - 1)), x, best)
                found = torch.where(better, found, score)
            best, score = x, found
        assert best is not None
        return best

    def _rollout(self, n: int, generator: torch.Generator, condition: Condition | None) -> Float[Tensor, " n *event"]:
        process, predict = self.pretrained.process, self.pretrained.predict
        return self.pretrained.decode(rollout(process, predict, n, generator, condition=condition).x)

    def _draw(
        self, n: int, generator: torch.Generator, condition: Condition | None
    ) -> tuple[Float[Tensor, " n *event"], Float[Tensor, " n"]]:
        """Designs of the pretrained model and their scores; one without a score (NaN) is never the best."""
        x = self._rollout(n, generator, condition)
        score = self.oracle.posterior(x).conservative()
        return x, torch.where(score.isnan(), -torch.inf, score)

    def state(self) -> State:
        return State({})

    def load_state(self, state: State) -> None:
        """There is none: the pretrained model and the oracle are all that it knows."""


class BestOfN(Objective):
    """Draws and keeps the best; nothing is trained."""

    def __init__(self, spec: BestOfNSpec) -> None:
        self.spec = spec

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Best:
        return Best(pretrained, oracle, self.spec.n)

    def fit(self, problem: Problem) -> Best:
        return self.sampler(problem.pretrained, problem.oracle)

    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        return posterior.conservative()
