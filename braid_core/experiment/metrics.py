"""What is measured of designs: one definition each."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.experiment.promise import KEPT, kept, pinball
from braid_core.interfaces import Space

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
CHUNK = 2**24
"""The most pairwise distances held at once."""


def stats(y: Float[Tensor, " n"]) -> dict[str, float] | None:
    """Mean and quantiles (linear interpolation) of what is finite; None if nothing is."""
    known = y[y.isfinite()].double()
    if not len(known):
        return None
    levels = torch.tensor(QUANTILES, dtype=torch.float64, device=y.device)
    values = known.quantile(levels).tolist()
    return {
        "mean": float(known.mean()),
        **{f"q{round(100 * q)}": value for q, value in zip(QUANTILES, values, strict=True)},
    }


def distinct(x: Float[Tensor, " n *event"], space: Space) -> Int[Tensor, " m"]:
    """The first row of each design; forms that the space's symmetries call the same count as one."""
    forms = space.orbit(x).flatten(2).cpu().numpy()
    first: dict[bytes, int] = {}
    for row in range(len(x)):
        first.setdefault(min(form.tobytes() for form in forms[:, row]), row)
    return torch.tensor(list(first.values()), dtype=torch.long, device=x.device)


def novelty(x: Float[Tensor, " n *event"], offline: Float[Tensor, " m *event"], space: Space) -> Float[Tensor, " n"]:
    """Distance of each design to the nearest offline one."""
    rows = max(1, CHUNK // max(1, len(x)))
    nearest = [_apart(x, part, space).amin(1) for part in torch.split(offline, rows)]
    return torch.stack(nearest).amin(0)


def _apart(a: Float[Tensor, " n *event"], b: Float[Tensor, " m *event"], space: Space) -> Float[Tensor, "n m"]:
    """The smallest distance between any forms of two designs that the space's symmetries call the same."""
    return torch.stack([space.distance(form, b) for form in space.orbit(a)]).amin(0)


def diversity(x: Float[Tensor, " n *event"], space: Space) -> float | None:
    """Mean distance between two different rows; None for fewer than two."""
    n = len(x)
    return float(_apart(x, x, space).sum()) / (n * (n - 1)) if n > 1 else None


def promise(
    predicted: Float[Tensor, " n"], promised: Float[Tensor, " n"], truth: Float[Tensor, " n"]
) -> dict[str, float | None]:
    """Whether designs are as good as was promised of them, over those whose true reward is known.

    ``coverage``, ``slack`` and ``pinball`` as :func:`kept` has them. ``pinball_offset``: the least pinball loss of any
    constant offset below the prediction, chosen in hindsight: what a promise is measured by. None where no true reward
    is known, and the first three where nothing was promised.
    """
    known = truth.isfinite() & predicted.isfinite()
    if not known.any():
        return dict.fromkeys(("coverage", "slack", "pinball", "pinball_offset"))
    mean, bound, y = (figure[known].double() for figure in (predicted, promised, truth))
    told = bound.isfinite()
    found = kept(mean[told], (mean - bound)[told], y[told]) if told.any() else dict.fromkeys(KEPT)
    error = y - mean
    # The loss is linear between the errors, so one of them is the best offset.
    offset = pinball(error - error[:, None]).mean(1).amin()
    return {**{name: found[name] for name in ("coverage", "slack", "pinball")}, "pinball_offset": float(offset)}


def mean_or_none(values: Tensor) -> float | None:
    """The mean of what is finite; None if nothing is."""
    known = values[values.isfinite()].double()
    return float(known.mean()) if len(known) else None
