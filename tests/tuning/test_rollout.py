"""The one sampling loop, for Gaussian and for token chains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from braid_core.interfaces import Condition, Trajectory
from braid_core.tuning.rollout import activations, rollout
from tests.checks import flat, seeded, slopes
from tests.doubles import Counted
from tests.tuning.conftest import Family

N = 6


def run(family: Family, **options: object) -> Trajectory:
    options = {"reference": family.reference, "generator": seeded(), "n": N, **options}
    return rollout(family.process, family.predict, **options)


def objective(path: Trajectory) -> Tensor:
    """Something that depends on every letter and every KL."""
    weight = torch.linspace(-1, 2, path.x[0].numel(), dtype=path.x.dtype)
    value = (path.x.flatten(1) * weight).sum(1).square()
    return value.mean() if path.kl is None else (value + path.kl.sum(1)).mean()


def gradient(family: Family, path: Trajectory) -> Tensor:
    return flat(torch.autograd.grad(objective(path), family.parameters))


def test_one_call_a_step_of_each_network(family: Family) -> None:
    """Mistake 13 of public code: half of a sampler's network passes computed and never used."""
    predict, reference = Counted(family.predict), Counted(family.reference)
    rollout(family.process, predict, N, seeded(), reference=reference)
    assert (predict.calls, reference.calls) == (family.process.steps, family.process.steps)


def test_without_a_reference_there_is_no_kl_and_no_other_call(family: Family) -> None:
    predict = Counted(family.predict)
    path = rollout(family.process, predict, N, seeded())
    assert predict.calls == family.process.steps
    assert path.kl is path.log_prob is path.states is None


def test_the_trajectory_has_its_shapes(family: Family) -> None:
    path = run(family, record=True)
    steps = family.process.steps
    assert path.x.shape == (N, *family.process.space.event_shape)
    assert path.kl.shape == path.log_prob.shape == (N, steps)
    assert path.states.shape[:2] == (steps + 1, N)
    assert bool(family.process.space.contains(path.x.detach()).all())


