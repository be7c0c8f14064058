"""A correct objective with one fault each, and the tests of the contract that must find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    LabelledDesigns,
    Objective,
    Oracle,
    Posterior,
    Problem,
    Sampler,
    Space,
    State,
    Streams,
    Tokens,
    Trajectory,
    Vectors,
)
from braid_core.testing import ObjectiveContract
from braid_core.tuning.finetune import FineTuned, FineTuning
from braid_core.tuning.spec import FineTuningSpec

LETTERS, VECTORS = Tokens("ACG", 2), Vectors(2)


class SoundSpec(FineTuningSpec):
    """The correct objective."""

    type: str = "sound"

    def build(self) -> Any:
        return Sound(self)


QUICK = SoundSpec(alpha=1.0, steps=8, batch=64, learning_rate=0.25, milestones=3)
STILL = SoundSpec(steps=1, learning_rate=1e-30)


class Tuned(Sampler):
    """Hands everything on to a tuned sampler."""

    def __init__(self, inner: FineTuned) -> None:
        self.inner = inner

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        return self.inner.sample(n, generator, condition)

    @property
    def milestones(self) -> tuple[int, ...]:
        return self.inner.milestones

    def at(self, milestone: int) -> AbstractContextManager[Sampler]:
        return self._at(milestone)

    @contextmanager
    def _at(self, milestone: int) -> Iterator[Sampler]:
        with self.inner.at(milestone):
            yield self

    def state(self) -> State:
        return self.inner.state()

    def load_state(self, state: State) -> None:
        self.inner.load_state(state)


class Tuning(FineTuning):
    """Maximises the conservative reward."""

    def score(self, posterior: Posterior) -> Tensor:
        return posterior.conservative()


class Sound(Objective):
    """No fault: conservative fine-tuning."""

    found_by: ClassVar[set[str]] = set()
    space: ClassVar[Space] = LETTERS
    tuning: ClassVar[type[FineTuning]] = Tuning
    tuned: ClassVar[type[Tuned]] = Tuned

    def __init__(self, spec: FineTuningSpec) -> None:
        self.method = self.tuning(spec)

    def fit(self, problem: Problem) -> Tuned:
        return self.tuned(self.method.fit(problem))

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Tuned:
        return self.tuned(self.method.sampler(pretrained, oracle))

    def score(self, posterior: Posterior) -> Tensor:
        return posterior.conservative()


class SoundOnVectors(Sound):
    """No fault on vectors, either."""

    found_by: ClassVar[set[str]] = set()
    space = VECTORS


class TunesThePretrained(Sound):
    """Leaves the tuned weights in the model that others go on to use."""

    found_by: ClassVar = {"test_what_it_is_given_stays_as_it_is"}

    def fit(self, problem: Problem) -> Tuned:
        found = super().fit(problem)
        problem.pretrained.load_state(found.inner.tuned.state())
        return found


class LeavesGradients(Sound):
    """Calls backward() on all that its loss depends on."""

    found_by: ClassVar = {"test_what_it_is_given_stays_as_it_is"}

    def fit(self, problem: Problem) -> Tuned:
        problem.oracle.posterior(problem.data.x).mean.sum().backward()  # type: ignore[no-untyped-call]
        return super().fit(problem)


class Freezes(Sound):
    """Freezes the pretrained model, for good."""

    found_by: ClassVar = {"test_what_it_is_given_stays_as_it_is"}

    def fit(self, problem: Problem) -> Tuned:
        problem.pretrained.net.requires_grad_(False)  # type: ignore[attr-defined]
        return super().fit(problem)


class LeavesTrainingMode(Sound):
    """`eval()` is not undone, nor is `train()`."""

    found_by: ClassVar = {"test_what_it_is_given_stays_as_it_is"}

    def fit(self, problem: Problem) -> Tuned:
        problem.oracle.net.train()  # type: ignore[attr-defined]
        return super().fit(problem)


class WritesIntoTheTable(Sound):
    """Standardises the rewards that belong to others."""

    found_by: ClassVar = {"test_what_it_is_given_stays_as_it_is"}

    def fit(self, problem: Problem) -> Tuned:
        problem.data.y.sub_(problem.data.y.mean())
        return super().fit(problem)


class GlobalStart(Sound):
    """Weights that are shaken by the global generator."""

    found_by: ClassVar = {"test_fitting_follows_the_streams"}

    def fit(self, problem: Problem) -> Tuned:
        found = super().fit(problem)
        with torch.no_grad():
            for parameter in found.inner.tuned.net.values():  # type: ignore[attr-defined]
                parameter.add_(1e-4 * torch.randn(parameter.shape))
        return found


class OwnStreams(Sound):
    """The same numbers whatever the seed of the run."""

    found_by: ClassVar = {"test_fitting_follows_the_streams"}

    def fit(self, problem: Problem) -> Tuned:
        return super().fit(replace(problem, streams=Streams(0)))


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


class Downhill(FineTuning):
    def score(self, posterior: Posterior) -> Tensor:
        return -posterior.conservative()


class Minimises(Sound):
    """The wrong sign."""

    found_by: ClassVar = {"test_it_improves_its_own_score"}
    tuning = Downhill


class Ranked(Sound):
    """Scores that depend on the designs beside them."""

    found_by: ClassVar = {"test_scores", "test_it_improves_its_own_score"}

    def score(self, posterior: Posterior) -> Tensor:
        score = posterior.conservative()
        return score - score.mean()


class ForgetsTheUnit(Sound):
    """Alpha is counted in whatever the rewards are counted in."""

    found_by: ClassVar = {"test_the_unit_of_the_rewards_does_not_matter"}

    def fit(self, problem: Problem) -> Tuned:
        y = problem.data.y
        if bool((y == y[0]).all()):
            return super().fit(problem)
        return super().fit(replace(problem, data=LabelledDesigns(problem.data.x, (y - y.mean()) / y.std())))


class TellsNaN(Sound):
    """A figure of nothing."""

    found_by: ClassVar = {"test_the_log_is_told_plain_figures"}

    def fit(self, problem: Problem) -> Tuned:
        found = super().fit(problem)
        problem.log.step(21, 21, mean=float(problem.data.y[:0].mean()))
        return found


class TellsTwice(Sound):
    """Starts to count again."""

    found_by: ClassVar = {"test_the_log_is_told_plain_figures"}

    def fit(self, problem: Problem) -> Tuned:
        super().fit(problem)
        return super().fit(problem)


class Divides(Sound):
    """By the range of the rewards, without a look at it."""

    found_by: ClassVar = {"test_equal_rewards_are_served_or_refused"}

    def fit(self, problem: Problem) -> Tuned:
        width = 1 / float(problem.data.y.max() - problem.data.y.min())
        assert width > 0
        return super().fit(problem)


class TunesAnything(Sound):
    """Says nothing where it cannot tune."""

    found_by: ClassVar = {"test_a_chain_without_noise_is_served_or_refused"}

    def fit(self, problem: Problem) -> Tuned:
        if not problem.pretrained.process.tunable:
            return self.sampler(problem.pretrained, problem.oracle)
        return super().fit(problem)


FAULTS = [*Sound.__subclasses__(), *KlAveragedOverSteps.__subclasses__()]


class _Contract(ObjectiveContract):
    spec = QUICK
    tunes = True
    idle = STILL
    objective_class: ClassVar[type[Sound]]

    def build(self, spec: Any = None) -> Sound:
        return self.objective_class(spec or self.spec)


for fault in FAULTS:
    members = {"objective_class": fault, "spaces": (fault.space,)}
    globals()[f"Test{fault.__name__}"] = type(f"Test{fault.__name__}", (_Contract,), members)


class TestWithoutSpec(ObjectiveContract):
    """Its author forgot the spec."""

    spaces = (LETTERS,)
