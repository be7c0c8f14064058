"""The correct backbone with one fault each in its network or training, and the tests that must find it."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import (
    Condition,
    ConditionSpec,
    Space,
    State,
    Tunable,
)
from braid_core.testing import BackboneContract
from tests.testing.faulty_chains import VECTORS, Faulty
from tests.testing.moments import Moments, MomentsSpec


class BatchStatistics(Faulty):
    """Every state in the light of the others in the batch."""

    found_by: ClassVar = {"test_rows_are_independent", "test_the_loss_is_that_of_each_design"}

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        out = super().predict(x, t, condition)
        return out + 0.01 * x.mean(0)


class Noisy(Faulty):
    """A network that is in training mode, with noise of its own as in dropout, after fit()."""

    training = True
    found_by: ClassVar = {
        "test_sampling_follows_the_generator",
        "test_fitting_follows_the_generator",
        "test_a_step_costs_nothing_against_itself",
        "test_gradients_reach_the_weights",
        "test_gradients_are_derivatives",
        "test_guidance_raises_what_it_follows",
        "test_guidance_is_the_tilt_of_the_step",
        "test_it_is_reopened_from_its_state",
        "test_the_reference_is_frozen_but_differentiable",
        "test_the_loss_is_that_of_each_design",
        "test_rows_are_independent",
    }

    def predict(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        out = super().predict(x, t, condition)
        return out + 0.05 * torch.randn(out.shape) if self.training else out


class NoisyWhenTuned(Noisy):
    """A network that is in training mode once it is opened."""

    training = False
    found_by: ClassVar = {
        "test_a_step_costs_nothing_against_itself",
        "test_gradients_reach_the_weights",
        "test_gradients_are_derivatives",
    }

    def tunable(self) -> Tunable:
        opened = super().tunable()
        opened.tuned.training = True  # type: ignore[attr-defined]
        return opened


class BlindReference(Faulty):
    """The reference under no_grad(), which drops the KL's gradient through the state."""

    found_by: ClassVar = {"test_the_reference_is_frozen_but_differentiable", "test_gradients_are_derivatives"}

    def tunable(self) -> Tunable:
        opened = super().tunable()
        return Tunable(opened.tuned, torch.no_grad()(opened.reference), opened.parameters)


class SharedReference(Faulty):
    """The reference moves with the weights that are tuned."""

    found_by: ClassVar = {"test_the_reference_is_frozen_but_differentiable"}

    def tunable(self) -> Tunable:
        opened = super().tunable()
        return Tunable(opened.tuned, opened.tuned.predict, opened.parameters)


class SharedPretrained(Faulty):
    """Tuning is done on the pretrained model itself."""

    found_by: ClassVar = {"test_the_reference_is_frozen_but_differentiable"}

    def copy(self) -> Self:
        return self


class Forgetful(Faulty):
    """Loses the spread between two processes."""

    found_by: ClassVar = {"test_it_is_reopened_from_its_state"}

    def learned(self) -> dict[str, Tensor]:
        return {name: value for name, value in super().learned().items() if name != "std"}

    def load_state(self, state: State) -> None:
        super().load_state(State({**state.tensors, "std": torch.ones(())}))


class Aliased(Faulty):
    """Hands out its own memory: the best weights are the last."""

    found_by: ClassVar = {"test_state_is_a_copy"}

    def state(self) -> State:
        return State(self.learned())


class NotStrict(Faulty):
    """Takes of a state what fits, and keeps its own for the rest."""

    found_by: ClassVar = {"test_a_state_of_another_model_is_refused"}

    def load_state(self, state: State) -> None:
        fits = {name: value for name, value in state.tensors.items() if value.shape == self.net[name].shape}
        self.net.load_state_dict({**self.net.state_dict(), **fits})


class NotFresh(Faulty):
    """A twin that has learned already."""

    found_by: ClassVar = {"test_a_fresh_twin_is_untrained"}

    def fresh(self, condition: ConditionSpec | None) -> Self:
        twin = super().fresh(condition)
        twin.net.load_state_dict(self.net.state_dict())
        return twin


