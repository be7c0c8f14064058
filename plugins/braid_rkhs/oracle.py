"""The oracle behind ``rkhs``: a bonus from the covariance of learned features or kernel features."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_core.nets.reward import RewardModel
from braid_core.nets.spec import NetworkSpec
from braid_rkhs import RKHSSpec
from braid_rkhs.covariance import Ridge, moments
from braid_rkhs.features import Features, FourierFeatures, KernelFeatures, LearnedFeatures, NystroemFeatures

COMPONENTS = 512
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST_COMPARED = 10_000  # designs to choose a bandwidth by
MOST_PAIRED = 1000  # designs to find the typical distance by
HELD_OUT = 0.1
KINDS: dict[str, type[KernelFeatures]] = {"nystroem": NystroemFeatures, "fourier": FourierFeatures}


@dataclass(frozen=True)
class RKHSPosterior(Posterior):
    """The prediction, and the features from which the bonus is made when somebody asks for it."""

    prediction: Float[Tensor, " b"]
    phi: Float[Tensor, "b d"]
    residual: Float[Tensor, " b"]
    ridge: Ridge
    scale: Float[Tensor, ""]
    c: float
    lam: float

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return self.prediction

    @cached_property
    def _bonus(self) -> Float[Tensor, " b"]:
        with torch.set_grad_enabled(self.phi.requires_grad):  # kept: whoever asks first must not decide for all
            return self.scale * self.ridge.bonus(self.phi, self.residual)

    @property
    def std(self) -> Float[Tensor, " b"]:
        return math.sqrt(self.lam) * self._bonus

    def conservative(self) -> Float[Tensor, " b"]:
        return self.mean - self.penalty()

    def penalty(self) -> Float[Tensor, " b"]:
        return self.c * self._bonus  # without the rounding of mean − (mean − ĝ)

    @property
    def features(self) -> Float[Tensor, "b d"]:
        return self.phi


class RKHSOracle(Oracle):
    """A prediction that is linear in features φ, and ĝ = c·√(φᵀ(Σᵢ wᵢ φᵢφᵢᵀ + λI)⁻¹φ) (Uehara et al. 2024).

    The sum is over the measured designs, each with the number wᵢ of its measurements, or with its precision in units
    of the mean precision of a measurement. Rewards are standardised inside: ĝ is in their units, √(1/λ) standard
    deviations of them where nothing is known. With learned features the prediction is the network's own, with kernel
    features it is the ridge regression that has the same φ, w and λ. In Bayesian terms: with a prior variance of 1 and
    a noise variance of λ, in units of the rewards' variance, the posterior has the standard deviation √λ·ĝ/c.
    """

    def __init__(self, spec: RKHSSpec, space: Space, device: torch.device) -> None:
        self.spec, self.space, self.device, self.c = spec, space, device, spec.scale
        self.features: Features
        if spec.features == "learned":
            self.features = LearnedFeatures(RewardModel(spec.network or NetworkSpec(), space, 1, device))
        else:
            self.features = KINDS[spec.features](space)
        self.ridge = Ridge()
        self.location, self.scale = torch.zeros((), device=device), torch.ones((), device=device)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        data = data.to(self.device)
        table = _weighted(data, self.space)
        coefficients = None
        if isinstance(self.features, LearnedFeatures):
            self.features.model.fit(data, generator, log)
            coefficients = self.features.last_layer()
            self.location, self.scale = self.features.model.location, self.features.model.scale
            table = self._standardised(table)
        else:
            weight = 1 / _variance(table)
            self.location, self.scale = (weight * table.y).sum() / weight.sum(), table.y.std()
            table = self._standardised(table)
            self.features = self._kernel_features(table, generator, log)
        self.ridge = _ridge(self.features, table, self.spec.lam, coefficients)

    def _standardised(self, table: LabelledDesigns) -> LabelledDesigns:
        return replace(table, y=(table.y - self.location) / self.scale)

    def _kernel_features(self, table: LabelledDesigns, generator: torch.Generator, log: Log) -> KernelFeatures:
        kind, components = KINDS[self.spec.features], self._components(len(table))
        some = table.take(_shuffled(len(table), generator)[: max(MOST_COMPARED, components)])
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
        typical = _typical_distance(some.x)

        def features(x: Float[Tensor, " n *event"], bandwidth: float) -> KernelFeatures:
            return kind.fitted(self.space, x, 1 / (2 * (bandwidth * typical) ** 2), components, seed)

        if self.spec.bandwidth is not None:
            return features(some.x, self.spec.bandwidth)
        training, held = some.split(HELD_OUT, generator)
        errors = {}
        for bandwidth in BANDWIDTHS:
            found = features(training.x, bandwidth)
            errors[bandwidth] = _error(found, _ridge(found, training, self.spec.lam), held)
            log.step(len(errors), len(BANDWIDTHS), bandwidth=bandwidth, error=errors[bandwidth])
        return features(some.x, min(errors, key=errors.__getitem__))

    def _components(self, n: int) -> int:
        """How many features to make from ``n`` designs; refuses more landmarks than there are designs."""
        wanted, nystroem = self.spec.components, self.spec.features == "nystroem"
        if wanted is None:
            return min(COMPONENTS, n) if nystroem else COMPONENTS
        if nystroem and wanted > n:
            raise DataError(
                f"{wanted} landmarks cannot be chosen from {n} designs",
                where="components",
                why="each Nyström feature has a design of its own; a part of the table may be held out to judge the "
                "oracle, and copies of a design count once",
                fix="lower `components`, leave it out, or use features = 'fourier'",
            )
        return wanted

    def posterior(self, x: Float[Tensor, " b *event"]) -> RKHSPosterior:
        phi = self.features(x)
        mean = self.location + self.scale * self.ridge.mean(phi)
        return RKHSPosterior(mean, phi, self.features.residual(x, phi), self.ridge, self.scale, self.c, self.spec.lam)

    def state(self) -> State:
        own = {"location": self.location.detach().clone(), "scale": self.scale.detach().clone()}
        features, ridge = self.features.state().prefixed("features"), self.ridge.state().prefixed("ridge")
        return State({**own, **features.tensors, **ridge.tensors}, features.meta)

    def load_state(self, state: State) -> None:
        self.features.load_state(State(state.under("features"), state.meta))
        self.ridge.load_state(State(state.under("ridge")))
        self.location, self.scale = state.tensors["location"], state.tensors["scale"]


def _weighted(data: LabelledDesigns, space: Space) -> LabelledDesigns:
    """One row for each design, of variance 1/wᵢ: relative precisions that sum to the number of measurements."""
    data, count = data.merged(space)
    precision = count.to(data.y) if data.variance is None else 1 / data.variance
    return replace(data, variance=precision.sum() / (precision * count.sum()))


def _variance(table: LabelledDesigns) -> Float[Tensor, " n"]:
    assert table.variance is not None
    return table.variance


def _ridge(
    features: Features, table: LabelledDesigns, lam: float, coefficients: Float[Tensor, " d"] | None = None
) -> Ridge:
    return Ridge.fitted(moments(features, table.x, 1 / _variance(table), table.y), lam, coefficients)


@torch.no_grad()
def _error(features: Features, ridge: Ridge, held: LabelledDesigns) -> float:
    """The weighted root mean squared error, in standard deviations of the rewards."""
    weight = 1 / _variance(held)
    return float(((weight * (ridge.mean(features(held.x)) - held.y).square()).sum() / weight.sum()).sqrt())


def _typical_distance(sample: Float[Tensor, " n *event"]) -> float:
    """The median distance between two of the first designs."""
    flat = sample[:MOST_PAIRED].flatten(1)
    return float(torch.pdist(flat).median())


def _shuffled(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device)
