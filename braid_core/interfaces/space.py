"""What a design is: tokens, a vector or an image, and which designs count as the same."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError


class Space(ABC):
    """The set of designs. Tensors of designs are ``(b, *event_shape)``, float32."""

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one design."""

    @abstractmethod
    def encode(self, designs: Sequence[str]) -> Float[Tensor, " b *event"]:
        """Tensors from the text form; raises :class:`DataError` naming the first row that does not fit."""

    @abstractmethod
    def decode(self, x: Float[Tensor, " b *event"]) -> list[str]:
        """The text form that tables show; the inverse of :meth:`encode`."""

    @abstractmethod
    def random(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *event"]:
        """Designs without any knowledge: the Random row of every table."""

    @abstractmethod
    def contains(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which rows are designs of this space (finite, and one-hot where letters are meant)."""

    @abstractmethod
    def distance(self, a: Float[Tensor, " n *event"], b: Float[Tensor, " m *event"]) -> Float[Tensor, "n m"]:
        """All pairwise distances: share of differing letters, or root mean squared difference."""

    def orbit(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b *event"]:
        """All forms of each design that the space's symmetries call the same, the design itself first."""
        return x[None]


@dataclass(frozen=True)
class Tokens(Space):
    """Sequences of ``length`` letters over ``alphabet``, one-hot ``(b, length, len(alphabet))`` or relaxed.

    ``symmetries`` names what makes two designs one molecule; ``"reverse_complement"`` needs the alphabet ACGT
    (or ACGU), for which a complement is defined.
    """

    alphabet: str
    length: int
    symmetries: tuple[Literal["reverse_complement"], ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise DataError(
                f"the alphabet {self.alphabet!r} cannot be used",
                why="it needs at least two letters, each once",
                fix='give it as one string, such as "ACGT"',
            )
        if self.length < 1:
            raise DataError(f"designs of {self.length} letters cannot be made", fix="give a length of at least 1")
        if self.symmetries and self.alphabet not in ("ACGT", "ACGU"):
            raise UnsupportedError(
                f"no reverse complement is defined over the alphabet {self.alphabet!r}",
                fix='use the alphabet "ACGT" or "ACGU", in this order, or drop the symmetry',
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.length, len(self.alphabet))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {letter: i for i, letter in enumerate(self.alphabet)}

    def encode(self, designs: Sequence[str]) -> Float[Tensor, " b *event"]:
        codes = torch.frombuffer(bytearray("".join(designs).encode("utf-32-le") or b"\0\0\0\0"), dtype=torch.int32)
        letters = torch.tensor([ord(letter) for letter in self.alphabet], dtype=torch.int32)
        if any(len(design) != self.length for design in designs) or (designs and not torch.isin(codes, letters).all()):
            for row, design in enumerate(designs):
                self._check(row, design)
        return (codes[: len(designs) * self.length].reshape(-1, self.length, 1) == letters).float()

    def _check(self, row: int, design: str) -> None:
        if len(design) != self.length:
            raise DataError(
                f"design {design!r} has {len(design)} letters, not {self.length}",
                where=f"design {row + 1}",
                fix="give designs of one length, or split the table by length",
            )
        for place, letter in enumerate(design):
            if letter not in self._index:
                raise DataError(
                    f"letter {letter!r} is not in the alphabet {self.alphabet!r}",
                    where=f"design {row + 1}, position {place + 1}: {design!r}",
                    fix="correct the design, drop the row, or extend the alphabet",
                )

    def one_hot(self, letters: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        """One-hot designs from letter indices."""
        return torch.nn.functional.one_hot(letters, len(self.alphabet)).float()

    def decode(self, x: Float[Tensor, " b *event"]) -> list[str]:
        # argmax, never a threshold: a relaxed position always has exactly one letter
        return ["".join(self.alphabet[i] for i in row) for row in x.argmax(-1).tolist()]

    def random(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *event"]:
        size = (n, self.length)
        return self.one_hot(torch.randint(len(self.alphabet), size, generator=generator, device=generator.device))

    def contains(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        one_hot = ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)
        return one_hot.all(-1)

    def distance(self, a: Float[Tensor, " n *event"], b: Float[Tensor, " m *event"]) -> Float[Tensor, "n m"]:
        return 1 - a.flatten(1) @ b.flatten(1).T / self.length

    def orbit(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b *event"]:
        # In the order ACGT (or ACGU) the complement reverses the alphabet, so both flips are one.
        return torch.stack([x, x.flip(-1, -2)]) if self.symmetries else x[None]


class _Real(Space):
    """What vectors and images share: real-valued designs, standard normal where nothing is known."""

    def encode(self, designs: Sequence[str]) -> Float[Tensor, " b *event"]:
        rows = [self._parse(row, design) for row, design in enumerate(designs)]
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, *self.event_shape)

    def _parse(self, row: int, design: str) -> list[float]:
        size = torch.Size(self.event_shape).numel()
        try:
            values = [float(word) for word in design.split()]
        except ValueError as error:
            raise DataError(
                f"design {design[:60]!r} is not a list of numbers", where=f"design {row + 1}", why=str(error)
            ) from error
        if not all(math.isfinite(value) for value in values):
            raise DataError(
                f"design {design[:60]!r} has an entry that is NaN or infinite",
                where=f"design {row + 1}",
                fix="correct the design or drop the row",
            )
        if len(values) != size:
            raise DataError(
                f"the design has {len(values)} numbers, not {size}",
                where=f"design {row + 1}",
                fix=f"give the {size} numbers of shape {self.event_shape}, separated by spaces",
            )
        return values

    def decode(self, x: Float[Tensor, " b *event"]) -> list[str]:
        return [" ".join(f"{value:.9g}" for value in row) for row in x.flatten(1).tolist()]

    def random(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *event"]:
        return torch.randn(n, *self.event_shape, generator=generator, device=generator.device)

    def contains(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return x.flatten(1).isfinite().all(1)

    def distance(self, a: Float[Tensor, " n *event"], b: Float[Tensor, " m *event"]) -> Float[Tensor, "n m"]:
        a, b = a.flatten(1), b.flatten(1)
        rms: Tensor = torch.cdist(a, b) / a.shape[1] ** 0.5
        return rms


@dataclass(frozen=True)
class Vectors(_Real):
    """Real vectors ``(b, dim)``."""

    dim: int

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)


@dataclass(frozen=True)
class Images(_Real):
    """Images ``(b, channels, height, width)`` with values around [-1, 1]."""

    channels: int
    height: int
    width: int

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)
