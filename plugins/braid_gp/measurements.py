"""The table as a Gaussian process reads it: one standardised value for each design, and how noisy that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Space

LEAST_NOISE = 1e-4
"""The lowest σ², in variances of y: what keeps a fit to few or noiseless data finite."""


@dataclass(frozen=True)
class Measurements:
    """Merged rewards y in standard deviations from their mean, float64; the noise of row i is σ²·share_i + known_i.

    Without given variances, share is 1/count: σ² is the variance of one measurement. With them, σ² comes on top and
    belongs to the design (share 1): no number of repeats averages out what the kernel cannot describe.
    ``typical`` is the median of the given variances. ``extra`` repeats beyond the first of each design, with sum of
    squares ``within`` around their means, tell of σ² too.
    """

    y: Float[Tensor, " n"]
    share: Float[Tensor, " n"]
    known: Float[Tensor, " n"]
    location: Float[Tensor, ""]
    scale: Float[Tensor, ""]
    typical: float = 0.0
    extra: int = 0
    within: float = 0.0

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Int[Tensor, " m"] | slice) -> Measurements:
        """The rows in ``index``, in the same units."""
        return replace(self, y=self.y[index], share=self.share[index], known=self.known[index])

    def noise(self, variance: float) -> Float[Tensor, " n"]:
        """The noise variance of each row for σ² = ``variance``."""
        return variance * self.share + self.known

    def measurement(self, variance: float) -> Float[Tensor, ""]:
        """The noise variance of one measurement in the square of the reward's unit; its median, if they differ."""
        return self.scale.square() * (variance + self.typical)


def measured(data: LabelledDesigns, space: Space) -> tuple[Float[Tensor, " n *event"], Measurements]:
    """The distinct designs of ``data``, and what was measured of them.

    Rows of one design that agree to within the lowest noise are one measurement listed several times (both strands of
    a molecule), not repeats that prove the noise to be nil: they count once.

    Raises :class:`DataError` where there is nothing to learn (see ``merged``).
    """
    variance = None if data.variance is None else data.variance.double()
    data = replace(data, y=data.y.double(), variance=variance)  # single precision would drown the scatter of repeats
    merged, count = data.merged(space)
    location, scale = merged.y.mean(), merged.y.std()
    y, ones = (merged.y - location) / scale, torch.ones_like(merged.y)
    if variance is not None and merged.variance is not None:
        typical = float(variance.median() / scale.square())
        return merged.x, Measurements(y, ones, merged.variance / scale.square(), location, scale, typical)
    extra = len(data) - len(merged)
    within = float(((data.y - location) / scale).square().sum() - (count * y.square()).sum())
    if within <= LEAST_NOISE * extra:
        return merged.x, Measurements(y, ones, 0 * ones, location, scale)
    return merged.x, Measurements(y, 1 / count.double(), 0 * ones, location, scale, 0.0, extra, within)
