"""What every oracle promises, as tests that its author inherits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from braid_core.errors import BraidError, SpecError
from braid_core.interfaces import LabelledDesigns, Oracle, Space, State, Streams
from braid_core.registry.spec import OracleSpec, ScaledOracleSpec
from braid_core.testing.checks import (
    QUANTITIES,
    correlation,
    demand,
    demand_same,
    differences,
    distance,
    figures,
    slopes,
)
from braid_core.testing.contract import Contract
from braid_core.testing.landscape import Landscape

DESIGNS = 200
ROUNDING = 0.01  # what float32 may cost, in standard deviations of the reward
BETTER_THAN_CHANCE = 0.3  # correlation; by chance it is 0 ± 0.07
COPIES = 4
CLEARLY_LESS, CLEARLY_MORE = 0.9, 1.1
MOST, AT_ONCE = 0.7, 0.75


class OracleContract(Contract):
    """Derive a class whose name starts with ``Test``, and give it the spec of the oracle::

        class TestKnn(OracleContract):
            spec = KnnSpec(neighbours=5)
            distance_aware = True

    Choose options with which a fit takes seconds: there are up to seven for each of ``spaces``. Declare what the
    oracle can do beyond the interface:

    ``distance_aware``: the penalty shrinks as measurements are added, and grows away from them.

    Tests of your own may use the fixtures: ``space``, its ``landscape``, a ``table`` measured there and the ``oracle``
    fitted to it. The oracle is shared by all tests of the class: look at it, do not change it.
    """

    spec: ClassVar[OracleSpec]
    distance_aware: ClassVar[bool] = False
    _shared: ClassVar[dict[Space, Oracle]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls._shared = {}

    def build(self, space: Space, spec: OracleSpec | None = None) -> Oracle:
        """An unfitted oracle; of another ``spec`` if one is given."""
        if not hasattr(self, "spec"):
            raise SpecError("the contract has no oracle", where=type(self).__name__, fix="write `spec = YourSpec()`")
        return (spec or self.spec).build(space, self.device)

    def fit(self, space: Space, data: LabelledDesigns, seed: int = 0) -> Oracle:
        """An oracle fitted as a run fits it, to a copy: one that changes its table fails one test, not all."""
        oracle = self.build(space)
        everything = torch.arange(len(data), device=self.device)
        oracle.fit(data.take(everything), self._generator(seed))
        return oracle

    def _generator(self, seed: int) -> torch.Generator:
        return Streams(seed).get("oracle", self.device)

    @pytest.fixture
    def landscape(self, space: Space) -> Landscape:
        """The reward behind the table."""
        return Landscape(space, self.device)

    @pytest.fixture
    def table(self, landscape: Landscape) -> LabelledDesigns:
        """Random designs and their rewards with a little noise."""
        return landscape.measure(landscape.designs(DESIGNS, "table"), "table")

    @pytest.fixture
    def oracle(self, space: Space, table: LabelledDesigns) -> Oracle:
        """Fitted to the table, once for each space of the class."""
        if space not in self._shared:
            self._shared[space] = self.fit(space, table)
        return self._shared[space]

    @pytest.fixture
    def places(self, landscape: Landscape, table: LabelledDesigns) -> Float[Tensor, " b *event"]:
        """Where to look: some measured designs, some new ones and some between the corners."""
        return torch.cat([table.x[:10], landscape.designs(10, "places"), landscape.relaxed(10, "places")])

    def test_shapes(self, space: Space, oracle: Oracle, places: Tensor) -> None:
        """One finite number for each design, of the designs' dtype and on their device; also for a batch of one."""
        known = getattr(oracle, "space", None) == space
        demand(known, "oracle.space is not the space that it was built for", "`self.space = space` is missing")
        for x in (places, places[:1]):
            for name, value in figures(oracle.posterior(x)).items():
                is_column = value.shape == (len(x),)
                shown = f"{name} of {len(x)} designs has the shape {tuple(value.shape)}, not ({len(x)},)"
                demand(is_column, shown, "squeeze() instead of squeeze(-1), or none at all")
                shown = f"{name} is {value.dtype} on {value.device}, the designs are {x.dtype} on {x.device}"
                demand((value.dtype, value.device) == (x.dtype, x.device), shown, "a cast or move that is not undone")
                shown = f"{name} is NaN or infinite for {int((~value.isfinite()).sum())} of {len(x)} designs"
                demand(bool(value.isfinite().all()), shown, "the root of a variance that rounding made negative")

    def test_rows_are_independent(self, oracle: Oracle, table: LabelledDesigns, places: Tensor) -> None:
        """A batch gets what its rows get one by one: a pool is scored in pieces, a candidate alone."""
        together = figures(oracle.posterior(places))
        alone = [figures(oracle.posterior(row[None])) for row in places]
        for name, value in together.items():
            gap = distance(value, torch.cat([row[name] for row in alone]))
            what = f"{name} of a design changes by {gap:.3g} with the designs beside it"
            demand(gap <= ROUNDING * table.std, what, "batch normalisation or dropout in training mode, x.mean(0)")

    def test_fit_is_reproducible(self, space: Space, table: LabelledDesigns, oracle: Oracle, places: Tensor) -> None:
        """Equal tables and generators give equal posteriors; the global generator and the table are left alone."""
        given = LabelledDesigns(table.x.clone(), table.y.clone())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20261122)
            before = torch.random.get_rng_state()
            again = self.build(space)
            again.fit(given, self._generator(0))
            untouched = torch.equal(torch.random.get_rng_state(), before)
        usually = "initial weights or batches drawn without `generator=`, such as by torch.nn.Linear or torch.randperm"
        demand(untouched, "building or fitting draws from torch's global generator", usually)
        usually = "a random source other than the generator given: numpy, random, or the order of a set"
        demand_same(again.posterior(places), oracle.posterior(places), 0, "a second fit is another one", usually)
        same = torch.equal(given.x, table.x) and torch.equal(given.y, table.y)
        demand(same, "fit changes the table that it is given", "standardising in place: `y -= y.mean()`")

    def test_any_seed_is_accepted(self, space: Space, table: LabelledDesigns, landscape: Landscape) -> None:
        """Another seed, of 63 bits like those of a run, gives another fit that has learned too."""
        usually = "too few training steps, or starts from which it does not learn"
        self._check_learned(self.fit(space, table, seed=1), landscape, usually)

    def test_variances_and_groups_are_accepted(
        self, space: Space, table: LabelledDesigns, landscape: Landscape
    ) -> None:
        """A table may state the variance of each measurement, and which designs belong together."""
        variance = torch.linspace(0.01, 0.1, len(table), device=self.device)
        group = torch.arange(len(table), device=self.device) // 2
        model = self.fit(space, LabelledDesigns(table.x, table.y, variance, group))
        self._check_learned(model, landscape, "weights of the wrong shape, or 1/variance that is not normalised")

    def test_posterior_is_deterministic(self, oracle: Oracle, table: LabelledDesigns, places: Tensor) -> None:
        """The same question gets the same answer, draws nothing, and may be asked where no gradient is wanted."""
        asked, before = places.clone(), torch.random.get_rng_state()
        first, second = oracle.posterior(asked), oracle.posterior(asked)
        demand_same(first, second, 0, "two posteriors of the same designs", "dropout, or samples in place of moments")
        demand_same(first, first, 0, "two looks at one posterior", "a property that draws samples")
        drawn = not torch.equal(torch.random.get_rng_state(), before)
        demand(not drawn, "posterior draws from torch's global generator", "dropout, or samples in place of moments")
        demand(torch.equal(asked, places), "posterior changes the designs that it is given", "an operation in place")
        with torch.no_grad():
            silent = oracle.posterior(places)
        rounding = ROUNDING * table.std
        demand_same(silent, first, rounding, "a posterior under no_grad()", "moments that are gradients")

    def test_gradients_at_designs(self, oracle: Oracle, table: LabelledDesigns, landscape: Landscape) -> None:
        """At a design, autograd agrees with finite differences towards the inside; at a measured one it is finite."""
        self._check_gradients(oracle, landscape, landscape.designs(8, "at"), table.std, inside=False)
        for name, value in self._differentiable(oracle).items():
            slopes(value, table.x[:8], landscape.relaxed(8, "towards"), name)

    def test_gradients_between_designs(self, oracle: Oracle, table: LabelledDesigns, landscape: Landscape) -> None:
        """At relaxed designs, where designers follow the gradient, autograd agrees with central differences."""
        self._check_gradients(oracle, landscape, landscape.relaxed(8, "between"), table.std, inside=True)

    def _check_gradients(self, oracle: Oracle, landscape: Landscape, x: Tensor, unit: float, inside: bool) -> None:
        """Along four directions from each design; some of them may meet a kink, such as that of a minimum."""
        __tracebackhide__ = True
        x = x.repeat_interleave(4, 0)
        towards = landscape.relaxed(len(x), "towards")
        for name, value in self._differentiable(oracle).items():
            expected = differences(value, x, towards, inside)
            found = slopes(value, x, towards, name)
            allowed = 0.1 * expected.abs() + 0.05 * expected.abs().mean() + 1e-3 * unit
            agrees = ((found - expected).abs() <= allowed).float().mean()
            what = f"the gradient of {name} agrees with finite differences in {agrees:.0%} of the directions"
            usually = "a detach() on part of the way, straight-through letters, or jumps as those of argmax and topk"
            demand(float(agrees) >= MOST, what, usually)

    def _differentiable(self, oracle: Oracle) -> dict[str, Callable[[Tensor], Tensor]]:
        """The penalty by itself, too: beside a steep mean, its missing gradient would not show."""
        return {
            "mean": lambda x: oracle.posterior(x).mean,
            "conservative()": lambda x: oracle.posterior(x).conservative(),
            "penalty()": lambda x: oracle.posterior(x).penalty(),
        }

    def test_relaxed_designs_are_continuous(self, oracle: Oracle, table: LabelledDesigns, landscape: Landscape) -> None:
        """On the way from one design to another, no hundredth of the way makes most of the difference."""
        a, b = landscape.designs(16, "ways").chunk(2)
        way = torch.cat([torch.lerp(a, b, share / 100) for share in range(101)])
        for name, value in self._differentiable(oracle).items():
            with torch.no_grad():
                values = value(way).reshape(101, len(a))
            finite = bool(values.isfinite().all())
            demand(finite, f"{name} is NaN or infinite between designs", "a logarithm or root of a negative number")
            jump = values.diff(dim=0).abs().amax(0)
            across = values.amax(0) - values.amin(0) + 1e-3 * table.std
            at_once = float((jump / across).median())
            what = f"{name} jumps: one step makes {at_once:.0%} of all the change between two designs"
            demand(at_once < AT_ONCE, what, "letters by argmax or rounding, where probabilities should be used")

    def test_penalty_is_never_negative(self, oracle: Oracle, table: LabelledDesigns, landscape: Landscape) -> None:
        """The conservative reward is at most the mean, everywhere, and their difference is the penalty."""
        found = figures(oracle.posterior(self._everywhere(table, landscape)))
        mean, std, conservative, penalty = (found[name] for name in QUANTITIES)
        lowest = float(penalty.min())
        usually = "a wrong sign, a bound on the wrong side, or a mean that rounds below its minimum: clamp(min=0)"
        demand(lowest >= 0, f"the penalty is negative (or NaN): {lowest:.3g}", usually)
        demand(float(std.min()) >= 0, "the standard deviation is negative", "a log or variance given as std")
        gap = distance(mean - penalty, conservative)
        what = f"conservative() is not mean − penalty(): they differ by {gap:.3g}"
        demand(gap <= ROUNDING * table.std, what, "penalty() overridden with another scale; the inherited one will do")

    def test_penalty_depends_on_the_design(self, oracle: Oracle, table: LabelledDesigns, landscape: Landscape) -> None:
        """A penalty that is the same everywhere moves no optimum: it is no pessimism at all."""
        penalty = figures(oracle.posterior(self._everywhere(table, landscape)))["penalty()"]
        spread, most = float(penalty.max() - penalty.min()), float(penalty.abs().max())
        what = f"the penalty ignores the design: it varies by {spread:.3g} around {most:.3g}"
        usually = "one noise level for all designs in place of the model's doubt, or a bound that always applies"
        demand(spread > 1e-3 * most, what, usually)

    def _everywhere(self, table: LabelledDesigns, landscape: Landscape) -> Float[Tensor, " b *event"]:
        return torch.cat([table.x, landscape.designs(200, "everywhere"), landscape.relaxed(200, "everywhere")])

    def test_c_scales_the_penalty_alone(self, space: Space, oracle: Oracle, places: Tensor) -> None:
        """Twice the ``c`` of a ``ScaledOracleSpec`` is twice the penalty for the same fit: runs choose c after it."""
        if not isinstance(self.spec, ScaledOracleSpec):
            pytest.skip("the spec has no c to scale")
        scaled = self.build(space, self.spec.model_copy(update={"c": 2 * self.spec.scale}))
        scaled.load_state(oracle.state())
        one, two = figures(oracle.posterior(places)), figures(scaled.posterior(places))
        unit = float(one["std"].mean() + one["penalty()"].mean())
        for name, factor in (("mean", 1), ("std", 1), ("penalty()", 2)):
            gap = distance(two[name], factor * one[name])
            what = f"with c = 2, {name} is not {factor} times what it is with c = 1: {gap:.3g} beside it"
            demand(gap <= 1e-3 * unit, what, "a penalty that is not linear in c, or c that enters the fit or the std")

    def test_a_look_without_gradients_does_not_cut_them(self, oracle: Oracle, places: Tensor) -> None:
        """Whoever looks at a posterior first, to log it, must not decide what others can differentiate."""
        seen, unseen = (oracle.posterior(places.clone().requires_grad_()) for _ in range(2))
        with torch.no_grad():
            figures(seen)
        for name, quantity in QUANTITIES.items():
            alive = quantity(seen).requires_grad == quantity(unseen).requires_grad
            demand(alive, f"{name} has lost its gradient to a look under no_grad()", "a cached property")

    def test_saved_and_loaded_is_the_same(self, space: Space, oracle: Oracle, places: Tensor, tmp_path: Path) -> None:
        """A run stores the state as tensors and JSON; a fresh oracle that is given it says exactly the same."""
        state, file = oracle.state(), tmp_path / "state.safetensors"
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}, file)
        try:
            meta = json.loads(json.dumps(state.meta))
        except (TypeError, ValueError) as error:
            raise AssertionError(
                f"state().meta is not JSON: {error}\n  usually: a tensor, path or set in it"
            ) from error
        fresh = self.build(space)
        fresh.load_state(State({name: tensor.to(self.device) for name, tensor in load_file(file).items()}, meta))
        usually = "state() forgets something that fit() sets (location, scale, a fitted constant), or keeps it rounded"
        demand_same(fresh.posterior(places), oracle.posterior(places), 0, "the reopened oracle is another one", usually)

    def test_state_is_a_copy(self, oracle: Oracle) -> None:
        """A state that was handed out does not change with the oracle, and carries no gradient."""
        one, other = oracle.state().tensors, oracle.state().tensors
        for name, tensor in one.items():
            demand(not tensor.requires_grad, f"{name!r} in the state has a gradient", "detach() is missing in state()")
            shared = tensor.numel() > 0 and tensor.data_ptr() == other[name].data_ptr()
            what = f"{name!r} in the state is the oracle's own memory"
            demand(not shared, what, "clone() is missing in state(); state_dict() and detach() do not copy")

    def test_symmetric_forms_agree(self, space: Space, oracle: Oracle, table: LabelledDesigns, places: Tensor) -> None:
        """All forms that the space calls one design (both strands of a molecule) get one answer."""
        first, *others = space.orbit(places)
        if not others:
            pytest.skip("this space has no symmetry")
        expected = oracle.posterior(first)
        for form in others:
            usually = "features of x alone: average them, or the predictions, over space.orbit(x)"
            rounding = ROUNDING * table.std
            demand_same(oracle.posterior(form), expected, rounding, "two forms of one design differ", usually)

    def test_it_learns(self, oracle: Oracle, landscape: Landscape) -> None:
        """New designs from the same distribution are ranked clearly better than by chance."""
        usually = "too few training steps, a table whose rows were shuffled apart, a wrong sign"
        self._check_learned(oracle, landscape, usually)

    def _check_learned(self, oracle: Oracle, landscape: Landscape, usually: str) -> None:
        __tracebackhide__ = True
        x = landscape.designs(200, "new")
        found = correlation(oracle.posterior(x).mean, landscape.reward(x))
        what = f"predictions of new designs correlate with the truth with {found:.2f} only"
        demand(found > BETTER_THAN_CHANCE, what, usually)

    def test_units_are_followed(self, space: Space, table: LabelledDesigns, oracle: Oracle, places: Tensor) -> None:
        """Rewards in other units, 4 y + 100, give the same beliefs in those units: alpha and c keep their meaning."""
        converted = self.fit(space, LabelledDesigns(table.x, 4 * table.y + 100)).posterior(places)
        plain = oracle.posterior(places)
        usually = "a prior, ridge, noise or clamp in absolute units: standardise y in fit(), undo it in posterior()"
        off = converted.mean - 4 * plain.mean - 100
        gap = float(off.detach().abs().median()) / (4 * table.std)
        what = f"in other units, predictions are others, typically by {gap:.2f} standard deviations"
        demand(gap < 0.25, what, usually)
        for name in ("std", "penalty()"):
            ratio = float(figures(converted)[name].median() / figures(plain)[name].median())
            demand(2.7 < ratio < 6, f"rewards times 4 give {name} times {ratio:.2f}", usually)

    def test_fitted_takes_no_gradient(self, space: Space, oracle: Oracle, places: Tensor) -> None:
        """What was learned is fixed: tuning differentiates through the oracle, never with respect to it."""
        reopened = self.build(space)
        reopened.load_state(oracle.state())
        for origin, model in (("fit()", oracle), ("load_state()", reopened)):
            for name, quantity in QUANTITIES.items():
                carries = quantity(model.posterior(places)).requires_grad
                what = f"after {origin}, {name} carries a gradient of the oracle's own parameters"
                demand(not carries, what, f"requires_grad_(False) or detach() is missing in {origin}")

    def test_one_design_is_refused(self, space: Space, table: LabelledDesigns) -> None:
        """From one design nothing can be learned; the user reads that, not a traceback."""
        self._check_refused(space, table.take(torch.tensor([0], device=self.device)), "one design")

    def test_constant_rewards_are_refused(self, space: Space, table: LabelledDesigns) -> None:
        """From equal rewards nothing can be learned, and their spread is no unit."""
        # their standard deviation need not round to 0
        self._check_refused(space, LabelledDesigns(table.x, torch.full_like(table.y, 0.1)), "constant rewards")

    def _check_refused(self, space: Space, data: LabelledDesigns, what: str) -> None:
        __tracebackhide__ = True
        usually = f"a check at the start of fit() is missing: raise DataError for {what}"
        try:
            self.fit(space, data)
        except BraidError:
            return
        except Exception as error:
            raise AssertionError(
                f"{what}: {type(error).__name__} instead of DataError\n  usually: {usually}"
            ) from error
        demand(False, f"{what}: accepted, and a belief made of it", usually)

    def test_repeated_measurements_shrink_the_penalty(
        self, space: Space, table: LabelledDesigns, landscape: Landscape, oracle: Oracle
    ) -> None:
        """Each design measured four times, with fresh noise, leaves clearly less doubt about these designs.

        For c σ √(φᵀA⁻¹φ) with A = λI + Σφφᵀ the penalty about halves. With the covariance, A/n, in place of the sum it
        stays: repeating a table does not change its covariance.
        """
        self._needs_distance()
        copies = landscape.measure(torch.cat([table.x] * (COPIES - 1)), "copies")
        more = LabelledDesigns(torch.cat([table.x, copies.x]), torch.cat([table.y, copies.y]))
        before, after = (self._doubt(model, table.x) for model in (oracle, self.fit(space, more)))
        what = f"with each design measured {COPIES} times, the penalty there is {after / before:.2f} times what it was"
        usually = "a bonus from the covariance (centred, or divided by n) in place of the sum λI + Σφφᵀ"
        demand(bool(after < CLEARLY_LESS * before), what, usually)

    def test_penalty_grows_far_from_the_data(self, space: Space, landscape: Landscape) -> None:
        """Designs of letters never measured, or ten times as far out, are in clearly more doubt than measured ones."""
        self._needs_distance()
        remote = landscape.remote(50)
        if remote is None:
            pytest.skip("with two letters, no design is far from all others")
        near = landscape.narrow(DESIGNS)
        model = self.fit(space, landscape.measure(near, "narrow"))
        here, there = self._doubt(model, near), self._doubt(model, remote)
        what = f"far from the data the penalty is {there / here:.2f} times that at the data"
        usually = "a penalty of the noise alone, features that are flat or saturated away from the data"
        demand(bool(there > CLEARLY_MORE * here), what, usually)

    def _needs_distance(self) -> None:
        if not self.distance_aware:
            pytest.skip("only for oracles that declare `distance_aware = True`")

    def _doubt(self, oracle: Oracle, x: Tensor) -> Tensor:
        return figures(oracle.posterior(x))["penalty()"].median()
