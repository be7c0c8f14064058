"""The masked chain with a network: pretraining and opening for fine-tuning."""

from __future__ import annotations

from copy import deepcopy
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    Log,
    Process,
    Silent,
    Space,
    State,
    Tokens,
    Tunable,
)
from braid_core.nets.mlp import StackedMLP
from braid_core.nets.training import Schedule, train
from braid_discrete import MaskedSpec
from braid_discrete.masked import OneByOne, Parallel

VALIDATION_SHARE = 0.1
VALIDATION_MOST = 4096


class MaskedBackbone(Backbone):
    """Masked diffusion over tokens; ``out`` is letter logits ``(b, l, v)``."""

    def __init__(
        self, spec: MaskedSpec, space: Space, device: torch.device, condition: ConditionSpec | None = None
    ) -> None:
        if not isinstance(space, Tokens):
            raise UnsupportedError(
                f"the masked backbone works on tokens, not on {type(space).__name__}",
                fix="choose a backbone for this space",
            )
        self.spec, self.space, self.device, self.condition = spec, space, device, condition
        self.process: Process = (
            OneByOne(space, spec.temperature)
            if spec.reveal == "one"
            else Parallel(space, spec.steps or space.length, spec.temperature)
        )
        # A definite start; `fit` draws anew from its own generator.
        self.net = self._network(torch.Generator(device).manual_seed(0))

    def _network(self, generator: torch.Generator) -> StackedMLP:
        length, letters = self.space.event_shape
        extra = 0 if self.condition is None else self.condition.size + 1
        return StackedMLP(
            1, length * (letters + 1) + extra, self.spec.width, self.spec.depth, length * letters, generator
        )

    def predict(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Tensor:
        features = x.flatten(1)
        if (condition is None) != (self.condition is None):
            raise UnsupportedError(
                "a condition was given to an unconditional model"
                if self.condition is None
                else "a conditional model was asked without a condition",
                fix="make a conditional twin with fresh(ConditionSpec(...)), or mark the condition as null",
            )
        if condition is not None:
            features = torch.cat([features, condition.features()], 1)
        logits: Tensor = self.net(features)[0]
        return logits.reshape(-1, *self.space.event_shape)

    def fit(
        self,
        designs: Float[Tensor, " n *event"],
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Float[Tensor, " n"] | None = None,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        if len(designs) < 2:
            raise DataError(
                f"{len(designs)} design(s) are too few to pretrain on", fix="give at least two valid designs"
            )
        self.net = self._network(generator)
        designs = designs.to(self.device)
        weights = None if weights is None else weights.to(self.device)
        conditions = None if conditions is None else conditions.to(self.device)
        order = torch.randperm(len(designs), generator=generator, device=self.device)
        held = min(max(1, round(VALIDATION_SHARE * len(designs))), VALIDATION_MOST)
        validation, training = order[:held], order[held:]

        def bound(index: Tensor, source: torch.Generator) -> Tensor:
            condition = None if conditions is None else Condition(conditions.values[index], conditions.null[index])
            value = self.process.loss(self.predict, designs[index], source, condition)
            return (value if weights is None else value * weights[index]).mean()[None]

        def loss() -> Tensor:
            pick = torch.randint(len(training), (self.spec.batch,), generator=generator, device=self.device)
            return bound(training[pick], generator)

        repeats = validation.repeat(-(-1024 // held))  # small tables: several masks each, or validation is noise

        @torch.no_grad()
        def validate() -> Tensor:
            return bound(repeats, torch.Generator(self.device).manual_seed(0))  # the same masks every time

        train(
            list(self.net.parameters()), loss, validate, Schedule(self.spec.train_steps, self.spec.learning_rate), log
        )
        self.net.requires_grad_(False)

    def fresh(self, condition: ConditionSpec | None) -> Self:
        return type(self)(self.spec, self.space, self.device, condition)

    def tunable(self) -> Tunable:
        tuned = self.fresh(self.condition)
        tuned.net = deepcopy(self.net).requires_grad_(True)
        frozen = deepcopy(self.net).requires_grad_(False)
        reference = self.fresh(self.condition)
        reference.net = frozen
        return Tunable(tuned, reference.predict, list(tuned.net.parameters()))

    def state(self) -> State:
        return State({name: value.detach().clone() for name, value in self.net.state_dict().items()})

    def load_state(self, state: State) -> None:
        self.net.load_state_dict(state.tensors)
        self.net.requires_grad_(False)
