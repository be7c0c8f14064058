"""The one supervised training loop: mini-batches, averaged weights, validation, early stopping, best weights copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from braid_core.errors import BraidError
from braid_core.interfaces.log import Log


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: at most ``steps`` Adam steps with a cosine-decayed ``learning_rate``.

    Validated every ``every`` steps; stopped once no member has improved for ``patience`` validations. With ``ema``
    > 0 it is the running mean of the weights, at this decay, that is validated and kept.
    """

    steps: int
    learning_rate: float
    every: int = 50
    patience: int = 10
    weight_decay: float = 0.0
    ema: float = 0.0


def train(
    parameters: list[Parameter],
    loss: Callable[[], Float[Tensor, " m"]],
    validate: Callable[[], Float[Tensor, " m"]],
    schedule: Schedule,
    log: Log,
) -> Float[Tensor, " m"]:
    """Minimise ``loss()`` (one value per member, on a fresh mini-batch) and keep each member's best weights.

    With several members every parameter's first dimension is the member, and each member keeps the weights of its
    own best validation. Returns the best validation losses. Raises :class:`BraidError` if no validation is finite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    best = torch.full_like(validate(), torch.inf)
    kept = [p.detach().clone() for p in parameters]
    average = RunningMean(parameters, schedule.ema)
    stale = 0
    for step in range(1, schedule.steps + 1):
        optimiser.zero_grad()
        # `backward` gives gradients the parameters' strides; fused Adam would read others as if they had them.
        torch.autograd.backward(loss().sum(), inputs=parameters)
        optimiser.step()
        decay.step()
        average.update()
        if step % schedule.every and step != schedule.steps:
            continue
        with average.applied():
            value = validate()
            improved = value < best
            best = torch.where(improved, value, best)
            _keep(kept, parameters, improved)
        stale = 0 if bool(improved.any()) else stale + 1
        log.step(step, schedule.steps, loss=float(value.mean()))
        if stale > schedule.patience:
            break
    if not bool(best.isfinite().all()):
        raise BraidError(
            "training diverged: no validation loss was finite",
            why=f"learning rate {schedule.learning_rate} over {schedule.steps} steps",
            fix="lower the learning rate, or look for extreme values in the data",
        )
    _assign(parameters, kept)
    for parameter in parameters:
        parameter.grad = None
    return best


class RunningMean:
    """The exponential moving average of ``parameters``, m ← d·m + (1 − d)·p.

    The decay d = min(ema, (1 + k)/(10 + k)) after k updates is short at first, so that the random start is soon
    forgotten. ``ema = 0`` is no average, and costs nothing.
    """

    def __init__(self, parameters: list[Parameter], ema: float) -> None:
        self.parameters, self.ema, self.updates = parameters, ema, 0
        self.mean = [p.detach().clone() for p in parameters] if ema else []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now; called after every optimiser step."""
        self.updates += 1
        if self.ema:
            decay = min(self.ema, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self.mean, list[Tensor](self.parameters), 1 - decay)

    def keep(self) -> None:
        """Make the parameters their averages for good."""
        _assign(self.parameters, self.mean)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the parameters are their averages."""
        own = [p.detach().clone() for p in self.parameters[: len(self.mean)]]
        _assign(self.parameters, self.mean)
        try:
            yield
        finally:
            _assign(self.parameters, own)


@torch.no_grad()
def _assign(parameters: list[Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=False):
        parameter.copy_(value)


@torch.no_grad()
def _keep(kept: list[Tensor], parameters: list[Parameter], improved: Tensor) -> None:
    for saved, parameter in zip(kept, parameters, strict=True):
        if len(improved) == 1:
            saved.copy_(torch.where(improved, parameter, saved))
        else:
            saved[improved] = parameter[improved]
