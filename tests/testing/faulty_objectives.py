"""The correct objective with one fault each in how it is made, and the tests of the contract that must find it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Posterior, Problem, Streams
from braid_core.testing import ObjectiveContract
from braid_core.tuning.finetune import FineTuning
from tests.testing.faulty_samplers import KlAveragedOverSteps
from tests.testing.tuned import LETTERS, QUICK, STILL, Sound, Tuned


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
