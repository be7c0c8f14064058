"""What every backbone promises, as tests that its author inherits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from braid_core.interfaces import Backbone, Condition, ConditionSpec, Space, State, Tokens
from braid_core.testing.checks import demand, demand_copies, refusal
from braid_core.testing.fitted import DESIGNS, PATHS
from braid_core.testing.steps import ROUNDING, StepTests
from braid_core.tuning.rollout import rollout

SCALAR = ConditionSpec("scalar", 1)
MOSTLY = 0.75


class BackboneContract(StepTests):
    """Derive a class whose name starts with ``Test``, and give it the spec of the backbone and its spaces::

        class TestMine(BackboneContract):
            spec = MySpec(train_steps=100)
            spaces = (Tokens("ACGT", 4),)

    Choose small spaces, and options with which a fit takes a second or two: there are four for each space. Declare
    what is different:

    ``clamped``: states are moved into their limits after a step, so that the step's KL is that of the proposal, a bound
    of the KL of the states, and tilting is exact only between the limits.
    """

    def test_sampling_follows_the_generator(self, backbone: Backbone) -> None:
        """Equal generators give equal designs, others other ones; the global random numbers are left alone."""
        before = torch.random.get_rng_state()
        one, again, other = (self.sample(backbone, role=role) for role in ("sample", "sample", "else"))
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "sampling draws from the global random numbers", "torch.rand or dropout without a generator")
        demand(torch.equal(one, again), "equal generators give different designs", "state kept between calls")
        demand(not torch.equal(one, other), "other generators give the same designs", "a fixed seed inside")

    def test_fitting_follows_the_generator(self, space: Space, designs: Tensor, backbone: Backbone) -> None:
        """A second fit with an equal generator makes the same model, to the last bit; the designs stay as they are."""
        twin, before, given = self.build(space), torch.random.get_rng_state(), designs.clone()
        twin.fit(given, self.generator("fit"))
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "fit draws from the global random numbers", "weights initialised by torch's own layers")
        demand(torch.equal(given, designs), "fit changes the designs it is given", "scaling them in place")
        same = torch.equal(self.sample(twin), self.sample(backbone))
        demand(same, "two fits with equal generators differ", "weights initialised by torch's own layers")

    def loss(self, model: Backbone, latents: Tensor, trained: Backbone) -> Tensor:
        """That of ``model``'s network on the chain of ``trained``, with equal draws for all models."""
        with torch.no_grad():
            return trained.process.loss(model.predict, latents, self.generator("loss"))

    def _gain(self, model: Backbone, backbone: Backbone, space: Space) -> tuple[float, str]:
        """By how much the trained network is better than ``model``'s, on equal latents."""
        latents = backbone.encode(self.natural(space, 500, "fresh"))
        other, own = (float(self.loss(m, latents, backbone).mean()) for m in (model, backbone))
        return other - own, f"untrained {other:.3f}, trained {own:.3f}"

    def test_it_learns(self, space: Space, backbone: Backbone) -> None:
        """The loss of new designs is lower than with an untrained network."""
        gain, figures = self._gain(self.build(space), backbone, space)
        demand(gain > 0, figures, "too few steps, or no best weights")

    def test_a_fresh_twin_is_untrained(self, space: Space, backbone: Backbone) -> None:
        """It knows nothing of what the original has learned, and takes the condition that it was made for."""
        gain, figures = self._gain(backbone.fresh(None), backbone, space)
        demand(gain > 0, f"a fresh twin: {figures}", "a copy of the weights; a wrapped module needs its factory")
        told = backbone.fresh(SCALAR).condition
        demand(told == SCALAR, f"a twin for {SCALAR} takes {told}", "a condition that is not handed on")

    def test_the_loss_is_that_of_each_design(self, space: Space, backbone: Backbone) -> None:
        """One value a design, which does not depend on the others: designs can be weighted."""
        x, others = (backbone.encode(self.natural(space, PATHS, role)) for role in ("loss", "others"))
        mixed = torch.cat([x[:1], others[1:]])
        one, other = (self.loss(backbone, latents, backbone) for latents in (x, mixed))
        demand(one.shape == (PATHS,), f"{PATHS} designs have {tuple(one.shape)} losses", "a mean over the batch")
        moved, size = float((one[0] - other[0]).abs()), float(one.abs().max())
        what = f"the loss of a design differs by {moved:.3g} beside other designs"
        demand(moved <= ROUNDING * (1 + size), what, "a mean over the batch, or batch normalisation")
        finite = bool(one.isfinite().all()) and bool((one != other)[1:].any())
        demand(finite, "the loss is NaN, or that of all designs", "0·log 0, or a constant")

    def test_rows_are_independent(self, backbone: Backbone) -> None:
        """What the network says of a state does not depend on the states beside it."""
        x = self.states(backbone, backbone.process.steps // 2, PATHS)
        with torch.no_grad():
            together, alone = (self.asked(backbone, rows, backbone.process.steps // 2)[:1] for rows in (x, x[:1]))
        gap = float((together - alone).abs().max())
        what = f"a prediction differs by {gap:.3g} beside other states"
        demand(gap <= 0.001 * (1 + float(alone.abs().max())), what, "batch normalisation, or a mean over the batch")

    def test_a_step_costs_nothing_against_itself(self, backbone: Backbone) -> None:
        """KL(p ‖ p) = 0, and a model that was just opened for tuning has moved nowhere."""
        opened = backbone.tunable()
        tuned = opened.tuned
        with torch.no_grad():
            path = rollout(tuned.process, tuned.predict, PATHS, self.generator("sample"), reference=opened.reference)
        assert path.kl is not None
        worst, usually = float(path.kl.abs().max()), "other weights, dropout, another mode, or another state"
        demand(worst < ROUNDING, f"the path KL of an untuned model is {worst:.3g}", usually)
        same = torch.equal(tuned.decode(path.x), self.sample(backbone))
        demand(same, "an opened model draws other designs", "tuned starts from other weights")

    def gradient(self, model: Backbone, **options: Any) -> Tensor:
        """Of a linear reward less the path KL, with respect to a tuned model's weights."""
        opened = model.tunable()
        tuned, generator = opened.tuned, self.generator("gradient")
        with self.moved(opened, 0.01):
            path = rollout(tuned.process, tuned.predict, PATHS, generator, reference=opened.reference, **options)
            assert path.kl is not None
            loss = path.kl.sum() - self.potential(path.x).sum()
            found = torch.autograd.grad(loss, opened.parameters, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    def test_gradients_reach_the_weights(self, backbone: Backbone) -> None:
        """Checkpointing and a truncation that cuts nothing leave them as they are."""
        self._needs_noise(backbone)
        plain = self.gradient(backbone)
        alive = bool(plain.isfinite().all()) and bool(plain.any())
        demand(alive, "the gradient is zero, NaN or infinite", "letters by argmax without a soft backward, or a detach")
        for options in ({"checkpoint": True}, {"truncate": backbone.process.steps}):
            gap = float((self.gradient(backbone, **options) - plain).abs().max() / plain.abs().max())
            usually = "noise drawn inside rsample() or transition(), dropout"
            demand(gap < ROUNDING, f"with {options} the gradient differs by {gap:.2g}", usually)

    def test_gradients_reach_every_step(self, backbone: Backbone) -> None:
        """A reward of the designs tells the network of the first step, too, what it should have said."""
        probes: list[Tensor] = []

        def probed(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
            out = backbone.predict(x, t, condition)
            probes.append(torch.zeros_like(out).requires_grad_())
            return out + probes[-1]

        x = backbone.decode(rollout(backbone.process, probed, DESIGNS, self.generator("probed")).x)
        demand(x.requires_grad, "designs have no gradient", "argmax without a soft backward in finish()")
        found = torch.autograd.grad(self.potential(x).sum(), probes, allow_unused=True)
        for k, slope in enumerate(found):
            alive = slope is not None and bool(slope.isfinite().all()) and bool(slope.any())
            usually = "a detach, or letters without a soft backward, between this step and the design"
            demand(alive, f"what the network says at step {k} has no gradient, or NaN", usually)

    def test_gradients_are_derivatives(self, space: Space, backbone: Backbone) -> None:
        """Of a linear reward less the path KL, along a shift of what the network says: as by central differences.

        Not of letters, whose gradients are surrogates.
        """
        if isinstance(space, Tokens) or not backbone.process.tunable:
            pytest.skip("only for real designs and steps with noise")
        opened, away = backbone.tunable(), self.random(space.event_shape, "away")

        def value(shift: Tensor) -> Tensor:
            def shifted(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
                out = opened.tuned.predict(x, t, condition)
                return out + shift.reshape(-1, *[1] * (out.ndim - 1)) * away

            path = rollout(backbone.process, shifted, PATHS, self.generator("value"), reference=opened.reference)
            assert path.kl is not None
            return self.potential(path.x) - path.kl.sum(1)

        shift, step = torch.full((PATHS,), 0.05, device=self.device, requires_grad=True), 0.01
        (found,) = torch.autograd.grad(value(shift).sum(), shift)
        with torch.no_grad():
            expected = (value(shift + step) - value(shift - step)) / (2 * step)
        worst, size = float((found - expected).abs().median()), float(expected.abs().median())
        what = f"gradients of about {size:.3g} are typically {worst:.3g} off finite differences"
        usually = "a detach() or no_grad() on part of the way, in transition() or around the reference"
        demand(worst < 0.02 * (1 + size), what, usually)

    def test_the_reference_is_frozen_but_differentiable(self, backbone: Backbone) -> None:
        """No gradient for its weights, but one for its input: the KL depends on the state through it."""
        opened, before = backbone.tunable(), self.sample(backbone)
        x = backbone.process.prior(PATHS, self.generator("prior")).requires_grad_()
        t = torch.full((PATHS,), backbone.process.time(0), device=x.device)
        outs = [predict(x, t, None) for predict in (opened.tuned.predict, opened.reference)]
        slopes = [
            torch.autograd.grad(out.sum(), x, allow_unused=True, retain_graph=True)[0] if out.requires_grad else None
            for out in outs
        ]
        own, its = (torch.zeros_like(x) if slope is None else slope for slope in slopes)
        same = torch.allclose(own, its, atol=ROUNDING * (1 + float(own.abs().max())))
        demand(same, "the reference has no gradient with respect to its input", "no_grad() or detach() around it")
        if outs[1].requires_grad:
            frozen = torch.autograd.grad(outs[1].sum(), opened.parameters, allow_unused=True)
            demand(all(g is None for g in frozen), "the reference has the tuned weights", "weights that are shared")
        with self.moved(opened, 1.0):
            after, again = self.sample(backbone), opened.reference(x, t, None)
        usually = "weights that are shared: copy them in tunable()"
        demand(torch.equal(after, before), "tuning changes the pretrained model", usually)
        demand(torch.equal(again, outs[1]), "tuning changes the reference", usually)

    def test_it_is_reopened_from_its_state(self, space: Space, backbone: Backbone, tmp_path: Path) -> None:
        """Everything learned is in tensors and JSON."""
        state = backbone.state()
        save_file({name: tensor.contiguous().clone() for name, tensor in state.tensors.items()}, tmp_path / "state")
        twin = self.build(space)
        twin.load_state(
            State(load_file(tmp_path / "state", device=str(self.device)), json.loads(json.dumps(state.meta)))
        )
        same = torch.equal(self.sample(twin), self.sample(backbone))
        demand(same, "a reopened backbone draws other designs", "something learned that is not in state()")

    def test_state_is_a_copy(self, backbone: Backbone) -> None:
        """A state that was handed out does not change with the model (the best weights would be the last)."""
        demand_copies(backbone.state(), backbone.state())

    def test_a_state_of_another_model_is_refused(self, space: Space, backbone: Backbone) -> None:
        """One tensor missing, or of another shape."""
        state, untrained = backbone.state(), self.build(space)
        for name, tensor in state.tensors.items():
            less = {other: value for other, value in state.tensors.items() if other != name}
            wider = {**state.tensors, name: torch.cat([tensor.flatten(), tensor.flatten()])}
            for what, tensors in (("without", less), ("with another shape of", wider)):
                with refusal(f"a state {what} {name!r}", "strict=False; name what differs in a StoreError"):
                    untrained.load_state(State(tensors, state.meta))

    def test_weights_choose_what_is_learned(self, space: Space) -> None:
        """A design of weight 0 is as good as absent."""
        model = self.build(space)
        x = self.poles(space).repeat_interleave(DESIGNS // 2, 0)
        weights = torch.tensor([1.0, 0.0], device=self.device).repeat_interleave(DESIGNS // 2)
        model.fit(x, self.generator("weights"), weights=weights)
        share = self.nearer(self.sample(model, DESIGNS), space)
        demand(share > MOSTLY, f"{share:.0%} of the samples are like the designs that count", "weights are not used")

    def told(self, values: Tensor | float, n: int = DESIGNS, null: bool = False) -> Condition:
        """A scalar condition for each of ``n`` designs."""
        column = torch.as_tensor(values, device=self.device).expand(n)[:, None]
        return Condition(column, torch.full((n,), null, device=self.device))

    def test_conditions_choose_what_is_drawn(self, space: Space) -> None:
        """A conditional twin draws what it is asked for, and both if it is told nothing, which is not to be told 0."""
        model = self.build(space).fresh(SCALAR)
        x = self.poles(space).repeat_interleave(DESIGNS // 2, 0)
        values = torch.tensor([2.0, 0.0], device=self.device).repeat_interleave(DESIGNS // 2)
        model.fit(x, self.generator("conditions"), conditions=self.told(values))
        first, second, nothing = (
            self.nearer(self.sample(model, DESIGNS, condition=condition), space)
            for condition in (self.told(2.0), self.told(0.0), self.told(torch.nan, null=True))
        )
        what = f"of what was asked for are {first:.0%} and {1 - second:.0%} of the samples"
        demand(first > MOSTLY and second < 1 - MOSTLY, what, "the condition does not reach the net")
        usually = "null means 0, the value of a null condition is read, or label dropout is missing"
        demand(0.1 < nothing < 0.9, f"told nothing, {nothing:.0%} are of one kind", usually)

    def test_wrong_conditions_are_refused(self, space: Space, backbone: Backbone, designs: Tensor) -> None:
        """One for an unconditional model, none for a conditional one, and another number than there are designs."""
        usually, twin = "a check in predict() and fit(): raise UnsupportedError", backbone.fresh(SCALAR)
        for model, condition, what in (
            (backbone, self.told(0.0, PATHS), "a condition for an unconditional model"),
            (twin, None, "a conditional model without a condition"),
            (twin, self.told(0.0, PATHS - 1), "too few conditions"),
        ):
            with refusal(f"{what}, at sampling", usually):
                self.sample(model, condition=condition)
        for given, condition, what in (
            (None, self.told(0.0), "a condition for an unconditional model"),
            (SCALAR, None, "a conditional model without conditions"),
            (SCALAR, self.told(0.0, DESIGNS - 1), "too few conditions"),
        ):
            with refusal(f"{what}, at fit", usually):
                backbone.fresh(given).fit(designs, self.generator("bad"), conditions=condition)

    def test_wrong_designs_are_refused(self, space: Space, designs: Tensor) -> None:
        """None, one, designs of another shape, and designs with NaN: told before any training."""
        untrained, spoilt = self.build(space), designs.clone()
        spoilt[3] = torch.nan
        for what, x in (
            ("no designs", designs[:0]),
            ("one design", designs[:1]),
            ("designs of another shape", torch.cat([designs, designs], 1)),
            ("a design that is NaN", spoilt),
        ):
            with refusal(what, "a check at the start of fit(): raise DataError"):
                untrained.fit(x, self.generator("bad"))

    def test_wrong_weights_are_refused(self, space: Space, designs: Tensor) -> None:
        """Negative ones, NaN, nothing but zeros, and another number than there are designs."""
        untrained, ones = self.build(space), torch.ones(DESIGNS, device=self.device)
        for what, weights in (
            ("a negative weight", torch.cat([ones[1:], -ones[:1]])),
            ("a weight that is NaN", torch.cat([ones[1:], torch.nan * ones[:1]])),
            ("weights that are all 0", 0 * ones),
            ("too few weights", ones[1:]),
        ):
            with refusal(what, "a check at the start of fit(): raise DataError"):
                untrained.fit(designs, self.generator("bad"), weights=weights)
