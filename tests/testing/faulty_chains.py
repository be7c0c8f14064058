"""The correct backbone on a chain with one fault each, and the tests of the contract that must find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from braid_discrete.guidance import direction
from braid_discrete.masked import RevealEach
from torch import Tensor
from torch.nn import functional as F

from braid_core.interfaces import (
    Condition,
    GaussianTransition,
    Potential,
    Predict,
    Space,
    Tokens,
    Transition,
    Vectors,
)
from braid_core.interfaces.transition import categorical_kl
from tests.testing.moments import MaskedChain, Moments, NormalChain

VECTORS, LETTERS = Vectors(2), Tokens("ACG", 2)


class Faulty(Moments):
    """Where the fault is tried."""

    space: ClassVar[Space] = VECTORS


def on(step: type[GaussianTransition]) -> type[NormalChain]:
    """A Gaussian chain of such steps."""
    return type(f"Of{step.__name__}", (NormalChain,), {"transition_type": step})


class SigmaNotSquared(GaussianTransition):
    def kl(self, reference: Self) -> Tensor:
        return (0.5 * (self.mean - reference.mean).square() / self.std).flatten(1).sum(1)


class WrongPower(Faulty):
    """KL with the wrong power of the diffusion coefficient."""

    found_by: ClassVar = {"test_kl_is_the_expected_log_ratio"}
    chain = on(SigmaNotSquared)


class MeanOfDimensions(GaussianTransition):
    def kl(self, reference: Self) -> Tensor:
        return super().kl(reference) / self.mean[0].numel()


class AveragedKl(Faulty):
    """KL averaged over dimensions, while alpha is quoted per nat."""

    found_by: ClassVar = {"test_kl_is_the_expected_log_ratio"}
    chain = on(MeanOfDimensions)


class AtTheSample(GaussianTransition):
    def rsample(self, noise: Tensor) -> Tensor:
        object.__setattr__(self, "drawn", super().rsample(noise))
        drawn: Tensor = self.drawn  # type: ignore[attr-defined]
        return drawn

    def kl(self, reference: Self) -> Tensor:
        drawn = getattr(self, "drawn", self.mean)
        return self.log_prob(drawn) - reference.log_prob(drawn)


class SampledKl(Faulty):
    """The log ratio of the state that was drawn: right on average, and noisy."""

    found_by: ClassVar = {"test_kl_is_the_expected_log_ratio"}
    chain = on(AtTheSample)


@dataclass(frozen=True)
class EveryMask(RevealEach):
    def kl(self, reference: Self) -> Tensor:
        letters = categorical_kl(self.letters, reference.letters)
        return torch.where(self.reveal > -torch.inf, letters, 0.0).sum(1)


class MaskedChainOf(MaskedChain):
    """Steps of another class."""

    def transition(self, out: Tensor, x: Tensor, k: int) -> RevealEach:
        right = super().transition(out, x, k)
        step: RevealEach = self.transition_type(right.letters, right.reveal, right.current, right.temperature)  # type: ignore[call-arg, assignment]
        return step


class RateForgotten(Faulty):
    """KL of letters that may be revealed, without the chance that they are."""

    found_by: ClassVar = {"test_kl_is_the_expected_log_ratio"}
    space = LETTERS
    chain = type("OfEveryMask", (MaskedChainOf,), {"transition_type": EveryMask})


class NoSigma(GaussianTransition):
    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) + self.std.log() * self.mean[0].numel()


class NotNormalised(Faulty):
    """A density without its log σ, which no ratio of two steps of equal noise shows."""

    found_by: ClassVar = {"test_densities_are_normalised"}
    chain = on(NoSigma)


@dataclass(frozen=True)
class NoCoin(RevealEach):
    def log_prob(self, x: Tensor) -> Tensor:
        shown = (x[..., :-1] > 0.5) & (self.current[..., -1:] > 0.5)
        return torch.where(shown, self.letters, 0.0).sum((1, 2))


class CoinForgotten(Faulty):
    """The probability of the letters alone, without that of being revealed."""

    found_by: ClassVar = {"test_densities_are_normalised", "test_tilting_is_exponential"}
    space = LETTERS
    chain = type("OfNoCoin", (MaskedChainOf,), {"transition_type": NoCoin})


class Shifted(GaussianTransition):
    def tilt(self, direction: Tensor) -> Self:
        return type(self)(self.mean + self.std * direction, self.std)


class TiltBySigma(Faulty):
    """A tilt with σ in place of σ²; guidance is made of it."""

    found_by: ClassVar = {"test_tilting_is_exponential", "test_guidance_is_the_tilt_of_the_step"}
    chain = on(Shifted)


class OwnNoise(GaussianTransition):
    def rsample(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * (torch.randn(noise.shape) if self.mean.requires_grad else noise)


class NoiseInside(Faulty):
    """Noise drawn inside the checkpointed region: recomputation draws other numbers."""

    found_by: ClassVar = {"test_gradients_reach_the_weights", "test_guidance_raises_what_it_follows"}
    chain = on(OwnNoise)


class WrongSign(Faulty):
    """Guidance downhill."""

    found_by: ClassVar = {"test_guidance_is_the_tilt_of_the_step", "test_guidance_raises_what_it_follows"}

    class chain(NormalChain):  # noqa: N801
        def guided(self, out: Tensor, x: Tensor, k: int, potential: Potential, level: float) -> GaussianTransition:
            return super().guided(out, x, k, potential, -level)


class WrongLevel(Faulty):
    """Guidance at the square of the level."""

    found_by: ClassVar = {"test_guidance_is_the_tilt_of_the_step"}

    class chain(NormalChain):  # noqa: N801
        def guided(self, out: Tensor, x: Tensor, k: int, potential: Potential, level: float) -> GaussianTransition:
            return super().guided(out, x, k, potential, level**2)


class Hurried(Faulty):
    """Guidance that tilts the step over letters and mask, and so reveals more where all letters are better."""

    found_by: ClassVar = {"test_what_all_letters_share_guides_nowhere"}
    space = LETTERS

    class chain(MaskedChain):  # noqa: N801
        def guided(self, out: Tensor, x: Tensor, k: int, potential: Potential, level: float) -> Transition:
            towards = F.pad(level * direction(self, out, x, k, potential), (0, 1))
            return self.transition(out, x, k).tilt(towards)


class GlobalStart(Faulty):
    """A start that is drawn from the global generator."""

    found_by: ClassVar = {
        "test_sampling_follows_the_generator",
        "test_fitting_follows_the_generator",
        "test_a_step_costs_nothing_against_itself",
        "test_gradients_reach_the_weights",
        "test_gradients_are_derivatives",
        "test_guidance_raises_what_it_follows",
        "test_it_is_reopened_from_its_state",
        "test_the_reference_is_frozen_but_differentiable",
    }

    class chain(NormalChain):  # noqa: N801
        def prior(self, n: int, generator: torch.Generator) -> Tensor:
            return torch.randn(n, *self.space.event_shape)


class Backwards(Faulty):
    """Time from the data to noise; the network is asked at the wrong ones, and does badly."""

    found_by: ClassVar = {
        "test_time_runs_from_noise_to_data",
        "test_the_number_of_steps_is_free",
        "test_weights_choose_what_is_learned",
        "test_conditions_choose_what_is_drawn",
    }

    class chain(NormalChain):  # noqa: N801
        def time(self, k: int) -> float:
            return (k + 1) / self.steps

        def transition(self, out: Tensor, x: Tensor, k: int) -> GaussianTransition:
            return self.transition_type(x - 0.1 * out, torch.tensor(0.3))


class Threshold(Faulty):
    """Relaxed letters are taken where they pass a half, which can leave a position with none."""

    found_by: ClassVar = {"test_shapes"}
    space = LETTERS

    class chain(NormalChain):  # noqa: N801
        def finish(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x.dtype) + (x - x.detach())


class HardLetters(Faulty):
    """Letters by argmax, without a soft backward."""

    found_by: ClassVar = {"test_gradients_reach_every_step"}
    space = LETTERS

    class chain(NormalChain):  # noqa: N801
        def finish(self, x: Tensor) -> Tensor:
            return super().finish(x).detach()


class Detached(Faulty):
    """A step whose gradient reaches earlier ones through the network alone."""

    found_by: ClassVar = {"test_gradients_are_derivatives"}

    class chain(NormalChain):  # noqa: N801
        def transition(self, out: Tensor, x: Tensor, k: int) -> GaussianTransition:
            return super().transition(out, x.detach(), k)


class SameSteps(Faulty):
    """with_steps() that changes nothing."""

    found_by: ClassVar = {"test_the_number_of_steps_is_free"}

    class chain(NormalChain):  # noqa: N801
        def with_steps(self, n: int) -> Self:
            return self


class ChangedSteps(Faulty):
    """with_steps() that changes the chain it is asked of."""

    found_by: ClassVar = {"test_the_number_of_steps_is_free"}

    class chain(NormalChain):  # noqa: N801
        def with_steps(self, n: int) -> Self:
            self.steps = n
            return self


class BatchLoss(Faulty):
    """One loss for all designs: none can be weighted."""

    found_by: ClassVar = {"test_the_loss_is_that_of_each_design"}

    class chain(NormalChain):  # noqa: N801
        def loss(
            self, predict: Predict, x0: Tensor, generator: torch.Generator, condition: Condition | None = None
        ) -> Tensor:
            return super().loss(predict, x0, generator, condition).mean().expand(len(x0))
