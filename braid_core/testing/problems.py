"""What the tests of objectives share: an easy problem with known laws, a fitted sampler, and its draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import (
    LabelledDesigns,
    Log,
    Objective,
    Problem,
    Sampler,
    Silent,
    Space,
    Streams,
    Tokens,
    Trajectory,
    Vectors,
)
from braid_core.registry.spec import ObjectiveSpec
from braid_core.testing.contract import Contract
from braid_core.testing.known import KnownBackbone, KnownOracle
from braid_core.testing.landscape import NOISE
from braid_core.tuning.rollout import rollout

ROWS = 200  # of the offline table
RMSE = 0.5  # that the oracle is said to have, in standard deviations of the rewards
FEW, DRAWS = 16, 4000
MOST_DESIGNS = 100
"""So many different designs can be counted in ``DRAWS`` draws."""


@dataclass(frozen=True)
class KnownProblem(Problem):
    """One whose laws are known."""

    pretrained: KnownBackbone
    oracle: KnownOracle


class Problems(Contract):
    """The fixtures and helpers of :class:`ObjectiveContract`."""

    spec: ClassVar[ObjectiveSpec]
    spaces: ClassVar[tuple[Space, ...]] = (Tokens("ACG", 3), Vectors(2))
    _shared: ClassVar[dict[Space, Sampler]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls._shared = {}

    def build(self, spec: ObjectiveSpec | None = None) -> Objective:
        """The objective, anew; of another ``spec`` if one is given."""
        if not hasattr(self, "spec"):
            raise SpecError("the contract has no objective", where=type(self).__name__, fix="write `spec = YourSpec()`")
        return (spec or self.spec).build()

    def problem(
        self, space: Space, *, seed: int = 0, noisy: bool = True, unit: float = 1.0, log: Log | None = None
    ) -> KnownProblem:
        """A problem of its own, equal to others of its ``seed``; ``unit``: what rewards are counted in."""
        pretrained, oracle = KnownBackbone.pretrained(space, self.device, noisy), KnownOracle(space, self.device, unit)
        x = pretrained.decode(space.random(ROWS, Streams(0).get("table")).to(self.device))
        noise = torch.randn(ROWS, generator=Streams(0).get("noise")).to(self.device)
        data = LabelledDesigns(x, unit * (oracle.landscape.reward(x) + NOISE * noise))
        return KnownProblem(data, pretrained, oracle, Streams(seed), log or Silent(), RMSE * data.std)

    @pytest.fixture
    def given(self, space: Space) -> KnownProblem:
        """The problem that :meth:`sampler` has solved; another one with the same content."""
        return self.problem(space)

    @pytest.fixture
    def sampler(self, space: Space) -> Sampler:
        """Fitted, once for each space of the class: look at it, do not change it."""
        if space not in self._shared:
            self._shared[space] = self.fitted(space)
        return self._shared[space]

    def fitted(self, space: Space) -> Sampler:
        """One more, which may be changed."""
        return self.build().fit(self.problem(space))

    def generator(self, role: str) -> torch.Generator:
        """Equal roles give equal numbers."""
        return Streams(0).get(role, self.device)

    def draw(self, sampler: Sampler, n: int = FEW, role: str = "draw") -> Trajectory:
        """As a run draws."""
        return sampler.sample(n, self.generator(role))

    def plain(self, model: KnownBackbone, n: int = DRAWS) -> Float[Tensor, " n *event"]:
        """Designs of the pretrained model."""
        with torch.no_grad():
            return model.decode(rollout(model.process, model.predict, n, self.generator("plain")).x)

    def excess(self, x: Float[Tensor, " n *event"], model: KnownBackbone) -> tuple[float, float, bool]:
        """How far the law of ``x`` is from that of ``model``: KL in nats, its standard error, whether it is all of it.

        Letters: from their shares, less the bias of counting (Miller 1955), if there are few enough designs. Numbers:
        the KL of the normal with the same moments, which of all laws with these moments has the least.
        """
        space = model.space
        if isinstance(space, Tokens):
            return self._counted(x, model)
        q, p = (model.encode(designs).flatten(1).double() for designs in (self.plain(model), x))
        mean, whiten = q.mean(0), torch.linalg.inv(torch.linalg.cholesky(q.T.cov()))
        z = (p - mean) @ whiten.T
        covariance, moved = z.T.cov(), z.mean(0).square().sum()
        kl = 0.5 * (covariance.trace() - len(covariance) - torch.logdet(covariance) + moved)
        return float(kl), float((0.5 * z.square().sum(1)).std()) / len(x) ** 0.5, False

    def _counted(self, x: Float[Tensor, "n l v"], model: KnownBackbone) -> tuple[float, float, bool]:
        length, v = x.shape[1:]
        if v**length > MOST_DESIGNS:
            pytest.skip(f"there are more than {MOST_DESIGNS} designs to count")
        everything = torch.tensor(list(product(range(v), repeat=length)), device=x.device)
        log_q = model.letters().double()[torch.arange(length), everything].sum(1)
        base = v ** torch.arange(length - 1, -1, -1, device=x.device)
        share = torch.bincount((x.argmax(-1) * base).sum(1), minlength=len(log_q)).double() / len(x)
        log_ratio = share.clamp(min=1 / len(x)).log() - log_q
        kl = float(share @ log_ratio)
        spread = float(share @ (log_ratio - kl).square()) ** 0.5
        return kl - (int((share > 0).sum()) - 1) / (2 * len(x)), spread / len(x) ** 0.5, True


def same(one: Trajectory, other: Trajectory) -> bool:
    """Whether designs and KLs are equal, to the last bit."""

    def equal(a: Tensor | None, b: Tensor | None) -> bool:
        return (a is None) == (b is None) and (a is None or b is None or torch.equal(a, b))

    return equal(one.x, other.x) and equal(one.kl, other.kl)
