"""What every objective promises, as tests that its author inherits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from braid_core.errors import BraidError
from braid_core.interfaces import LabelledDesigns, Problem, Sampler, Space, State, Tokens, Trajectory
from braid_core.registry.spec import ObjectiveSpec
from braid_core.testing.checks import demand, demand_copies, distance, refusal
from braid_core.testing.known import Heard, KnownBackbone, KnownOracle
from braid_core.testing.problems import DRAWS, FEW, ROWS, KnownProblem, Problems, same

ROUNDING = 1e-4
ERRORS = 5  # standard errors of a mean: a right figure fails once in two million
GAIN = 0.1  # standard deviations of the offline rewards
OTHER_UNIT = 8.0  # a power of two, which costs no rounding


class ObjectiveContract(Problems):
    """Derive a class whose name starts with ``Test``, and give it the spec of the objective::

        class TestMine(ObjectiveContract):
            spec = MySpec(steps=50)
            tunes = True

    It is tried on an easy problem over letters and vectors, with a backbone and an oracle whose laws are known. Choose
    options with which a fit takes a second or less: there are up to eleven for each of ``spaces``. Declare what is
    different:

    ``tunes``: weights are trained against the path KL, from random draws; chains that cannot pay it are refused.

    ``bounds_kl``: the KL that is reported is an upper bound, not that of the path.

    ``idle``: options with which the method changes nothing, where there are any.
    """

    tunes: ClassVar[bool] = False
    bounds_kl: ClassVar[bool] = False
    idle: ClassVar[ObjectiveSpec | None] = None

    def test_shapes(self, space: Space, given: KnownProblem, sampler: Sampler) -> None:
        """As many designs of the space as were asked for, without gradients; also one."""
        for n in (FEW, 1):
            path = self.draw(sampler, n)
            shape = tuple(path.x.shape)
            demand(shape == (n, *space.event_shape), f"{n} designs have the shape {shape}", "a squeeze, or a pool")
            fits = (path.x.dtype, path.x.device) == (torch.float32, given.pretrained.device)
            demand(fits, f"designs are {path.x.dtype} on {path.x.device}", "a cast or move that is not undone")
            alive = [part for part in (path.x, path.kl, path.log_prob, path.states) if part is not None]
            free = not any(part.requires_grad for part in alive)
            demand(free, "draws carry gradients", "`@torch.no_grad()` is missing at sample()")
            self._demand_designs(space, path)

    def _demand_designs(self, space: Space, path: Trajectory) -> None:
        __tracebackhide__ = True
        inside = space.contains(path.x)
        if not isinstance(space, Tokens):  # numbers of the problem's backbone lie between 0 and 1
            inside = inside & ((path.x >= 0) & (path.x <= 1)).flatten(1).all(1)
        what = f"{int((~inside).sum())} of {len(path.x)} draws are no designs"
        demand(bool(inside.all()), what, "relaxed letters, NaN, or latents that were not decoded")

    def test_sampling_follows_the_generator(self, sampler: Sampler) -> None:
        """Equal generators give equal draws, others other ones; the global random numbers are left alone."""
        before = torch.random.get_rng_state()
        one, again, other = (self.draw(sampler, role=role) for role in ("draw", "draw", "else"))
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "sampling draws from the global random numbers", "torch.rand or dropout without a generator")
        demand(same(one, again), "equal generators give different draws", "state kept between calls")
        moved = not torch.equal(one.x, other.x)
        demand(moved, "other generators give the same designs", "a seed of its own, or a collapse to one design")

    def test_designs_alone_are_those_of_a_sample(self, sampler: Sampler) -> None:
        """``designs`` leaves out the KL, and nothing else."""
        alone, path = sampler.designs(FEW, self.generator("draw")), self.draw(sampler)
        equal = torch.equal(alone, path.x) and not alone.requires_grad
        demand(equal, "designs() draws others than sample()", "another order of draws, another model, or gradients")

    def test_fitting_follows_the_streams(self, space: Space, sampler: Sampler) -> None:
        """Equal streams make equal samplers; what is trained on random draws is another thing for another seed."""
        before = torch.random.get_rng_state()
        twin = self.fitted(space)
        untouched = torch.equal(torch.random.get_rng_state(), before)
        demand(untouched, "fit draws from the global random numbers", "layers or batches without a generator")
        equal = same(self.draw(twin), self.draw(sampler))
        demand(equal, "two fits with equal streams differ", "a random source other than problem.streams")
        if self.tunes:
            other = self.build().fit(self.problem(space, seed=1)).state().tensors
            moved = any(not torch.equal(tensor, other[name]) for name, tensor in sampler.state().tensors.items())
            demand(moved, "fits with other streams are equal", "a seed of its own, not problem.streams")

    def test_what_it_is_given_stays_as_it_is(self, given: KnownProblem) -> None:
        """Backbone and oracle to the last bit, with their modes and flags and without gradients; the table, too."""
        before, y, x = self._condition(given), given.data.y.clone(), given.data.x.clone()
        sampler = self.build().fit(given)
        self.draw(sampler)
        intact = torch.equal(given.data.x, x) and torch.equal(given.data.y, y)
        demand(intact, "fit changes the table that it is given", "standardising in place: `y -= y.mean()`")
        for what, value in self._condition(given).items():
            usually = {
                "gradients": "backward() of all that the loss depends on: give it `inputs=`, or zero them",
                "weights": "the model itself is trained: open it by tunable(), or make a twin by fresh()",
            }.get(what.split()[-1], "a mode or flag that is not undone")
            demand(value == before[what], f"fit or sample changes the {what}", usually)

    @staticmethod
    def _condition(given: KnownProblem) -> dict[str, object]:
        """Of the pretrained model and the oracle."""
        found: dict[str, object] = {}
        parts: list[KnownBackbone | KnownOracle] = [given.pretrained, given.oracle]
        for name, part in zip(("pretrained model's", "oracle's"), parts, strict=True):
            parameters = dict(part.net.named_parameters())
            found[f"{name} weights"] = [(key, *value.detach().flatten().tolist()) for key, value in parameters.items()]
            found[f"{name} gradients"] = [key for key, value in parameters.items() if value.grad is not None]
            found[f"{name} flags"] = [key for key, value in parameters.items() if value.requires_grad]
            found[f"{name} modes"] = part.net.training
        return found

    def reopened(self, space: Space, state: State, folder: Path) -> Sampler:
        """A sampler of another objective of the same spec, beside another backbone and oracle, with ``state``."""
        save_file({name: tensor.cpu().contiguous().clone() for name, tensor in state.tensors.items()}, folder / "state")
        try:
            meta = json.loads(json.dumps(state.meta))
        except (TypeError, ValueError) as error:
            raise AssertionError(
                f"state().meta is not JSON: {error}\n  usually: a tensor, path or set in it"
            ) from error
        problem = self.problem(space)
        found = self.build().sampler(problem.pretrained, problem.oracle)
        found.load_state(State(load_file(folder / "state", device=str(self.device)), meta))
        return found

    def test_it_is_reopened_from_its_state(self, space: Space, sampler: Sampler, tmp_path: Path) -> None:
        """The same draws, for the same KL, from tensors and JSON; milestones, too."""
        twin = self.reopened(space, sampler.state(), tmp_path)
        usually = "something that fit() learned is not in state(), or not taken by load_state()"
        demand(same(self.draw(twin), self.draw(sampler)), "a reopened sampler draws otherwise", usually)
        kept = twin.milestones == sampler.milestones
        demand(kept, f"of the milestones {sampler.milestones}, {twin.milestones} are reopened", usually)
        fitted = self.fitted(space) if sampler.milestones else sampler
        for milestone in fitted.milestones:
            with twin.at(milestone) as one, fitted.at(milestone) as other:
                equal = same(self.draw(one), self.draw(other))
            demand(equal, f"at milestone {milestone}, a reopened sampler draws otherwise", usually)

    def test_state_is_a_copy(self, sampler: Sampler) -> None:
        """A state that was handed out does not change with the sampler."""
        demand_copies(sampler.state(), sampler.state())

    def test_a_milestone_is_left_again(self, space: Space, sampler: Sampler) -> None:
        """The sampler is another one within ``at``, and afterwards what it was, whatever happens within."""
        if not sampler.milestones:
            pytest.skip("the sampler keeps no milestones")
        sampler = self.fitted(space)
        now, first = self.draw(sampler), sampler.milestones[0]
        with sampler.at(first) as earlier:
            then = self.draw(earlier)
        demand(not same(then, now), f"at milestone {first} it draws what it draws now", "the last state at all")
        demand(same(self.draw(sampler), now), "it stays what it was at the milestone", "at() does not restore")
        with pytest.raises(ZeroDivisionError), sampler.at(first):
            raise ZeroDivisionError
        restored = same(self.draw(sampler), now)
        demand(restored, "after an exception it stays what it was at the milestone", "`finally` is missing in at()")

    def test_a_milestone_that_was_not_kept_is_refused(self, sampler: Sampler) -> None:
        """Of steps that were never made, too."""
        with refusal("a step that was not kept", "raise UnsupportedError in at()"), sampler.at(10**9):
            pass

    def test_kl_is_that_of_the_designs(self, given: KnownProblem, sampler: Sampler) -> None:
        """Nats by design and step, exact: over letters in turn their mean is the KL of the designs' law, counted.

        Of numbers, and where a bound is reported, it is at least as much.
        """
        path = self.draw(sampler, DRAWS)
        if path.kl is None:
            pytest.skip("no KL is reported")
        what = f"the KL of {DRAWS} designs has the shape {tuple(path.kl.shape)}"
        demand(path.kl.ndim == 2 and len(path.kl) == DRAWS, what, "a mean or sum over the batch")
        demand(bool(path.kl.isfinite().all()), "the KL is NaN or infinite", "a step without noise, or 0·log 0")
        paid = path.kl.detach().double().sum(1)
        model = given.pretrained
        expected, error, exact = self.excess(path.x, model)
        found, room = float(paid.mean()), ERRORS * (error + float(paid.std()) / DRAWS**0.5) + 0.02 * expected + 1e-3
        holds = found > expected - room and (found < expected + room or self.bounds_kl or not exact)
        sign = "" if exact and not self.bounds_kl else "at least "
        what = f"the KL is {found:.3g} nats a design, counted: {sign}{expected:.3g} ± {room:.2g}"
        demand(holds and found > -room, what, "a mean over steps or dimensions, or the KL of another law")

    def test_what_changes_nothing_costs_nothing(self, space: Space) -> None:
        """With the options ``idle``, designs have the law of the pretrained model, and a KL of 0."""
        if self.idle is None:
            pytest.skip("only where `idle` is declared")
        given = self.problem(space)
        path = self.draw(self.build(self.idle).fit(given), DRAWS)
        apart, error, _ = self.excess(path.x, given.pretrained)
        what = f"designs are {apart:.3g} nats from the pretrained model's"
        demand(apart < ERRORS * error + 0.02, what, "another start, temperature or number of steps")
        most = 0.0 if path.kl is None else float(path.kl.detach().abs().max())
        demand(most < ROUNDING, f"a step costs {most:.3g} nats", "a KL against another step than the pretrained")

    def test_scores(self, given: KnownProblem) -> None:
        """One finite number for each design, which the designs beside it do not change."""
        method, oracle = self.build(), given.oracle
        with torch.no_grad():
            x = given.data.x[:FEW]
            together = method.score(oracle.posterior(x))
            what = f"the scores of {FEW} designs have the shape {tuple(together.shape)}"
            demand(together.shape == (FEW,), what, "a mean over the batch")
            demand(bool(together.isfinite().all()), "a score is NaN or infinite", "a logarithm or root of 0")
            alone = torch.cat([method.score(oracle.posterior(row[None])) for row in x])
        gap = distance(together, alone)
        what = f"the score of a design changes by {gap:.3g} with the designs beside it"
        demand(gap <= ROUNDING * given.data.std, what, "scores that are ranked or standardised within the batch")

    def test_it_improves_its_own_score(self, given: KnownProblem, sampler: Sampler) -> None:
        """Designs score clearly higher on average than those of the pretrained model."""
        method = self.build()
        with torch.no_grad():
            drawn, plain = (
                float(method.score(given.oracle.posterior(x)).mean() / given.data.std)
                for x in (self.draw(sampler, DRAWS).x, self.plain(given.pretrained))
            )
        what = f"designs score {drawn:.3g}, the pretrained model's {plain:.3g} (in standard deviations of the rewards)"
        demand(drawn > plain + GAIN, what, "the wrong sign, a score that is not what is followed, or too little effort")

    def test_the_unit_of_the_rewards_does_not_matter(self, space: Space, given: KnownProblem, sampler: Sampler) -> None:
        """Rewards in other units lead to the same designs: alpha and the like count standard deviations of them."""
        other = self.build().fit(self.problem(space, unit=OTHER_UNIT))
        drawn, expected = (self.draw(s, DRAWS).x for s in (other, sampler))
        with torch.no_grad():
            values = [given.oracle.posterior(x).mean / given.data.std for x in (drawn, expected)]
        gap, error = abs(float(values[0].mean() - values[1].mean())), float(values[1].std()) / DRAWS**0.5
        what = f"with rewards times {OTHER_UNIT:g}, designs are {gap:.3g} standard deviations better or worse"
        demand(gap < 3 * error + 0.01, what, "a score that is not divided by problem.data.std")

    def test_the_log_is_told_plain_figures(self, space: Space) -> None:
        """Steps rise to their total; figures are finite numbers, not tensors."""
        log = Heard()
        self.build().fit(self.problem(space, log=log))
        if not log.steps:
            pytest.skip("nothing is reported")
        done, total = [step[0] for step in log.steps], {step[1] for step in log.steps}
        rises = all(a < b for a, b in zip([0, *done], done, strict=False)) and total == {done[-1]}
        shown = f"{done[:3]} … {done[-1]} of {sorted(total)}"
        demand(rises, f"the steps told are {shown}", "counted from 0, per phase, or the last one is not told")
        for _, _, figures in log.steps:
            for name, value in figures.items():
                plain = type(value) in (int, float) and abs(value) < float("inf")
                demand(plain, f"{name} = {value!r} is told", "float() is missing, or NaN from an empty batch")

    def test_equal_rewards_are_served_or_refused(self, space: Space, given: KnownProblem) -> None:
        """A table of one reward has no unit: a method that needs one says so, and others draw designs."""
        level = torch.full((ROWS,), 0.1, device=self.device)
        table = LabelledDesigns(given.data.x, level)
        self._served_or_refused(space, Problem(table, given.pretrained, given.oracle, given.streams, oracle_rmse=0.3))

    def test_a_chain_without_noise_is_served_or_refused(self, space: Space) -> None:
        """Its path KL is infinite: tuning refuses it; other methods draw designs, and report no KL that is NaN."""
        problem = self.problem(space, noisy=False)
        if self.tunes:
            with refusal("a chain that cannot be tuned", "check `process.tunable`: raise UnsupportedError"):
                self.build().fit(problem)
        else:
            self._served_or_refused(space, problem)

    def _served_or_refused(self, space: Space, problem: Problem) -> None:
        __tracebackhide__ = True
        try:
            path = self.draw(self.build().fit(problem))
        except BraidError:
            return
        except Exception as error:
            raise AssertionError(
                f"{type(error).__name__} in place of a BraidError\n  usually: no check at the start of fit()"
            ) from error
        self._demand_designs(space, path)
        known = path.kl is None or bool(path.kl.isfinite().all())
        demand(known, "the KL is NaN or infinite", "report None where there is no KL")