def test_times_run_from_one_towards_zero(family: Family) -> None:
    times: list[float] = []

    def predict(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        times.extend(set(t.tolist()))
        return family.predict(x, t, condition)

    rollout(family.process, predict, N, seeded())
    steps = family.process.steps
    assert times == pytest.approx([1 - k / steps for k in range(steps)])


def test_both_networks_are_told_the_condition(family: Family) -> None:
    told: list[Condition | None] = []

    def listening(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def predict(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
            told.append(condition)
            return network(x, t, None)

        return predict

    condition = Condition(torch.zeros(N, 1), torch.zeros(N, dtype=torch.bool))
    rollout(
        family.process,
        listening(family.predict),
        N,
        seeded(),
        reference=listening(family.reference),
        condition=condition,
    )
    assert len(told) == 2 * family.process.steps
    assert all(one is condition for one in told)


def test_the_generator_decides_and_nothing_else(family: Family) -> None:
    before = torch.random.get_rng_state()
    one, again, other = (run(family, generator=seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.kl, again.kl)
    assert not torch.equal(one.x, other.x)


def test_options_of_the_gradient_leave_the_samples_alone(family: Family) -> None:
    plain = run(family)
    for options in ({"checkpoint": True}, {"truncate": 2}, {"record": True}):
        path = run(family, **options)
        assert torch.equal(path.x, plain.x)
        torch.testing.assert_close(path.kl, plain.kl)
    with torch.no_grad():
        assert torch.equal(run(family).x, plain.x)


def test_recorded_steps_score_to_the_same_numbers(family: Family) -> None:
    path = run(family, record=True)
    for k in range(family.process.steps):
        x = path.states[k].detach()
        t = torch.full((N,), family.process.time(k))
        p, q = (family.process.transition(f(x, t, None), x, k) for f in (family.predict, family.reference))
        torch.testing.assert_close(p.log_prob(path.states[k + 1].detach()), path.log_prob[:, k])
        torch.testing.assert_close(p.kl(q), path.kl[:, k])
    assert torch.equal(path.x, family.process.finish(path.states[-1]))


def test_the_mean_kl_is_the_mean_log_ratio_of_whole_paths(family: Family) -> None:
    n = 4000
    with torch.no_grad():
        path = run(family, record=True, n=n)
        ratio = path.log_prob.sum(1)
        for k in range(family.process.steps):
            t = torch.full((n,), family.process.time(k))
            step = family.process.transition(family.reference(path.states[k], t, None), path.states[k], k)
            ratio = ratio - step.log_prob(path.states[k + 1])
    difference = ratio - path.kl.sum(1)
    assert float(path.kl.sum(1).mean()) > 0.1
    assert float(difference.mean()) == pytest.approx(0, abs=4 * float(difference.std()) / n**0.5)


def test_equal_networks_pay_nothing(family: Family) -> None:
    path = run(family, reference=family.predict)
    torch.testing.assert_close(path.kl, torch.zeros_like(path.kl), rtol=0, atol=1e-6)


def test_without_gradients_there_is_no_graph(family: Family) -> None:
    with torch.no_grad():
        path = run(family, record=True, checkpoint=True)
    assert not any(tensor.requires_grad for tensor in (path.x, path.kl, path.log_prob, path.states))


@pytest.mark.parametrize("truncate", [None, 2])
def test_checkpointed_gradients_are_the_plain_ones(family: Family, truncate: int | None) -> None:
    plain = gradient(family, run(family, truncate=truncate))
    saved = gradient(family, run(family, truncate=truncate, checkpoint=True))
    assert float(plain.abs().max()) > 1e-3
    torch.testing.assert_close(saved, plain, rtol=1e-6, atol=1e-7)


def test_what_a_rollout_keeps_is_known_beforehand(family: Family) -> None:
    """Against all that autograd really saves; the first step keeps less, since its states have no gradient."""
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        path = rollout(family.process, family.predict, 500, seeded(), reference=family.reference)
    assert path.x.requires_grad
    found = activations(family.process, family.predict, 500, torch.device("cpu"), reference=family.reference)
    assert found == pytest.approx(sum(kept.values()), rel=0.35)


def test_checkpointing_runs_the_network_a_second_time(family: Family) -> None:
    predict = Counted(family.predict)
    path = rollout(family.process, predict, N, seeded(), reference=family.reference, checkpoint=True)
    gradient(family, path)
    assert predict.calls == 2 * family.process.steps


def test_truncating_after_all_steps_is_no_truncation(family: Family) -> None:
    plain, steps = gradient(family, run(family)), family.process.steps
    assert torch.equal(gradient(family, run(family, truncate=steps)), plain)
    assert torch.equal(gradient(family, run(family, truncate=steps + 3)), plain)
    assert not torch.allclose(gradient(family, run(family, truncate=steps - 1)), plain)


def by_hand(family: Family, last: int) -> Tensor:
    """The truncated objective in two parts: early step KLs at frozen states, then a short rollout with gradients."""
    process, generator = family.process, seeded()
    with torch.no_grad():
        states = run(family, record=True).states
    noises = [process.transition_type.noise(process.prior(N, generator), generator)]
    noises += [process.transition_type.noise(states[0], generator) for _ in range(process.steps - 1)]

    def step(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        t = torch.full((N,), process.time(k))
        p = process.transition(family.predict(x, t, None), x, k)
        return p.rsample(noises[k]), p.kl(process.transition(family.reference(x, t, None), x, k))

    cut = process.steps - last
    kls = [step(states[k], k)[1] for k in range(cut)]
    x = states[cut]
    for k in range(cut, process.steps):
        x, kl = step(x, k)
        kls.append(kl)
    return objective(Trajectory(process.finish(x), torch.stack(kls, 1)))


@pytest.mark.parametrize("last", [1, 2, 3])
def test_truncation_cuts_the_states_where_it_says(family: Family, last: int) -> None:
    expected = flat(torch.autograd.grad(by_hand(family, last), family.parameters))
    torch.testing.assert_close(gradient(family, run(family, truncate=last)), expected, rtol=1e-5, atol=1e-7)


def test_every_kl_keeps_its_gradient_under_truncation(family: Family) -> None:
    """Mistake 2 of public code: a KL over the last few steps only."""
    path = run(family, truncate=1)
    for k in range(family.process.steps):
        gradients = torch.autograd.grad(path.kl[:, k].sum(), family.parameters, retain_graph=True)
        assert float(flat(gradients).abs().max()) > 1e-4


def test_gaussian_gradients_are_those_of_finite_differences(gaussian: Family) -> None:
    """Reparameterised, so exact for given noise; the KL's gradient flows through the reference."""
    expected = flat(slopes(lambda: objective(run(gaussian)), gaussian.parameters))
    torch.testing.assert_close(gradient(gaussian, run(gaussian)), expected, rtol=1e-6, atol=1e-8)


def test_a_reference_without_gradients_would_be_wrong(family: Family) -> None:
    """Mistake 12 of public code: the KL depends on the state through the reference too."""

    @torch.no_grad()
    def blind(x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        return family.reference(x, t, condition)

    right, wrong = run(family).kl, run(family, reference=blind).kl
    assert torch.equal(right, wrong)
    right, wrong = (flat(torch.autograd.grad(kl.sum(), family.parameters)) for kl in (right, wrong))
    assert float((right - wrong).norm()) > 1e-3 * float(right.norm())


def test_weights_are_not_counted_as_what_a_rollout_keeps(family: Family) -> None:
    """They are there anyway, once: what is kept is in proportion to the designs, however few."""
    kept = [
        activations(family.process, family.predict, n, torch.device("cpu"), reference=family.reference)
        for n in (16, 32)
    ]
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.02)
    assert kept[0] > 0
