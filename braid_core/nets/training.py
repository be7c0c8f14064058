"""The one supervised training loop: mini-batches, averaged weights, validation, early stopping, best weights copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Parameter

from braid_core.errors import BraidError
from braid_core.interfaces.log import Log
from braid_core.nets.randomness import repeatable


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: at most ``steps`` Adam steps with a cosine-decayed ``learning_rate``.

    Validated every ``every`` steps; a member has finished once more than ``patience`` validations in a row were no
    better. With ``ema`` > 0 it is the running mean of the weights, at this decay, that is validated and kept.
    """

    steps: int
    learning_rate: float
    every: int = 50
    patience: int = 10
    weight_decay: float = 0.0
    ema: float = 0.0


@repeatable()
def train(
    parameters: list[Parameter],
    loss: Callable[[Int[Tensor, " k"]], Float[Tensor, " k"]],
    validate: Callable[[Int[Tensor, " k"]], Float[Tensor, " k"]],
    schedule: Schedule,
    log: Log,
    members: int = 1,
) -> Float[Tensor, " m"]:
    """Minimise ``loss`` (one value per member, on a fresh mini-batch) and keep each member's best weights.

    With several ``members`` every parameter's first dimension is the member, and each keeps the weights of its own
    best validation. One that has finished leaves the stack: ``loss`` and ``validate`` are told which ``k`` members
    are left, and until the end the parameters hold the weights of these only. Returns the best validation losses.
    Raises :class:`BraidError` if no validation is finite.
    """
    _keep_freed_memory()
    optimiser = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    average = RunningMean(parameters, schedule.ema)
    kept = [p.detach().clone() for p in parameters]
    left = torch.arange(members, device=parameters[0].device)
    best, stale = torch.full((members,), torch.inf, device=left.device), torch.zeros_like(left)
    for step in range(1, schedule.steps + 1):
        optimiser.zero_grad()
        # `backward` gives gradients the parameters' strides; fused Adam would read others as if they had them.
        torch.autograd.backward(loss(left).sum(), inputs=parameters)
        optimiser.step()
        decay.step()
        average.update()
        if step % schedule.every and step != schedule.steps:
            continue
        with average.applied():
            value = validate(left)
            improved = value < best[left]
            _keep(kept, parameters, left, improved, stacked=members > 1)
        best[left] = torch.where(improved, value, best[left])
        stale[left] = torch.where(improved, 0, stale[left] + 1)
        log.step(step, schedule.steps, loss=float(value.mean()))
        going = stale[left] <= schedule.patience
        if not bool(going.any()):
            break
        if not bool(going.all()):
            left = left[going]
            _narrow([*parameters, *average.mean, *_moments(optimiser)], going)
    if not bool(best.isfinite().all()):
        raise BraidError(
            "training diverged: no validation loss was finite",
            why=f"learning rate {schedule.learning_rate} over {schedule.steps} steps",
            fix="lower the learning rate, or look for extreme values in the data",
        )
    for parameter, value in zip(parameters, kept, strict=True):
        parameter.data, parameter.grad = value, None
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
def _keep(
    kept: list[Tensor],
    parameters: list[Parameter],
    left: Int[Tensor, " k"],
    improved: Bool[Tensor, " k"],
    stacked: bool,
) -> None:
    """Copy the weights of the members that improved, ``left`` of which the parameters hold, to their places."""
    for saved, parameter in zip(kept, parameters, strict=True):
        # A single network has no dimension for the member.
        old, new = (saved, parameter) if stacked else (saved[None], parameter[None])
        old[left[improved]] = new[improved]


def _narrow(tensors: list[Tensor], going: Bool[Tensor, " k"]) -> None:
    """Let the members that do not go on leave ``tensors``, which stay the objects that others hold."""
    for tensor in tensors:
        tensor.grad = None
        tensor.data = tensor.data[going]


def _moments(optimiser: torch.optim.AdamW) -> list[Tensor]:
    return [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]


def _keep_freed_memory() -> None:
    """Let the C library keep up to 64 MB of freed memory, instead of faulting the same pages in again at every step.

    glibc's thresholds rise to the largest block below 32 MB that was ever freed (mallopt(3)); this one's pages are
    never touched. A step of five stacked convolutions takes a fifth less time.
    """
    torch.empty(2**25 - 2**14, dtype=torch.uint8)
