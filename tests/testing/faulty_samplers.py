"""The correct objective with one fault each in what it draws or keeps, and the tests that must find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import (
    Condition,
    Problem,
    Sampler,
    State,
    Trajectory,
)
from tests.testing.tuned import VECTORS, Sound, Tuned


class SoundOnVectors(Sound):
    """No fault on vectors, either."""

    found_by: ClassVar[set[str]] = set()
    space = VECTORS


class Elsewhere(Tuned):
    def designs(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        return super().designs(n, torch.Generator().manual_seed(0), condition)


class OtherDesigns(Sound):
    """Designs without their KL are others."""

    found_by: ClassVar = {"test_designs_alone_are_those_of_a_sample"}
    tuned = Elsewhere


class OwnSeed(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        return super().sample(n, torch.Generator().manual_seed(0), condition)


class IgnoresTheGenerator(Sound):
    """The same designs at every call."""

    found_by: ClassVar = {"test_sampling_follows_the_generator"}
    tuned = OwnSeed


class GlobalDraws(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        seed = int(torch.randint(2**31, ()))
        return super().sample(n, torch.Generator().manual_seed(seed), condition)


class DrawsFromTheGlobalNumbers(Sound):
    """Other designs at every call."""

    found_by: ClassVar = {
        "test_sampling_follows_the_generator",
        "test_fitting_follows_the_streams",
        "test_it_is_reopened_from_its_state",
        "test_a_milestone_is_left_again",
        "test_designs_alone_are_those_of_a_sample",
    }
    tuned = GlobalDraws


class Forgets(Tuned):
    def state(self) -> State:
        state = super().state()
        return State({name: t for name, t in state.tensors.items() if name != "last.untold"}, state.meta)

    def load_state(self, state: State) -> None:
        super().load_state(State({**super().state().tensors, **state.tensors}, state.meta))


class Forgetful(Sound):
    """The tuned weights are not in its state."""

    found_by: ClassVar = {"test_it_is_reopened_from_its_state"}
    tuned = Forgets


class ForgetsEarlier(Tuned):
    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.inner.earlier = {}


class ForgetsMilestones(Sound):
    """They are not taken back."""

    found_by: ClassVar = {"test_it_is_reopened_from_its_state"}
    tuned = ForgetsEarlier


class WithASet(Tuned):
    def state(self) -> State:
        state = super().state()
        return State(state.tensors, {**state.meta, "kept": set(self.milestones)})


class NotJson(Sound):
    """A set where JSON is expected."""

    found_by: ClassVar = {"test_it_is_reopened_from_its_state"}
    tuned = WithASet


class Alias(Tuned):
    def state(self) -> State:
        live = {f"last.{name}": p.detach() for name, p in self.inner.tuned.net.items()}  # type: ignore[attr-defined]
        state = super().state()
        return State({**state.tensors, **live}, state.meta)


class Aliased(Sound):
    """Hands out the memory of its weights."""

    found_by: ClassVar = {"test_state_is_a_copy"}
    tuned = Alias


class StaysAtMilestone(Tuned):
    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        if milestone not in self.milestones:
            raise UnsupportedError("not kept")
        self.inner.tuned.load_state(self.inner.earlier[milestone])
        yield self


class NotRestored(Sound):
    """Goes back to a milestone for good."""

    found_by: ClassVar = {"test_a_milestone_is_left_again"}
    tuned = StaysAtMilestone


class StaysAfterError(StaysAtMilestone):
    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        last = self.inner.tuned.state()
        with super()._at(milestone):
            yield self
        self.inner.tuned.load_state(last)


class NotRestoredAfterAnError(Sound):
    """Goes back to a milestone for good if something happens there."""

    found_by: ClassVar = {"test_a_milestone_is_left_again"}
    tuned = StaysAfterError


class Unmoved(Tuned):
    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        if milestone not in self.milestones:
            raise UnsupportedError("not kept")
        yield self


class LastAtEveryMilestone(Sound):
    """Every state that was kept is the last."""

    found_by: ClassVar = {"test_a_milestone_is_left_again"}
    tuned = Unmoved

    def fit(self, problem: Problem) -> Tuned:
        found = super().fit(problem)
        found.inner.earlier = {step: found.inner.tuned.state() for step in found.milestones}
        return found


class Nearest(Tuned):
    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        nearest = min(self.milestones, key=lambda step: abs(step - milestone))
        with super()._at(nearest):
            yield self


class AnyMilestone(Sound):
    """Goes to another milestone than it was asked for."""

    found_by: ClassVar = {"test_a_milestone_that_was_not_kept_is_refused"}
    tuned = Nearest


class EarlierKl(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        for step in self.milestones[:1]:
            with self.inner.at(step):
                kl = self.inner.sample(n, torch.Generator().manual_seed(1)).kl
            path = replace(path, kl=kl)
        return path


class KlOfAnotherLaw(Sound):
    """The KL is what it was at a milestone."""

    found_by: ClassVar = {"test_kl_is_that_of_the_designs"}
    tuned = EarlierKl


class MeanKl(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        assert path.kl is not None
        return replace(path, kl=path.kl.mean(1, keepdim=True))


class KlAveragedOverSteps(Sound):
    """While alpha is quoted per nat."""

    found_by: ClassVar = {"test_kl_is_that_of_the_designs"}
    tuned = MeanKl


class KlAveragedOnVectors(KlAveragedOverSteps):
    """The same mistake on vectors, where all that is known is the least that it can be."""

    found_by: ClassVar = {"test_kl_is_that_of_the_designs"}
    space = VECTORS


class Toll(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        assert path.kl is not None
        return replace(path, kl=path.kl + 1e-3)


class KlOfNothing(Sound):
    """Pays a little for steps that are those of the pretrained model."""

    found_by: ClassVar = {"test_what_changes_nothing_costs_nothing"}
    tuned = Toll


class Soft(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        return replace(path, x=torch.lerp(path.x, torch.full_like(path.x, 1 / path.x.shape[-1]), 0.1))


class Relaxed(Sound):
    """Probabilities in place of letters."""

    found_by: ClassVar = {"test_shapes"}
    tuned = Soft


class Latent(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        return replace(path, x=self.inner.tuned.encode(path.x))


class NotDecoded(Sound):
    """Latents in place of designs."""

    found_by: ClassVar = {"test_shapes", "test_kl_is_that_of_the_designs", "test_what_changes_nothing_costs_nothing"}
    space = VECTORS
    tuned = Latent


class Tracked(Tuned):
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        path = super().sample(n, generator, condition)
        assert path.kl is not None
        return replace(path, kl=path.kl.requires_grad_())


class WithGradients(Sound):
    """Draws that keep a graph."""

    found_by: ClassVar = {"test_shapes"}
    tuned = Tracked
