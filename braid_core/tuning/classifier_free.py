"""Classifier-free guidance (Ho & Salimans 2022): lean away from what the model would say if it were told nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Predict


def classifier_free(predict: Predict, gamma: float) -> Predict:
    """``(1 + γ)·out(condition) − γ·out(null)`` in one call of ``predict`` on twice the rows; γ = 0 is ``predict``.

    ``predict`` is that of a backbone trained with label dropout. The prediction raises :class:`UnsupportedError`
    without a condition.
    """

    def guided(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        if condition is None:
            raise UnsupportedError(
                "classifier-free guidance needs a condition to lean towards", fix="give one to the sampler"
            )
        if gamma == 0:
            return predict(x, t, condition)
        nothing = torch.ones_like(condition.null)
        both = Condition(condition.values.repeat(2, 1), torch.cat([condition.null, nothing]))
        told, untold = predict(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return (1 + gamma) * told - gamma * untold

    return guided
