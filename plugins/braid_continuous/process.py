"""Variance-preserving Gaussian diffusion of vectors and images: DDPM (Ho et al. 2020), DDIM (Song et al. 2021).

``out`` is the noise ε, the design x0, or v = √ᾱ·ε − √(1−ᾱ)·x0 (Salimans & Ho 2022, appendix D); each says the same
about a state. Everything is in the units of the chain, in which designs have a scale of about 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from braid_continuous.schedule import TIMES, ScheduleName, noising, signals
from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, GaussianTransition, Images, Potential, Predict, Process, Vectors
from braid_core.interfaces.process import stratified

Prediction = Literal["epsilon", "x0", "v"]


@dataclass(frozen=True)
class Step:
    """One step from ᾱ_t to ᾱ_s: x_s | x_t is Normal(``state``·x_t + ``design``·x̂0, ``sigma``²)."""

    signal: float
    state: float
    design: float
    sigma: float


@dataclass(eq=False)
class GaussianProcess(Process):
    """The chain from N(0, I) to a design in ``steps`` of the 1,000 training times.

    Times are spaced evenly and end with a step to the data ("trailing": Lin et al. 2024, table 2): step k starts at
    i/1000 with i = round(1000·(1 − k/steps)), so that the first one starts where the prior holds.

    ``eta`` scales the noise of a step: 1 is DDPM's posterior variance β̃, 0 is deterministic DDIM. ``variance =
    "large"`` takes β in place of β̃ ("fixed large"; with ``eta = 1``).

    ``last_noise``: other libraries add no noise in the last step, which makes every path KL infinite. Here its σ is
    this share (times ``eta``) of the noise √(1 − ᾱ) that the state still holds: 1 is exact for standard normal
    designs, 0 is what other libraries do, and such a chain cannot be tuned. :attr:`sigmas` are theirs in any case.

    ``clip`` bounds |x̂0|.
    """

    space: Vectors | Images
    steps: int = 50
    prediction: Prediction = "v"
    schedule: ScheduleName = "cosine"
    eta: float = 1.0
    variance: Literal["small", "large"] = "small"
    last_noise: float = 0.5
    clip: float | None = None

    transition_type = GaussianTransition

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= TIMES:
            raise UnsupportedError(
                f"{self.steps} sampling steps cannot be taken",
                why=f"the network knows {TIMES} times",
                fix=f"give between 1 and {TIMES} steps",
            )
        if self.variance == "large" and self.eta != 1:
            raise UnsupportedError(
                f"variance = 'large' has no meaning for eta = {self.eta}", fix="leave one of the two out"
            )

    def with_steps(self, n: int) -> Self:
        return replace(self, steps=n)

    def _index(self, k: int) -> int:
        return round(TIMES * (self.steps - k) / self.steps)

    def time(self, k: int) -> float:
        return self._index(k) / TIMES

    @cached_property
    def _steps(self) -> list[Step]:
        """The coefficients of all steps, in float64."""
        signal = signals(self.schedule).tolist()
        return [self._step(signal[self._index(k)], signal[self._index(k + 1)]) for k in range(self.steps)]

    def _step(self, now: float, following: float) -> Step:
        beta = 1 - now / following
        posterior = (1 - following) / (1 - now) * beta  # β̃: Ho et al. 2020, eq. 7
        variance = self.eta**2 * posterior  # Song et al. 2021, eq. 16
        # Song et al. 2021, eq. 12 with ε̂ = (x − √ᾱ·x̂0)/√(1 − ᾱ); at eta = 1 this is Ho et al. 2020, eq. 7
        state = math.sqrt(max(1 - following - variance, 0.0) / (1 - now))
        design = math.sqrt(following) - state * math.sqrt(now)
        if self.variance == "large" and following < 1:
            variance = beta
        return Step(now, state, design, math.sqrt(variance))

    @property
    def sigmas(self) -> list[float]:
        """The noise of every step as other libraries define it: 0 in the last."""
        return [step.sigma for step in self._steps]

    def _std(self, k: int) -> float:
        step = self._steps[k]
        return self.eta * self.last_noise * math.sqrt(1 - step.signal) if k == self.steps - 1 else step.sigma

    @property
    def tunable(self) -> bool:
        return all(self._std(k) > 0 for k in range(self.steps))

    def prior(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *state"]:
        return torch.randn(n, *self.space.event_shape, generator=generator, device=generator.device)

    def _design(self, signal: float) -> tuple[float, float]:
        """(a, b) of x̂0 = a·x + b·out."""
        if self.prediction == "x0":
            return 0.0, 1.0
        if self.prediction == "v":
            return math.sqrt(signal), -math.sqrt(1 - signal)
        return 1 / math.sqrt(signal), -math.sqrt(1 / signal - 1)

    def transition(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> GaussianTransition:
        step = self._steps[k]
        if self.clip is None:
            # Coefficients are joined in float64: at ᾱ near 0 the x̂0 of an ε is a difference of huge numbers.
            a, b = self._design(step.signal)
            mean = (step.state + step.design * a) * x + step.design * b * out
        else:
            mean = step.state * x + step.design * self.denoised(out, x, k)
        return GaussianTransition(mean, torch.tensor(self._std(k), dtype=x.dtype))

    def denoised(self, out: Tensor, x: Float[Tensor, " b *state"], k: int) -> Float[Tensor, " b *event"]:
        a, b = self._design(self._steps[k].signal)
        return self._clipped(a * x + b * out)

    def _clipped(self, x0: Tensor) -> Tensor:
        return x0 if self.clip is None else x0.clamp(-self.clip, self.clip)

    def guided(
        self, out: Tensor, x: Float[Tensor, " b *state"], k: int, potential: Potential, level: float
    ) -> GaussianTransition:
        """The step with its mean moved by ``level``·σ²·∇potential(x̂0) (Dhariwal & Nichol 2021, algorithm 1).

        ``potential`` sees x̂0 in the units of the chain: decode inside it. Where ``out`` was computed from an ``x``
        that requires a gradient, ∇ goes through the network; elsewhere v is held fixed, so that ∂x̂0/∂x = √ᾱ: the same
        for every prediction, bounded, and exact for standard normal designs. Raises :class:`UnsupportedError` at
        ``eta = 0``, where σ is 0 and guidance would do nothing.
        """
        if self.eta == 0:
            raise UnsupportedError(
                "this chain cannot be guided", why="its steps have no noise (eta = 0)", fix="take eta > 0"
            )
        with torch.enable_grad():
            if x.requires_grad and out.requires_grad:
                here, x0 = x, self.denoised(out, x, k)
            else:
                here = x.detach().requires_grad_()
                root = math.sqrt(self._steps[k].signal)
                a, b = self._design(self._steps[k].signal)
                x0 = self._clipped(root * here + ((a - root) * x + b * out).detach())
            (direction,) = torch.autograd.grad(potential(x0).sum(), here, retain_graph=True)
        return self.transition(out, x, k).tilt(level * direction)

    def finish(self, x: Float[Tensor, " b *state"]) -> Float[Tensor, " b *event"]:
        return x

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, " b *event"],
        generator: torch.Generator,
        condition: Condition | None = None,
    ) -> Float[Tensor, " b"]:
        """Surrogates of the evidence bound: squared errors at one random time, averaged over dimensions.

        ε: L_simple (Ho et al. 2020, eq. 14). v: ‖v − v̂‖², which is (1 + SNR)·‖x0 − x̂0‖². x0: max(SNR, 1)·‖x0 − x̂0‖²,
        the larger of the errors in ε and in x0 (both Salimans & Ho 2022, section 4), with SNR = ᾱ/(1 − ᾱ). Times are
        stratified over the batch in random order, so that the loss of each design is unbiased wherever it stands.
        """
        index = stratified(len(x0), TIMES, generator) + 1
        tables = noising(self.schedule, x0.device, x0.dtype)
        kept, added, snr = tables[:, index].reshape(3, -1, *[1] * (x0.ndim - 1)).unbind()
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        target = {"epsilon": noise, "x0": x0, "v": kept * noise - added * x0}[self.prediction]
        out = predict(kept * x0 + added * noise, (index / TIMES).to(x0.dtype), condition)
        error = (out - target).square()
        return (error * snr.clamp(min=1) if self.prediction == "x0" else error).flatten(1).mean(1)
