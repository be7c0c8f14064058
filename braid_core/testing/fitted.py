"""What the tests of backbones share: a fitted one for each space, its samples, and states on the way to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import Backbone, Condition, Space, Streams, Tokens, Tunable
from braid_core.registry.spec import BackboneSpec
from braid_core.testing.contract import Contract
from braid_core.tuning.rollout import rollout

DESIGNS, PATHS = 200, 16
PLACES = 4  # states on the way from which steps are looked at


class Fitted(Contract):
    """The fixtures and helpers of :class:`BackboneContract`."""

    spec: ClassVar[BackboneSpec]
    spaces: ClassVar[tuple[Space, ...]] = (Tokens("ACGT", 4),)
    clamped: ClassVar[bool] = False
    _shared: ClassVar[dict[Space, Backbone]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls._shared = {}

    def build(self, space: Space) -> Backbone:
        """An untrained backbone."""
        if not hasattr(self, "spec"):
            raise SpecError("the contract has no backbone", where=type(self).__name__, fix="write `spec = YourSpec()`")
        return self.spec.build(space, self.device)

    def generator(self, role: str) -> torch.Generator:
        """Equal roles give equal numbers."""
        return Streams(0).get(role, self.device)

    def random(self, shape: torch.Size | tuple[int, ...], role: str) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator(role), device=self.device)

    @pytest.fixture
    def designs(self, space: Space) -> Float[Tensor, " n *event"]:
        """What the backbone is trained on."""
        return self.natural(space, DESIGNS, "designs")

    def natural(self, space: Space, n: int, role: str) -> Float[Tensor, " n *event"]:
        """Designs that have something in common: about half of each is that of the first pole."""
        generator = self.generator(role)
        x = space.random(n, generator).to(self.device)
        share = torch.rand(*x.shape[:2], *[1] * (x.ndim - 2), generator=generator, device=self.device)
        mixed = torch.where(share < 0.5, self.poles(space)[0], x)
        inside = space.contains(mixed).reshape(-1, *[1] * (x.ndim - 1))  # a letter may not follow a pad
        return torch.where(inside, mixed, x)

    def poles(self, space: Space) -> Float[Tensor, " poles *event"]:
        """Two designs that nobody mistakes for each other."""
        if isinstance(space, Tokens):
            first, second = [i for i, letter in enumerate(space.alphabet) if letter != space.pad][:2]
            return space.one_hot(torch.tensor([[first] * space.length, [second] * space.length])).to(self.device)
        return torch.stack([torch.full(space.event_shape, value, device=self.device) for value in (1.0, -1.0)])

    def nearer(self, x: Tensor, space: Space) -> float:
        """The share of ``x`` that is nearer to the first pole."""
        distance = space.distance(x, self.poles(space))
        return float((distance[:, 0] < distance[:, 1]).double().mean())

    @pytest.fixture
    def backbone(self, space: Space, designs: Tensor) -> Backbone:
        """Fitted, once for each space of the class: look at it, do not change it."""
        if space not in self._shared:
            model = self.build(space)
            model.fit(designs, self.generator("fit"))
            self._shared[space] = model
        return self._shared[space]

    def sample(
        self, model: Backbone, n: int = PATHS, role: str = "sample", condition: Condition | None = None
    ) -> Tensor:
        """Designs as a run draws them."""
        with torch.no_grad():
            return model.decode(rollout(model.process, model.predict, n, self.generator(role), condition=condition).x)

    @contextmanager
    def moved(self, opened: Tunable, size: float) -> Iterator[None]:
        """Within, the tuned weights are others; afterwards they are as they were, should anybody share them."""
        kept = [parameter.detach().clone() for parameter in opened.parameters]
        with torch.no_grad():
            for i, parameter in enumerate(opened.parameters):
                parameter.add_(size * self.random(parameter.shape, f"moved/{i}").to(parameter))
        yield
        with torch.no_grad():
            for parameter, value in zip(opened.parameters, kept, strict=True):
                parameter.copy_(value)

    def steps(self, model: Backbone) -> list[int]:
        """The first step, one in the middle and the last."""
        return sorted({0, model.process.steps // 2, model.process.steps - 1})

    def states(self, model: Backbone, k: int, copies: int) -> Float[Tensor, " rows *state"]:
        """``copies`` of each of a few states before step ``k``, one state's after the other's."""
        with torch.no_grad():
            path = rollout(model.process, model.predict, PLACES, self.generator("path"), record=True)
        assert path.states is not None
        return path.states[k].repeat_interleave(copies, 0)

    def asked(self, model: Backbone, x: Tensor, k: int) -> Tensor:
        """What the network says of states before step ``k``."""
        return model.predict(x, torch.full((len(x),), model.process.time(k), device=x.device), None)

    def potential(self, x: Float[Tensor, " b *latent"]) -> Float[Tensor, " b"]:
        """Linear in what the chain calls a design."""
        return (x * self.random(x.shape[1:], "potential").to(x)).flatten(1).sum(1)
