"""DDOM: denoising diffusion for offline model-based optimisation (Krishnamoorthy et al., ICML 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import BraidError
from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    Objective,
    Oracle,
    Posterior,
    Predict,
    Problem,
    Sampler,
    State,
    Trajectory,
)
from braid_core.tuning.classifier_free import classifier_free
from braid_core.tuning.rollout import rollout
from braid_ddom import DdomSpec
from braid_ddom.weights import weights


class Conditional(Sampler):
    """Draws from the conditional ``twin``, told the reward ``target`` in standardised units, with guidance γ.

    The KL of a design is Σ_k KL(step k of the guided twin ‖ the pretrained step), exact, along its own path. It is left
    out (None) where it is not to be had: if a step of the chain has no noise, and if a foreign backbone's twin encodes
    designs in another way than the pretrained model: then they are chains of different things.
    """

    def __init__(self, twin: Backbone, pretrained: Backbone, gamma: float, target: float | None = None) -> None:
        self.twin, self.pretrained, self.gamma, self._target = twin, pretrained, gamma, target

    @property
    def target(self) -> float:
        """In standard deviations above the mean of the offline rewards. Raises :class:`BraidError` before it is set."""
        if self._target is None:
            raise BraidError("the sampler does not know its target yet", fix="call `fit` or `load_state` first")
        return self._target

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Trajectory:
        """``n`` designs; a ``condition`` takes the place of the target."""
        return self._draw(n, generator, condition, self._reference())

    @torch.no_grad()
    def designs(
        self, n: int, generator: torch.Generator, condition: Condition | None = None
    ) -> Float[Tensor, " n *event"]:
        return self._draw(n, generator, condition, None).x

    def _draw(
        self, n: int, generator: torch.Generator, condition: Condition | None, reference: Predict | None
    ) -> Trajectory:
        told = self._told(n) if condition is None else condition
        predict = classifier_free(self.twin.predict, self.gamma)
        path = rollout(self.twin.process, predict, n, generator, reference=reference, condition=told)
        return Trajectory(self.twin.decode(path.x), path.kl)

    def _told(self, n: int) -> Condition:
        device = self.twin.device
        return Condition(
            torch.full((n, 1), self.target, device=device), torch.zeros(n, dtype=torch.bool, device=device)
        )

    def _reference(self) -> Predict | None:
        """The pretrained prediction, which is told nothing, if both chains are of the same latents."""
        process, pretrained = self.twin.process, self.pretrained
        if not process.tunable:
            return None
        latents = process.finish(process.prior(4, torch.Generator(self.twin.device).manual_seed(0)))
        if not torch.equal(self.twin.decode(latents), pretrained.decode(latents)):
            return None
        return lambda x, t, condition: pretrained.predict(x, t)

    def state(self) -> State:
        twin = self.twin.state()
        return State(twin.prefixed("twin").tensors, {"twin": twin.meta, "target": self.target})

    def load_state(self, state: State) -> None:
        self.twin.load_state(State(state.under("twin"), state.meta["twin"]))
        self._target = state.meta["target"]


class Ddom(Objective):
    """The baseline of retraining: no oracle, no tuning; designs are drawn as if their reward were known."""

    def __init__(self, spec: DdomSpec) -> None:
        self.spec = spec

    def sampler(self, pretrained: Backbone, oracle: Oracle) -> Conditional:
        twin = pretrained.fresh(ConditionSpec("scalar", 1, self.spec.label_dropout))
        return Conditional(twin, pretrained, self.spec.gamma)

    def fit(self, problem: Problem) -> Conditional:
        """Train the twin, as the backbone was trained, on the table: told standardised rewards, weighted by them."""
        spec, data, unit = self.spec, problem.data, problem.data.unit
        share = weights(
            data.y,
            bins=spec.bins,
            quantile=spec.quantile,
            least_temperature=spec.least_temperature,
            smoothing=spec.smoothing,
            largest=spec.largest_weight,
        )
        mean = data.y.mean()
        told = Condition(((data.y - mean) / unit)[:, None], torch.zeros_like(data.y, dtype=torch.bool))
        twin = self.sampler(problem.pretrained, problem.oracle).twin
        generator = problem.streams.get("tuning", problem.pretrained.device)
        twin.fit(data.x, generator, conditions=told, weights=share, log=problem.log)
        wanted = data.y.max() if spec.target is None else spec.target
        return Conditional(twin, problem.pretrained, spec.gamma, float((wanted - mean) / unit))

    def score(self, posterior: Posterior) -> Float[Tensor, " b"]:
        return posterior.mean
