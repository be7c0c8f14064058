"""A backbone and an oracle whose laws are known, small and quick: on them contracts try what should work with any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from braid_core.errors import UnsupportedError
from braid_core.interfaces import (
    Backbone,
    Condition,
    ConditionSpec,
    LabelledDesigns,
    Log,
    Oracle,
    Posterior,
    Process,
    Silent,
    Space,
    State,
    Streams,
    Tokens,
    Tunable,
)
from braid_core.nets.backbone import load_weights
from braid_core.nets.examples import check_designs, examples
from braid_core.testing.chains import InTurn, Normals
from braid_core.testing.landscape import SPREAD, Landscape

TRAINING_STEPS = 60
DROPOUT = 0.1


class KnownBackbone(Backbone):
    """Independent letters with the given logits, or numbers whose latents are normal and that lie between 0 and 1.

    Told a condition, the logits (or means) are a line along it. The weights take gradients, as those of a foreign
    network may: whoever differentiates has to say with respect to what.
    """

    def __init__(
        self, space: Space, device: torch.device, noisy: bool = True, condition: ConditionSpec | None = None
    ) -> None:
        self.space, self.device, self.noisy, self.condition = space, device, noisy, condition
        self.process: Process = InTurn(space, noisy) if isinstance(space, Tokens) else Normals(space, noisy)
        names = ("untold", "level", "slope")
        start = {name: torch.zeros(space.event_shape) for name in names} | {"log_std": torch.zeros(())}
        self.net = nn.ParameterDict(start).to(device).eval()

    @classmethod
    def pretrained(cls, space: Space, device: torch.device, noisy: bool = True) -> Self:
        """With opinions of its own."""
        model = cls(space, device, noisy)
        opinion = torch.randn(space.event_shape, generator=Streams(0).get("pretrained"))
        with torch.no_grad():
            model.net["untold"].copy_(0.5 * opinion)
            model.net["log_std"].fill_(-0.2)
        return model

    def predict(
        self, x: Float[Tensor, " b *state"], t: Float[Tensor, " b"], condition: Condition | None = None
    ) -> Tensor:
        """Raises :class:`UnsupportedError` for a condition where none is known, and the other way round."""
        self._check(condition, len(x))
        location = self._location(condition, x)
        if isinstance(self.space, Tokens):
            return location
        signal = Normals.signal(t).reshape(-1, *[1] * (x.ndim - 1))
        variance: Tensor = signal * (2 * self.net["log_std"]).exp() + 1 - signal
        return (1 - signal).sqrt() * (x - signal.sqrt() * location) / variance

    def _check(self, condition: Condition | None, n: int) -> None:
        told = None if condition is None else tuple(condition.values.shape)
        if told != (None if self.condition is None else (n, 1)):
            raise UnsupportedError(f"conditions of shape {told} for {n} designs", why=f"it takes {self.condition}")

    def _location(self, condition: Condition | None, x: Tensor) -> Tensor:
        """The logits, or the means, of each row."""
        untold: Tensor = self.net["untold"].expand_as(x).clone()  # a view of a weight would carry its gradient anywhere
        if condition is None:
            return untold
        null, value = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in (condition.null, condition.values[:, 0]))
        line = self.net["level"] + self.net["slope"] * torch.where(null, 0.0, value)
        return torch.where(null, untold, line)

    def fit(
        self,
        designs: Float[Tensor, " n *event"],
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Float[Tensor, " m"] | None = None,  # m = n, or it is refused
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        check_designs(designs, self.space)
        self._check(conditions, len(designs))
        data = examples(self.encode(designs), conditions, weights, self.device)
        rate = DROPOUT if self.condition is None or self.condition.dropout is None else self.condition.dropout
        weights_of_net = list(self.net.parameters())
        optimiser = torch.optim.Adam(weights_of_net, lr=0.1)
        for step in range(1, TRAINING_STEPS + 1):
            told = data.condition and data.condition.dropped(rate, generator)
            loss = (data.weights * self.process.loss(self.predict, data.x, generator, told)).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss, inputs=weights_of_net)
            optimiser.step()
            log.step(step, TRAINING_STEPS, loss=float(loss.detach()))
        optimiser.zero_grad()

    def fresh(self, condition: ConditionSpec | None) -> Self:
        return type(self)(self.space, self.device, self.noisy, condition)

    def _copy(self) -> Self:
        twin = self.fresh(self.condition)
        twin.load_state(self.state())
        return twin

    def tunable(self) -> Tunable:
        tuned, reference = self._copy(), self._copy()
        reference.net.requires_grad_(False)
        return Tunable(tuned, reference.predict, list(tuned.net.parameters()))

    def encode(self, designs: Float[Tensor, " b *event"]) -> Float[Tensor, " b *latent"]:
        return designs if isinstance(self.space, Tokens) else designs.logit()

    def decode(self, latents: Float[Tensor, " b *latent"]) -> Float[Tensor, " b *event"]:
        return latents if isinstance(self.space, Tokens) else latents.sigmoid()

    def letters(self) -> Float[Tensor, "l v"]:
        """The log probabilities of the letters that it draws where it is told nothing."""
        return F.log_softmax(self.net["untold"].detach(), -1)

    def state(self) -> State:
        return State({name: value.detach().clone() for name, value in self.net.items()})

    def load_state(self, state: State) -> None:
        """Raises :class:`StoreError` for the state of another space."""
        load_weights(self.net, state.tensors)


@dataclass(frozen=True)
class KnownPosterior(Posterior):
    """A mean, and a standard deviation that is the penalty, too."""

    location: Float[Tensor, " b"]
    doubt: Float[Tensor, " b"]

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return self.location

    @property
    def std(self) -> Float[Tensor, " b"]:
        return self.doubt

    def conservative(self) -> Float[Tensor, " b"]:
        return self.location - self.doubt


class KnownOracle(Oracle):
    """Right about :class:`Landscape`, and in doubt along a direction of its own; in units of ``unit``.

    Its weight takes a gradient, like those of :class:`KnownBackbone`.
    """

    def __init__(self, space: Space, device: torch.device, unit: float = 1.0) -> None:
        self.space, self.landscape = space, Landscape(space, device)
        self.net = nn.ParameterDict({"unit": torch.tensor(unit, device=device)}).eval()
        self.direction = torch.randn(space.event_shape, generator=Streams(0).get("doubt")).to(device)

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """It knows already."""

    def posterior(self, x: Float[Tensor, " b *event"]) -> KnownPosterior:
        doubt = SPREAD / 4 * (1 + (x * self.direction).flatten(1).sum(1).tanh())
        return KnownPosterior(self.net["unit"] * self.landscape.reward(x), self.net["unit"] * doubt)

    def state(self) -> State:
        return State({"unit": self.net["unit"].detach().clone()})

    def load_state(self, state: State) -> None:
        load_weights(self.net, state.tensors)


class Heard(Log):
    """Remembers what it was told: (done, total, figures)."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, dict[str, float]]] = []

    def step(self, done: int, total: int, **figures: float) -> None:
        self.steps.append((done, total, figures))
