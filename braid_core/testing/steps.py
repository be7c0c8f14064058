"""What the chain of every backbone promises: each step is a distribution that is sampled, scored, tilted and guided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Backbone, Process, Space, Tokens, Transition
from braid_core.testing.checks import demand, is_letters, mass, unbounded
from braid_core.testing.fitted import DESIGNS, PATHS, PLACES, Fitted
from braid_core.tuning.rollout import rollout

DRAWS = 1000  # from each state
ROUNDING = 1e-4
ERRORS = 5  # standard errors of a mean: a right formula fails once in two million
RARE = 0.01  # what letters too rare to be drawn may add to a mean
LEVEL = 2.0  # of guidance


@dataclass(frozen=True)
class Pair:
    """A tuned and the pretrained step from ``DRAWS`` copies of each of ``PLACES`` states, and draws from the first."""

    p: Transition
    q: Transition
    draws: Float[Tensor, " n *state"]

    @property
    def ratio(self) -> Float[Tensor, "places draws"]:
        """log p − log q of the draws."""
        return (self.p.log_prob(self.draws) - self.q.log_prob(self.draws)).double().reshape(PLACES, -1)

    def spread(self) -> float:
        """The standard deviation of the log ratio: √(2·KL) where both are normal, and free of normalisers."""
        return float(self.ratio.std(1).square().mean().sqrt())


class StepTests(Fitted):
    """The tests of :class:`BackboneContract` that look at the chain, whatever the network says."""

    def pair(self, model: Backbone, k: int, apart: float) -> Pair:
        """Two steps whose log ratio has about the standard deviation ``apart``.

        The network's output is moved, not its weights, and by as much as that takes: outputs are additive, and a
        sampled E[q/p] is worth nothing where steps are far apart, which in many dimensions they soon are.
        """
        x = self.states(model, k, DRAWS)
        with torch.no_grad():
            out = self.asked(model, x[::DRAWS], k)
        away = self.random(out.shape, "away").to(out)
        noise = model.process.transition_type.noise(x, self.generator("next"))

        def moved(size: float) -> Pair:
            p, q = (model.process.transition(o.repeat_interleave(DRAWS, 0), x, k) for o in (out + size * away, out))
            return Pair(p, q, p.rsample(noise))

        size = min(1.5, 0.01 * apart / max(moved(0.01).spread(), 1e-9))
        while (found := moved(size)).spread() > 1.5 * apart and size > 1e-6:
            size /= 2
        return found

    def test_shapes(self, space: Space, backbone: Backbone) -> None:
        """From the prior through every step to designs of the space: one row for each, nothing NaN."""
        process, n = backbone.process, DESIGNS
        x = process.prior(n, self.generator("prior"))
        for k in range(process.steps):
            with torch.no_grad():
                out = self.asked(backbone, x, k)
            guess = process.denoised(out, x, k)
            shape = tuple(guess.shape)
            demand(shape == (n, *space.event_shape), f"x̂0 has the shape {shape}", "a state's channels")
            noise = process.transition_type.noise(x, self.generator("noise"))
            following = process.transition(out, x, k).rsample(noise)
            what = f"step {k} turns {tuple(x.shape)} into {tuple(following.shape)}"
            demand(following.shape == x.shape, what, "a squeeze")
            demand(bool(following.isfinite().all()), f"step {k} makes NaN", "a division by a rate that is 0 at the end")
            x = following
        final = process.finish(x).detach()
        demand(final.shape == (n, *space.event_shape), f"a design has the shape {tuple(final.shape)}", "no finish()")
        # A generator may put a pad before a letter, which is not its fault but makes no design.
        letters = replace(space, pad="") if isinstance(space, Tokens) else space
        inside = letters.contains(backbone.decode(final))
        usually = "letters left relaxed, or taken by a threshold (argmax leaves no position without a letter)"
        demand(bool(inside.all()), f"{int((~inside).sum())} of {n} are no designs of the space", usually)

    def test_time_runs_from_noise_to_data(self, backbone: Backbone) -> None:
        """1 at the start, falling, above 0 before the last step: networks see it, whatever the number of steps."""
        times = [backbone.process.time(k) for k in range(backbone.process.steps)]
        falling = all(a > b for a, b in pairwise(times))
        what = f"the times are {times[:3]} … {times[-1]}"
        demand(falling and times[0] <= 1 and times[-1] >= 0, what, "k counted backwards")

    def test_the_number_of_steps_is_free(self, space: Space, backbone: Backbone) -> None:
        """The same chain in twice the steps, with the same network; the chain that was asked stays as it is."""
        process: Process = self.build(space).process
        steps = process.steps
        try:
            finer = process.with_steps(2 * steps)
        except UnsupportedError:
            pytest.skip("this chain has one number of steps")
        what = f"with_steps({2 * steps}) gives {finer.steps} steps, and leaves {process.steps} of {steps}"
        demand((finer.steps, process.steps) == (2 * steps, steps), what, "with_steps() that returns or changes self")
        kept = finer.time(0) == process.time(0) and finer.time(1) > process.time(1)
        demand(kept, f"its times are {finer.time(0)}, {finer.time(1)} …", "times of the old steps")
        with torch.no_grad():
            x = rollout(finer, backbone.predict, PATHS, self.generator("finer")).x
        demand(bool(x.isfinite().all()), "in twice the steps, designs are NaN", "coefficients of the old steps")

    def test_kl_is_the_expected_log_ratio(self, backbone: Backbone) -> None:
        """KL(p ‖ q) = E_p[log p − log q], summed over dimensions, in nats, and exact: no draw decides it.

        For clamped states it may be more.
        """
        self._needs_noise(backbone)
        for k in self.steps(backbone):
            pair = self.pair(backbone, k, apart=2.0)
            kl, ratio = pair.p.kl(pair.q).double().reshape(PLACES, -1), pair.ratio
            varies = float((kl.amax(1) - kl.amin(1)).max())
            what = f"step {k}: kl() differs by {varies:.3g} between equal steps"
            demand(
                varies < ROUNDING * (1 + float(kl.abs().max())), what, "the log ratio of a sample in place of the KL"
            )
            found, expected = float(kl.mean()), float(ratio.mean())
            error = float(ratio.std(1).square().mean().sqrt()) / ratio.numel() ** 0.5
            room = ERRORS * error + RARE * (1 + abs(expected))
            holds = found > expected - room if self.clamped else abs(found - expected) < room
            what = f"step {k}: kl() is {found:.4g}, sampled {expected:.4g} ± {error:.2g}"
            demand(holds and found >= -ROUNDING, what, "a mean in place of a sum over dimensions, a wrong power of σ")

    def test_densities_are_normalised(self, backbone: Backbone) -> None:
        """E_p[q/p] = 1 for two steps from one state, and the probabilities of each add up to 1."""
        self._needs_noise(backbone)
        for k in self.steps(backbone):
            pair = self.pair(backbone, k, apart=0.7)
            share = (-pair.ratio).exp()
            found, error = float(share.mean()), float(share.std()) / share.numel() ** 0.5
            usually = "log_prob leaves a normaliser out"
            demand(abs(found - 1) < ERRORS * error + 0.02, f"step {k}: E[q/p] is {found:.3f}, not 1", usually)
            places = zip(pair.draws.chunk(PLACES), pair.p.log_prob(pair.draws).chunk(PLACES), strict=True)
            parts = [mass(draws, log_prob, self.clamped) for draws, log_prob in places]
            found, expected, error = (sum(part) / PLACES for part in zip(*parts, strict=True))
            what = f"step {k}: probabilities that should add up to {expected:.3f} make {found:.3f}"
            demand(abs(found - expected) < ERRORS * error + 0.02, what, "log_prob leaves log σ, or a coin, out")

    def test_tilting_is_exponential(self, backbone: Backbone) -> None:
        """log p̃(x) − log p(x) − direction·x is the same number for every x."""
        self._needs_noise(backbone)
        for k in self.steps(backbone):
            pair = self.pair(backbone, k, apart=0.7)
            direction = self.random(pair.draws.shape[1:], "direction").expand_as(pair.draws)
            along = (direction * pair.draws).flatten(1).sum(1)
            self._tilted(pair.p.tilt(direction), pair.p, along, pair.draws, k, "a shift without σ²")

    def test_guidance_is_the_tilt_of_the_step(self, backbone: Backbone) -> None:
        """By level·potential in the last letters; elsewhere by level·∇potential(x̂0) at the state, if that is moved.

        What a step to letters before the last does is left to the chain.
        """
        self._needs_noise(backbone)
        process, usually = backbone.process, "the sign, the level, or a gradient with respect to something else"
        for k in self.steps(backbone):
            x = self.states(backbone, k, DRAWS // 10).requires_grad_()
            out = self.asked(backbone, x, k)
            step = process.transition(out, x, k)
            draws = step.rsample(process.transition_type.noise(x, self.generator("next"))).detach()
            letters = is_letters(draws)
            if letters and k < process.steps - 1:
                continue
            guided = process.guided(out, x, k, self.potential, LEVEL)
            if letters:
                along = self.potential(process.finish(draws))
            else:
                value = self.potential(process.denoised(out, x, k)).sum()
                along = (torch.autograd.grad(value, x)[0] * draws).flatten(1).sum(1)
            self._tilted(guided, step, LEVEL * along, draws, k, usually)

    def _tilted(self, tilted: Transition, step: Transition, along: Tensor, draws: Tensor, k: int, usually: str) -> None:
        """Fail unless log tilted − log step − along is one number for each place, as far as limits leave alone."""
        __tracebackhide__ = True
        log_probs = [law.log_prob(draws).detach().double() for law in (tilted, step)]
        gained, inside = log_probs[0] - log_probs[1], unbounded(draws, self.clamped)
        rows = zip(*(value.chunk(PLACES) for value in (gained, along.double(), inside)), strict=True)
        for change, wanted, here in rows:
            if int(here.sum()) < 2:
                continue
            off = (change - wanted)[here]
            worst = float((off - off.median()).abs().max())
            rounding = 1e-5 * float(torch.cat([*log_probs, along]).abs().max())
            allowed = 0.02 * float(wanted[here].std()) + rounding + ROUNDING
            what = f"step {k}: log p̃ − log p − direction·x varies by {worst:.3g} (allowed: {allowed:.3g})"
            demand(worst < allowed, what, usually)

    def test_guidance_raises_what_it_follows(self, backbone: Backbone) -> None:
        """Level 0 changes nothing; along a linear potential, designs get better in it."""

        def guided(level: float) -> Tensor:
            process, generator = backbone.process, self.generator("guided")
            x = process.prior(DESIGNS, generator)
            for k in range(process.steps):
                noise = process.transition_type.noise(x, generator)
                x = x.detach().requires_grad_()
                x = process.guided(self.asked(backbone, x, k), x, k, self.potential, level).rsample(noise)
            return process.finish(x).detach()

        plain, still, better = self.sample(backbone, DESIGNS, "guided"), guided(0.0), guided(LEVEL)
        same = torch.allclose(backbone.decode(still), plain, atol=1e-3)
        demand(same, "level 0 changes the designs", "a level that is not used, or a rate that moves")
        gain = float((self.potential(better) - self.potential(still)).mean())
        demand(gain > 0, f"level {LEVEL:g} changes the potential by {gain:.3g}", "the sign, or a gradient that is cut")

    def test_what_all_letters_share_guides_nowhere(self, space: Space, backbone: Backbone) -> None:
        """A potential that is the same for all designs changes no step: the rate of unmasking stays as it is."""
        if not isinstance(space, Tokens) or not is_letters(self.states(backbone, 0, 1)):
            pytest.skip("only for chains whose states are letters or masks")
        for k in self.steps(backbone):
            x = self.states(backbone, k, 1)
            out = self.asked(backbone, x, k)
            guided = backbone.process.guided(out, x, k, lambda x0: 3 * x0.flatten(1).sum(1), LEVEL)
            moved = float(guided.kl(backbone.process.transition(out, x, k)).detach().abs().max())
            usually = "a step that is tilted towards all letters, and so away from the mask"
            demand(moved < 1e-3, f"step {k}: a constant potential moves it by {moved:.3g} nats", usually)

    def _needs_noise(self, backbone: Backbone) -> None:
        if not backbone.process.tunable:
            pytest.skip("a step without noise has no density")
