"""Comparisons that say what is wrong and what usually causes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from braid_core.errors import BraidError
from braid_core.interfaces import GaussianTransition, Posterior, State

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


@contextmanager
def refusal(what: str, usually: str) -> Iterator[None]:
    """Fail unless the body ends with a :class:`BraidError`, which the user reads in place of a traceback."""
    __tracebackhide__ = True
    try:
        yield
    except BraidError:
        return
    except Exception as error:
        raise AssertionError(
            f"{what}: {type(error).__name__} in place of a BraidError\n  usually: {usually}"
        ) from error
    demand(False, f"{what}: accepted", usually)


def demand_copies(one: State, other: State) -> None:
    """Fail where two states of one object share memory, or carry a gradient."""
    __tracebackhide__ = True
    for name, tensor in one.tensors.items():
        demand(not tensor.requires_grad, f"{name!r} in the state has a gradient", "detach() is missing in state()")
        shared = tensor.numel() > 0 and tensor.data_ptr() == other.tensors[name].data_ptr()
        usually = "clone() is missing in state(); state_dict() and detach() do not copy"
        demand(not shared, f"{name!r} in the state is the object's own memory", usually)


def unbounded(draws: Float[Tensor, " n *state"], clamped: bool) -> Bool[Tensor, " n"]:
    """Which states a step with limits has moved to none of them; without limits, all."""
    if not clamped:
        return torch.ones(len(draws), dtype=torch.bool, device=draws.device)
    return ((draws > draws.min()) & (draws < draws.max())).flatten(1).all(1)


def is_letters(draws: Float[Tensor, " n *state"]) -> bool:
    """Whether states are counted, not measured: all their entries are 0 or 1."""
    return bool(((draws == 0) | (draws == 1)).all())


def mass(draws: Float[Tensor, " n *state"], log_prob: Float[Tensor, " n"], clamped: bool) -> tuple[float, float, float]:
    """What probabilities add up to, what they should, and its standard error; ``draws`` are from one distribution.

    Letters: Σ p over the different states in the first half, which should be their share in the second half.
    Numbers: E_p[g/p] over the second half, which should be 1 for the normal g with the moments of the first half.
    Where states are ``clamped``, g/p is taken between the limits only, and g's own mass there is expected.
    """
    half = len(draws) // 2
    if is_letters(draws):
        _, code = torch.unique(draws.flatten(1), dim=0, return_inverse=True)
        seen = torch.full((int(code.max()) + 1,), -torch.inf, dtype=torch.float64, device=draws.device)
        seen[code[:half]] = log_prob[:half].double()
        share = float(torch.isin(code[half:], code[:half]).double().mean())
        return float(seen.exp().sum()), share, (share * (1 - share) / half) ** 0.5 + 1 / half
    inside, flat = unbounded(draws, clamped)[half:], draws.flatten(1).double()
    mean, std = flat[:half].mean(0), flat[:half].std(0).clamp(min=1e-9)
    log_ratio = GaussianTransition(mean, std).log_prob(flat[half:]) - log_prob[half:].double()
    ratio = torch.where(inside, log_ratio.exp(), 0.0)
    low, high = (flat.min(), flat.max()) if clamped else (-torch.inf, torch.inf)
    between = torch.special.ndtr((high - mean) / std) - torch.special.ndtr((low - mean) / std)
    return float(ratio.mean()), float(between.prod()), float(ratio.std()) / half**0.5
