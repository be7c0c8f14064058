"""What every backbone promises, as tests that its author inherits."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from braid_core.errors import BraidError, SpecError, UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    Predict,
    Space,
    State,
    Streams,
    Tokens,
    Transition,
)
from braid_core.registry.spec import BackboneSpec
from braid_core.testing.checks import demand
from braid_core.testing.contract import Contract
from braid_core.tuning.rollout import rollout

DESIGNS, PATHS, DRAWS = 200, 16, 4000
ROUNDING = 1e-4
ERRORS = 5  # standard errors of a mean over ``DRAWS``: a right formula fails once in two million
MOSTLY = 0.75


class BackboneContract(Contract):
    """Derive a class whose name starts with ``Test``, and give it the spec of the backbone and its spaces::

        class TestMine(BackboneContract):
            spec = MySpec(train_steps=100)
            spaces = (Tokens("ACGT", 4),)

    Choose options with which a fit takes a second or two: there are four for each space. Declare what is different:

    ``clamped``: states are moved into their limits after a step, so that the step's KL is that of the proposal, a bound
    of the KL of the states, and tilting is exact only between the limits.
    """

    spec: ClassVar[BackboneSpec]
    spaces: ClassVar[tuple[Space, ...]] = (Tokens("ACGT", 4),)
    clamped: ClassVar[bool] = False
    _shared: ClassVar[dict[Space, Backbone]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls._shared = {}

    def build(self, space: Space) -> Backbone:
        """An untrained backbone."""
        if not hasattr(self, "spec"):
            raise SpecError("the contract has no backbone", where=type(self).__name__, fix="write `spec = YourSpec()`")
        return self.spec.build(space, self.device)

    def generator(self, role: str) -> torch.Generator:
        """Equal roles give equal numbers."""
        return Streams(0).get(role, self.device)

    @pytest.fixture
    def designs(self, space: Space) -> Float[Tensor, " n *event"]:
        """What the backbone is trained on."""
        return self.natural(space, DESIGNS, "designs")

    def natural(self, space: Space, n: int, role: str) -> Float[Tensor, " n *event"]:
        """Designs that have something in common: about half of each is that of the first pole."""
        generator = Streams(0).get(role)
        x = space.random(n, generator).to(self.device)
        common = torch.rand(*x.shape[:2], *[1] * (x.ndim - 2), generator=generator).to(self.device) < 0.5
        return torch.where(common, self.poles(space)[0], x)

    @pytest.fixture
    def backbone(self, space: Space, designs: Tensor) -> Backbone:
        """Fitted, once for each space of the class: look at it, do not change it."""
        if space not in self._shared:
            model = self.build(space)
            model.fit(designs, self.generator("fit"))
            self._shared[space] = model
        return self._shared[space]

    def sample(
        self, model: Backbone, n: int = PATHS, role: str = "sample", condition: Condition | None = None
    ) -> Tensor:
        """Designs as a run draws them."""
        with torch.no_grad():
            return model.decode(rollout(model.process, model.predict, n, self.generator(role), condition=condition).x)

    def moved(self, model: Backbone) -> Predict:
        """The same network with other weights: a tuned one."""
        opened = model.tunable()
        with torch.no_grad():
            for parameter in opened.parameters:
                noise = torch.randn(parameter.shape, generator=Streams(0).get("moved")).to(parameter)
                parameter.add_(0.3 * parameter.std().nan_to_num(1.0).clamp(min=0.03) * noise)
        return opened.tuned.predict

    def steps(self, model: Backbone) -> list[int]:
        """The first step, one in the middle and the last."""
        return sorted({0, model.process.steps // 2, model.process.steps - 1})

    def pair(self, model: Backbone, k: int) -> tuple[Transition, Transition, Tensor]:
        """A tuned and the pretrained step from one state on the way, ``DRAWS`` times, and the state."""
        with torch.no_grad():
            path = rollout(model.process, model.predict, PATHS, self.generator("path"), record=True)
            assert path.states is not None
            x = path.states[k][:1].expand(DRAWS, *path.states.shape[2:])
            t = torch.full((1,), model.process.time(k), device=x.device)
            outs = [predict(x[:1], t, None) for predict in (self.moved(model), model.predict)]
            p, q = (model.process.transition(out.expand(DRAWS, *out.shape[1:]), x, k) for out in outs)
        return p, q, x

    def test_shapes(self, space: Space, backbone: Backbone) -> None:
        """From the prior through every step to designs of the space: one row for each, nothing NaN."""
        process, n = backbone.process, 5
        x = process.prior(n, self.generator("prior"))
        for k in range(process.steps):
            t = torch.full((n,), process.time(k), device=x.device)
            out = backbone.predict(x, t, None)
            guess = process.denoised(out, x, k)
            demand(
                guess.shape == (n, *space.event_shape), f"x̂0 has the shape {tuple(guess.shape)}", "a state's channels"
            )
            noise = process.transition_type.noise(x, self.generator("noise"))
            following = process.transition(out, x, k).rsample(noise)
            demand(
                following.shape == x.shape,
                f"step {k} turns {tuple(x.shape)} into {tuple(following.shape)}",
                "a squeeze",
            )
            demand(bool(following.isfinite().all()), f"step {k} makes NaN", "a division by a rate that is 0 at the end")
            x = following
        final = process.finish(x).detach()
        demand(final.shape == (n, *space.event_shape), f"a design has the shape {tuple(final.shape)}", "no finish()")
        inside = space.contains(backbone.decode(final))
        demand(bool(inside.all()), f"{int((~inside).sum())} of {n} are no designs of the space", "letters left relaxed")

    def test_time_runs_from_noise_to_data(self, backbone: Backbone) -> None:
        """1 at the start, falling, above 0 before the last step: networks see it, whatever the number of steps."""
        times = [backbone.process.time(k) for k in range(backbone.process.steps)]
        falling = all(a > b for a, b in pairwise(times))
        demand(
            falling and times[0] <= 1 and times[-1] >= 0,
            f"the times are {times[:3]} … {times[-1]}",
            "k counted backwards",
        )

    def test_sampling_follows_the_generator(self, backbone: Backbone) -> None:
        """Equal generators give equal designs, others other ones; the global random numbers are left alone."""
        before = torch.random.get_rng_state()
        one, again, other = (self.sample(backbone, role=role) for role in ("sample", "sample", "else"))
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "sampling draws from the global random numbers", "torch.rand or dropout without a generator")
        demand(torch.equal(one, again), "equal generators give different designs", "state kept between calls")
        demand(not torch.equal(one, other), "other generators give the same designs", "a fixed seed inside")

    def test_fitting_follows_the_generator(self, space: Space, designs: Tensor, backbone: Backbone) -> None:
        """A second fit with an equal generator makes the same model, to the last bit."""
        twin, before = self.build(space), torch.random.get_rng_state()
        twin.fit(designs, self.generator("fit"))
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "fit draws from the global random numbers", "weights initialised by torch's own layers")
        same = torch.equal(self.sample(twin), self.sample(backbone))
        demand(same, "two fits with equal generators differ", "weights initialised by torch's own layers")

    def test_it_learns(self, space: Space, designs: Tensor, backbone: Backbone) -> None:
        """The bound of fresh designs is better than that of an untrained model."""
        fresh = self.natural(space, 500, "fresh")
        with torch.no_grad():
            values = [
                float(m.process.loss(m.predict, m.encode(fresh), self.generator("loss")).mean())
                for m in (self.build(space), backbone)
            ]
        demand(
            values[1] < values[0],
            f"untrained {values[0]:.3f}, trained {values[1]:.3f}",
            "too few steps, or no best weights",
        )

    def test_a_step_costs_nothing_against_itself(self, backbone: Backbone) -> None:
        """KL(p ‖ p) = 0, and a model that was just opened for tuning has moved nowhere."""
        opened = backbone.tunable()
        with torch.no_grad():
            path = rollout(
                opened.tuned.process, opened.tuned.predict, PATHS, self.generator("sample"), reference=opened.reference
            )
        assert path.kl is not None
        worst = float(path.kl.abs().max())
        demand(
            worst < ROUNDING,
            f"the path KL of an untuned model is {worst:.3g}",
            "other weights, dropout or another mode",
        )
        same = torch.equal(opened.tuned.decode(path.x), self.sample(backbone))
        demand(same, "an opened model draws other designs", "tuned starts from other weights")

    def test_kl_is_the_expected_log_ratio(self, backbone: Backbone) -> None:
        """KL(p ‖ q) = E_p[log p − log q], summed over dimensions, in nats; for clamped states it may be more."""
        if not backbone.process.tunable:
            pytest.skip("a step without noise has no density")
        for k in self.steps(backbone):
            p, q, x = self.pair(backbone, k)
            sample = p.rsample(p.noise(x, self.generator("kl")))
            ratio = (p.log_prob(sample) - q.log_prob(sample)).double()
            kl, error = float(p.kl(q)[0]), float(ratio.std()) / DRAWS**0.5
            found, room = float(ratio.mean()), ERRORS * error + ROUNDING * (1 + abs(float(ratio.mean())))
            holds = kl > found - room if self.clamped else abs(kl - found) < room
            usually = "a mean instead of a sum over dimensions, or a wrong power of the noise"
            demand(holds and kl >= -ROUNDING, f"step {k}: kl() is {kl:.4g}, sampled {found:.4g} ± {error:.2g}", usually)

    def test_densities_are_normalised(self, backbone: Backbone) -> None:
        """E_p[q/p] = 1 for two steps from the same state."""
        if not backbone.process.tunable:
            pytest.skip("a step without noise has no density")
        for k in self.steps(backbone):
            p, q, x = self.pair(backbone, k)
            sample = p.rsample(p.noise(x, self.generator("normal")))
            share = (q.log_prob(sample) - p.log_prob(sample)).double().exp()
            room = ERRORS * float(share.std()) / DRAWS**0.5 + 0.02
            found = float(share.mean())
            demand(abs(found - 1) < room, f"step {k}: E[q/p] is {found:.3f}, not 1", "log_prob leaves a normaliser out")

    def test_tilting_is_exponential(self, backbone: Backbone) -> None:
        """log p̃(x) − log p(x) − direction·x is the same number for every x."""
        if not backbone.process.tunable:
            pytest.skip("a step without noise has no density")
        for k in self.steps(backbone):
            p, _, x = self.pair(backbone, k)
            direction = torch.randn(x.shape[1:], generator=Streams(0).get("direction")).to(x).expand_as(x)
            sample = p.rsample(p.noise(x, self.generator("tilt")))
            gained = p.tilt(direction).log_prob(sample) - p.log_prob(sample) - (direction * sample).flatten(1).sum(1)
            off = (gained - gained.median()).abs() > 0.01 * (1 + gained.abs())
            share = float(off.double().mean())
            allowed = 0.5 if self.clamped else 0.0
            demand(
                share <= allowed, f"step {k}: for {share:.0%} of the states it is another", "a shift of the wrong size"
            )

    def test_guidance_raises_what_it_follows(self, space: Space, backbone: Backbone) -> None:
        """Level 0 changes nothing; level 1 along a linear potential makes the designs better in it."""
        weight = torch.randn(space.event_shape, generator=Streams(0).get("potential")).to(self.device)

        def potential(x: Tensor) -> Tensor:
            return (x * weight).flatten(1).sum(1)

        def guided(level: float) -> Tensor:
            process, generator = backbone.process, self.generator("guided")
            x = process.prior(DESIGNS, generator)
            for k in range(process.steps):
                noise = process.transition_type.noise(x, generator)
                x = x.detach().requires_grad_()
                out = backbone.predict(x, torch.full((len(x),), process.time(k), device=x.device), None)
                x = process.guided(out, x, k, potential, level).rsample(noise)
            return process.finish(x).detach()

        plain, still, better = self.sample(backbone, DESIGNS, "guided"), guided(0.0), guided(1.0)
        demand(
            torch.allclose(backbone.decode(still), plain, atol=1e-3), "level 0 changes the designs", "a rate that moves"
        )
        gain = float((potential(better) - potential(still)).mean())
        demand(gain > 0, f"level 1 changes the potential by {gain:.3g}", "the sign, or a gradient that is cut")

    def gradient(self, model: Backbone, **options: object) -> Tensor:
        """Of a linear reward less the path KL, with respect to a tuned model's weights."""
        opened = model.tunable()
        with torch.no_grad():
            for parameter in opened.parameters:
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=Streams(0).get("moved")).to(parameter))
        path = rollout(
            opened.tuned.process,
            opened.tuned.predict,
            PATHS,
            self.generator("gradient"),
            reference=opened.reference,
            **options,  # type: ignore[arg-type]
        )
        assert path.kl is not None
        weight = torch.randn(path.x.shape[1:], generator=Streams(0).get("potential")).to(path.x)
        loss = path.kl.sum() - (path.x * weight).sum()
        found = torch.autograd.grad(loss, opened.parameters, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    def test_gradients_reach_the_weights(self, backbone: Backbone) -> None:
        """Checkpointing and a truncation that cuts nothing leave them as they are."""
        if not backbone.process.tunable:
            pytest.skip("a step without noise cannot be tuned")
        plain = self.gradient(backbone)
        alive = bool(plain.isfinite().all()) and bool(plain.any())
        demand(alive, "the gradient is zero, NaN or infinite", "letters by argmax without a soft backward, or a detach")
        for options in ({"checkpoint": True}, {"truncate": backbone.process.steps}):
            gap = float((self.gradient(backbone, **options) - plain).abs().max() / plain.abs().max())
            demand(
                gap < ROUNDING, f"with {options} the gradient differs by {gap:.2g}", "noise drawn inside transition()"
            )

    def test_the_reference_is_frozen_but_differentiable(self, backbone: Backbone) -> None:
        """No gradient for its weights, but one for its input: the KL depends on the state through it."""
        opened = backbone.tunable()
        x = backbone.process.prior(4, self.generator("prior")).requires_grad_()
        out = opened.reference(x, torch.full((4,), backbone.process.time(0), device=x.device), None)
        demand(out.requires_grad, "the reference has no gradient with respect to its input", "no_grad() around it")
        before = self.sample(backbone)
        with torch.no_grad():
            for parameter in opened.parameters:
                parameter.add_(1)
        demand(
            torch.equal(self.sample(backbone), before), "tuning changes the pretrained model", "weights that are shared"
        )

    def test_it_is_reopened_from_its_state(self, space: Space, backbone: Backbone, tmp_path: Path) -> None:
        """Everything learned is in tensors and JSON."""
        state = backbone.state()
        save_file({name: tensor.contiguous().clone() for name, tensor in state.tensors.items()}, tmp_path / "state")
        twin = self.build(space)
        twin.load_state(State(load_file(tmp_path / "state"), json.loads(json.dumps(state.meta))))
        same = torch.equal(self.sample(twin), self.sample(backbone))
        demand(same, "a reopened backbone draws other designs", "something learned that is not in state()")

    def poles(self, space: Space) -> Float[Tensor, " poles *event"]:
        """Two designs that nobody mistakes for each other."""
        if isinstance(space, Tokens):
            return space.one_hot(torch.tensor([[0] * space.length, [1] * space.length])).to(self.device)
        return torch.stack([torch.full(space.event_shape, value, device=self.device) for value in (1.0, -1.0)])

    def nearer(self, x: Tensor, space: Space) -> float:
        """The share of ``x`` that is nearer to the first pole."""
        distance = space.distance(x, self.poles(space))
        return float((distance[:, 0] < distance[:, 1]).double().mean())

    def test_weights_choose_what_is_learned(self, space: Space) -> None:
        """A design of weight 0 is as good as absent."""
        model = self.build(space)
        x = self.poles(space).repeat_interleave(DESIGNS // 2, 0)
        weights = torch.tensor([1.0, 0.0], device=self.device).repeat_interleave(DESIGNS // 2)
        model.fit(x, self.generator("weights"), weights=weights)
        share = self.nearer(self.sample(model, DESIGNS), space)
        demand(share > MOSTLY, f"{share:.0%} of the samples are like the designs that count", "weights are not used")

    def test_conditions_choose_what_is_drawn(self, space: Space) -> None:
        """A conditional twin draws what it is asked for, and both if it is told nothing."""
        model = self.build(space).fresh(ConditionSpec("scalar", 1))
        x = self.poles(space).repeat_interleave(DESIGNS // 2, 0)
        values = torch.tensor([1.0, -1.0], device=self.device).repeat_interleave(DESIGNS // 2)[:, None]
        told = torch.zeros(DESIGNS, dtype=torch.bool, device=self.device)
        model.fit(x, self.generator("conditions"), conditions=Condition(values, told))
        asked = Condition(torch.ones_like(values), told)
        share = self.nearer(self.sample(model, DESIGNS, condition=asked), space)
        demand(
            share > MOSTLY, f"{share:.0%} of the samples are what was asked for", "the condition does not reach the net"
        )
        share = self.nearer(self.sample(model, DESIGNS, condition=Condition(values, ~told)), space)
        demand(
            0.1 < share < 0.9, f"told nothing, {share:.0%} are of one kind", "null means 0, or label dropout is missing"
        )

    def test_wrong_conditions_are_refused(self, space: Space, backbone: Backbone) -> None:
        """A condition for an unconditional model, and none for a conditional one."""
        condition = Condition(torch.zeros(PATHS, 1, device=self.device), torch.zeros(PATHS, dtype=torch.bool))
        for model, given in ((backbone, condition), (backbone.fresh(ConditionSpec("scalar", 1)), None)):
            with pytest.raises(UnsupportedError):
                self.sample(model, condition=given)

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_designs_are_refused(self, space: Space, designs: Tensor, n: int) -> None:
        """With a BraidError, which says what to do."""
        with pytest.raises(BraidError):
            self.build(space).fit(designs[:n], self.generator("few"))

    def test_designs_of_another_shape_are_refused(self, space: Space, designs: Tensor) -> None:
        """With a BraidError, not from the depths of a network."""
        with pytest.raises(BraidError):
            self.build(space).fit(torch.cat([designs, designs], 1), self.generator("shape"))
