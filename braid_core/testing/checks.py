"""Comparisons that say what is wrong and what usually causes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Posterior

STEP = 1e-2  # of finite differences: the best that float32 allows for values of order 1


def demand(holds: bool, what: str, usually: str) -> None:
    """Fail the test unless ``holds``, with ``what`` is wrong and what ``usually`` causes it."""
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(f"{what}\n  usually: {usually}")


QUANTITIES: dict[str, Callable[[Posterior], Tensor]] = {
    "mean": lambda posterior: posterior.mean,
    "std": lambda posterior: posterior.std,
    "conservative()": lambda posterior: posterior.conservative(),
    "penalty()": lambda posterior: posterior.penalty(),
}
"""All that a posterior says."""


def figures(posterior: Posterior) -> dict[str, Tensor]:
    """All that a posterior says, as plain numbers without gradients."""
    return {name: quantity(posterior).detach() for name, quantity in QUANTITIES.items()}


def demand_same(one: Posterior, other: Posterior, tolerance: float, what: str, usually: str) -> None:
    """Fail unless both say the same, but for ``tolerance`` in the units of the reward (0: the same bits)."""
    __tracebackhide__ = True
    expected = figures(other)
    for name, value in figures(one).items():
        gap = distance(value, expected[name])
        demand(gap <= tolerance, f"{what}: {name} differs by {gap:.3g} (allowed: {tolerance:.3g})", usually)


def slopes(
    value: Callable[[Tensor], Tensor], x: Float[Tensor, " b *event"], towards: Float[Tensor, " b *event"], name: str
) -> Float[Tensor, " b"]:
    """The derivative of ``value`` at each of ``x`` along ``towards − x``, by autograd."""
    __tracebackhide__ = True
    x = x.clone().requires_grad_()
    found = value(x)
    usually = "detach(), item(), numpy or no_grad() between x and the result, or letters by argmax"
    demand(found.requires_grad, f"{name} has no gradient: it is detached from x", usually)
    (gradient,) = torch.autograd.grad(found.sum(), x, allow_unused=True)
    demand(gradient is not None, f"{name} has a gradient, but none with respect to x", usually)
    finite = bool(gradient.isfinite().all())
    demand(finite, f"the gradient of {name} is NaN or infinite", "a square root, norm or logarithm of exactly 0")
    along: Tensor = (gradient * (towards - x.detach())).flatten(1).sum(1)
    return along


@torch.no_grad()
def differences(
    value: Callable[[Tensor], Tensor], x: Float[Tensor, " b *event"], towards: Float[Tensor, " b *event"], inside: bool
) -> Float[Tensor, " b"]:
    """The same derivative by finite differences, of second order in the step.

    Central where ``x`` lies ``inside``; at a corner of the simplex, only points on the inner side are asked for:
    f′ = (−3 f(0) + 4 f(h) − f(2h)) / 2h.
    """
    step = STEP * (towards - x)
    if inside:
        return (value(x + step) - value(x - step)) / (2 * STEP)
    return (-3 * value(x) + 4 * value(x + step) - value(x + 2 * step)) / (2 * STEP)


def distance(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float:
    """The largest difference; NaN where there is one."""
    return float((a - b).abs().max())


def correlation(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float:
    """Pearson's; 0 where one of both is constant."""
    return float(torch.corrcoef(torch.stack([a, b]).detach())[0, 1].nan_to_num())
