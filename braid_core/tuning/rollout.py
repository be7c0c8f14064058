"""The one sampling loop, for every chain: it never asks which family it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as checkpointed

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Potential, Predict, Process, Trajectory, Transition


@dataclass(frozen=True)
class Guidance:
    """Each step is tilted along ``level``·∇``potential``(x̂0) (:meth:`Process.guided`); the networks stay as they are.

    ``potential`` sees x̂0 in the units of the chain: a backbone's latents are decoded inside it.
    """

    potential: Potential
    level: float


def rollout(
    process: Process,
    predict: Predict,
    n: int,
    generator: torch.Generator,
    *,
    reference: Predict | None = None,
    condition: Condition | None = None,
    record: bool = False,
    checkpoint: bool = False,
    truncate: int | None = None,
    guidance: Guidance | None = None,
) -> Trajectory:
    """Run the chain from its prior to ``n`` designs, with one call of ``predict`` a step.

    Where nothing but designs is wanted (no ``reference``, no ``record``, no gradients), the network is called only for
    the states that the step changes; the designs are the same.

    ``guidance`` tilts every step, and leaves no gradients and no graph, whatever the caller records. With
    ``reference=predict`` the KL is that of the guided step from the unguided one, by the same prediction.

    ``reference``: the pretrained network; the exact KL of every step against it is then part of the trajectory, and
    its gradient flows through both networks. ``record`` keeps states and log probabilities. ``checkpoint`` trades
    a second forward pass for memory. ``truncate = K`` cuts the gradient *through the states* before the last K
    steps; every step's KL keeps its gradient with respect to the weights, so the penalty stays a sum over all
    steps. Whether gradients are recorded at all is the caller's choice (``torch.no_grad()``).

    Raises :class:`UnsupportedError` for another number of conditions than ``n``, and for a potential whose value has no
    gradient where the chain wants one.
    """
    if condition is not None and len(condition.null) != n:
        raise UnsupportedError(
            f"{len(condition.null)} condition(s) were given for {n} designs", fix="give one row for each design"
        )
    if guidance is not None:
        guidance = replace(guidance, potential=_differentiable(guidance.potential))
    walk = _Walk(process, predict, reference, condition, guidance, record)
    x = process.prior(n, generator)
    cut = 0 if truncate is None else process.steps - truncate
    kls, log_probs, states = [], [], [x]
    tracked = torch.is_grad_enabled() and guidance is None
    sparing = reference is None and not record and not tracked
    for k in range(process.steps):
        # Drawn here, outside the checkpointed region: recomputation must see the same numbers.
        noise = process.transition_type.noise(x, generator)
        rows = _moving(process, x, noise, k) if sparing else None
        if rows is not None:
            x = _step_of(rows, walk, k, x, noise)
            continue
        arguments = (walk, k, x.detach() if k <= cut else x, noise)
        if checkpoint and tracked:
            x, kl, log_prob = checkpointed(_step, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            x, kl, log_prob = _step(*arguments)
        kls.append(kl)
        log_probs.append(log_prob)
        if record:
            states.append(x)
    return Trajectory(
        process.finish(x),
        None if reference is None else torch.stack(kls, 1),
        torch.stack(log_probs, 1) if record else None,
        torch.stack(states) if record else None,
    )


@dataclass(frozen=True)
class _Walk:
    """What is the same at every step."""

    process: Process
    predict: Predict
    reference: Predict | None
    condition: Condition | None
    guidance: Guidance | None
    record: bool


def activations(process: Process, predict: Predict, n: int, device: torch.device, *, reference: Predict) -> int:
    """About how many bytes a rollout of ``n`` designs keeps for its gradient: those of a step, times the steps.

    Weights, which are there anyway, are left out: they are what two steps both keep.
    """
    generator, walk = torch.Generator(device).manual_seed(0), _Walk(process, predict, reference, None, None, False)
    (first, end), (second, other) = (_kept(walk, n, generator) for _ in range(2))
    del end, other  # both were alive until here, so that one address was one tensor
    return process.steps * sum(size for address, size in first.items() if address not in second)


def _kept(walk: _Walk, n: int, generator: torch.Generator) -> tuple[dict[int, int], object]:
    """Address and size of all that a step of ``n`` designs keeps for its gradient, and what keeps it."""
    kept = {}

    def keep(saved: Tensor) -> Tensor:
        memory = saved.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()  # views of one tensor count once
        return saved

    # A gradient, as states have but for the first: the reference keeps for it too.
    x = walk.process.prior(n, generator).requires_grad_()
    noise = walk.process.transition_type.noise(x, generator)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        return kept, _step(walk, 0, x, noise)


def _differentiable(potential: Potential) -> Potential:
    """The same potential, which is refused where a gradient of it is wanted that it does not have."""

    def checked(x0: Tensor) -> Tensor:
        value = potential(x0)
        if torch.is_grad_enabled() and x0.requires_grad and not value.requires_grad:
            raise UnsupportedError(
                "the potential that guides the chain has no gradient",
                why="its value does not depend on the designs as far as autograd knows",
                fix="use an oracle that can be differentiated, or an objective that needs none, such as 'best-of-n'",
            )
        return value

    return checked


def _moving(process: Process, x: Tensor, noise: Tensor, k: int) -> Tensor | None:
    """The indices of the states that step k changes; ``None`` where that may be all of them."""
    moving = process.moving(x, noise, k)
    if moving is None:
        return None
    rows = moving.nonzero()[:, 0]
    return rows if len(rows) < len(x) else None


def _step_of(rows: Tensor, walk: _Walk, k: int, x: Tensor, noise: Tensor) -> Tensor:
    """The next states, of which only ``rows`` are others than before."""
    if not len(rows):
        return x
    told = None if walk.condition is None else walk.condition.at(rows)
    following, _, _ = _step(replace(walk, condition=told), k, x[rows], noise[rows])
    return x.index_copy(0, rows, following)


def _step(walk: _Walk, k: int, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    with torch.set_grad_enabled(torch.is_grad_enabled() and walk.guidance is None):
        t = torch.full((len(x),), walk.process.time(k), device=x.device)
        out, transition = _transition(walk, k, x, t)
        following, kl = transition.rsample(noise), None
        if walk.reference is not None:
            if walk.guidance is None or walk.reference != walk.predict:
                # Not under no_grad: the KL depends on the state through the reference too.
                out = walk.reference(x, t, walk.condition)
            kl = transition.kl(walk.process.transition(out, x, k))
        return following, kl, transition.log_prob(following) if walk.record else None


def _transition(walk: _Walk, k: int, x: Tensor, t: Tensor) -> tuple[Tensor, Transition]:
    """The prediction and the step that is taken; the graph that guidance needs ends here."""
    process, guidance = walk.process, walk.guidance
    if guidance is None:
        out = walk.predict(x, t, walk.condition)
        return out, process.transition(out, x, k)
    with torch.set_grad_enabled(process.guided_through_state):
        here = x.detach().requires_grad_(process.guided_through_state)
        out = walk.predict(here, t, walk.condition)
    return out.detach(), process.guided(out, here, k, guidance.potential, guidance.level)
