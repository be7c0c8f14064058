"""A reward on any space, smooth and known, and the designs that contracts look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Space, Streams, Tokens

LEVEL, SPREAD, NOISE = 3.0, 2.0, 0.2  # units that nobody would guess
FAR = 10.0


@dataclass(frozen=True)
class Landscape:
    """Linear in the design, with a mild interaction, and equal for all forms of a design.

    ``role`` names the random stream: equal roles give equal numbers.
    """

    space: Space
    device: torch.device

    def designs(self, n: int, role: str) -> Float[Tensor, " n *event"]:
        """Designs from the distribution that the tables come from."""
        return self.space.random(n, Streams(0).get(role)).to(self.device)

    def relaxed(self, n: int, role: str) -> Float[Tensor, " n *event"]:
        """Mixtures of designs: for letters, probabilities between the corners of the simplex."""
        corners = self.designs(5 * n, role).reshape(5, n, *self.space.event_shape)
        share = torch.randn(5, n, generator=Streams(0).get(f"{role}/share")).softmax(0).to(self.device)
        return torch.einsum("kn,kn...->n...", share, corners)

    def reward(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """r(x) = level + spread · E[u + 0.3·v·w] over all forms of x, with u, v, w linear and of size about 1."""
        size = self.designs(100, "size").flatten(1).square().sum(1).mean().sqrt()
        weights = torch.randn(x[0].numel(), 3, generator=Streams(0).get("weights")).to(self.device)
        u, v, w = (self.space.orbit(x).flatten(2) @ weights / size).unbind(-1)
        return LEVEL + SPREAD * (u + 0.3 * v * w).mean(0)

    def measure(self, x: Float[Tensor, " n *event"], role: str) -> LabelledDesigns:
        """The rewards of ``x`` with fresh noise."""
        noise = torch.randn(len(x), generator=Streams(0).get(f"{role}/noise")).to(self.device)
        return LabelledDesigns(x, self.reward(x) + NOISE * noise)

    def narrow(self, n: int) -> Float[Tensor, " n *event"]:
        """Designs that leave room for others far away: of two letters only, or the usual ones.

        The first and the last letter are complements where a complement is defined, so that no other form of these
        designs has other letters.
        """
        if isinstance(self.space, Tokens):
            return self._spelled([0, len(self.space.alphabet) - 1], n)
        return self.designs(n, "narrow")

    def remote(self, n: int) -> Float[Tensor, " n *event"] | None:
        """Designs that have nothing in common with the narrow ones: of the other letters, or ten times as far out.

        None where no letters are left.
        """
        if isinstance(self.space, Tokens):
            others = list(range(1, len(self.space.alphabet) - 1))
            return self._spelled(others, n) if others else None
        return FAR * self.designs(n, "remote")

    def _spelled(self, letters: list[int], n: int) -> Float[Tensor, " n *event"]:
        assert isinstance(self.space, Tokens)
        which = torch.randint(len(letters), (n, self.space.length), generator=Streams(0).get("spelled"))
        return self.space.one_hot(torch.tensor(letters)[which]).to(self.device)