class Idle(Faulty):
    """Learns nothing."""

    found_by: ClassVar = {
        "test_it_learns",
        "test_a_fresh_twin_is_untrained",
        "test_weights_choose_what_is_learned",
        "test_conditions_choose_what_is_drawn",
    }

    def fit(self, *arguments: Any, **options: Any) -> None:
        before = self.state()
        super().fit(*arguments, **options)
        self.load_state(before)


class GlobalTraining(Faulty):
    """Training that draws from the global generator."""

    found_by: ClassVar = {"test_fitting_follows_the_generator"}

    def fit(self, *arguments: Any, **options: Any) -> None:
        super().fit(*arguments, **options)
        self.net["mean"].add_(1e-3 * torch.randn(self.net["mean"].shape))


class InPlace(Faulty):
    """Centres the designs that belong to others."""

    found_by: ClassVar = {"test_fitting_follows_the_generator"}

    def fit(self, designs: Tensor, *arguments: Any, **options: Any) -> None:
        super().fit(designs, *arguments, **options)
        designs.sub_(designs.mean(0))


class Unweighted(Faulty):
    """All designs count alike."""

    found_by: ClassVar = {"test_weights_choose_what_is_learned"}

    def fit(self, designs: Tensor, *arguments: Any, weights: Tensor | None = None, **options: Any) -> None:
        super().fit(designs, *arguments, weights=weights, **options)
        super().fit(designs, *arguments, **options)


class Unconditional(Faulty):
    """Conditions are taken, and not read."""

    found_by: ClassVar = {"test_conditions_choose_what_is_drawn"}

    def moments(self, condition: Condition | None) -> tuple[Tensor, Tensor]:
        return super().moments(None)


class NullIsZero(Faulty):
    """Told nothing is told 0."""

    found_by: ClassVar = {"test_conditions_choose_what_is_drawn"}

    def moments(self, condition: Condition | None) -> tuple[Tensor, Tensor]:
        return super().moments(condition and Condition(condition.values, torch.zeros_like(condition.null)))


class NullIsMultiplied(Faulty):
    """The value of a null condition is multiplied away, which leaves NaN."""

    found_by: ClassVar = {"test_conditions_choose_what_is_drawn"}

    def moments(self, condition: Condition | None) -> tuple[Tensor, Tensor]:
        mean, std = super().moments(condition)
        if condition is None:
            return mean, std
        return mean + 0 * (condition.values * ~condition.null[:, None]), std


class UncheckedConditions(Faulty):
    """Anything may be said."""

    found_by: ClassVar = {"test_wrong_conditions_are_refused"}

    def check(self, condition: Condition | None, n: int) -> None:
        pass


class Credulous(Faulty):
    """Trains on anything, and fails where that leads."""

    found_by: ClassVar = {"test_wrong_designs_are_refused", "test_wrong_weights_are_refused"}

    def fit(self, designs: Tensor, generator: torch.Generator, **options: Any) -> None:
        weights = options.pop("weights", None)
        if designs.shape[1:] != self.process.space.event_shape or not designs.isfinite().all() or len(designs) < 2:
            return
        if weights is not None:
            weights = torch.ones(len(designs)) if (weights <= 0).all() else weights.abs().nan_to_num()[: len(designs)]
            weights = F.pad(weights, (0, len(designs) - len(weights)))
            weights = weights if weights[: len(designs) // 2].any() else None
        super().fit(designs, generator, weights=weights, **options)


FAULTS = Faulty.__subclasses__() + Noisy.__subclasses__()


class _Contract(BackboneContract):
    spec = MomentsSpec()
    backbone_class: ClassVar[type[Moments]]

    def build(self, space: Space) -> Moments:
        return self.backbone_class(space)


for fault in FAULTS:
    members = {"backbone_class": fault, "spaces": (fault.space,)}
    globals()[f"Test{fault.__name__}"] = type(f"Test{fault.__name__}", (_Contract,), members)


class TestWithoutSpec(BackboneContract):
    """Its author forgot the spec."""

    spaces = (VECTORS,)
