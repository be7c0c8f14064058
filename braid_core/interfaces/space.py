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

    ``pad`` names a letter of the alphabet that fills shorter designs at their end, so that designs of 1 to ``length``
    letters can be told. It is a letter like any other to networks and in distances: a generator may put it before a
    letter, which makes no design (:meth:`contains`).
    """

    alphabet: str
    length: int
    symmetries: tuple[Literal["reverse_complement"], ...] = ()
    pad: str = ""

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise DataError(
                f"the alphabet {self.alphabet!r} cannot be used",
                why="it needs at least two letters, each once",
                fix='give it as one string, such as "ACGT"',
            )
        if self.length < 1:
            raise DataError(f"designs of {self.length} letters cannot be made", fix="give a length of at least 1")
        if self.pad:
            self._check_pad()
        if self.symmetries and self.alphabet not in ("ACGT", "ACGU"):
            raise UnsupportedError(
                f"no reverse complement is defined over the alphabet {self.alphabet!r}",
                fix='use the alphabet "ACGT" or "ACGU", in this order, or drop the symmetry',
            )

    def _check_pad(self) -> None:
        if len(self.pad) != 1 or self.pad not in self.alphabet:
            raise DataError(
                f"the pad {self.pad!r} is not a letter of the alphabet {self.alphabet!r}",
                fix='give one letter that no design needs, such as "-", and add it to the alphabet',
            )
        if self.symmetries:
            raise UnsupportedError(
                "designs of unequal length have no reverse complement here",
                why=f"the pad {self.pad!r} has no complement, and would stand at the start",
                fix="drop the symmetry, or give designs of one length",
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.length, len(self.alphabet))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {letter: i for i, letter in enumerate(self.alphabet)}

    def encode(self, designs: Sequence[str]) -> Float[Tensor, " b *event"]:
        """With a ``pad``, designs may be shorter than ``length``, or end in pads already."""
        filled = [design.ljust(self.length, self.pad) for design in designs] if self.pad else designs
        codes = torch.frombuffer(bytearray("".join(filled).encode("utf-32-le") or b"\0\0\0\0"), dtype=torch.int32)
        letters = torch.tensor([ord(letter) for letter in self.alphabet], dtype=torch.int32)
        if any(len(design) != self.length for design in filled) or (designs and not torch.isin(codes, letters).all()):
            for row, design in enumerate(designs):
                self._check(row, design)
        x = (codes[: len(designs) * self.length].reshape(-1, self.length, 1) == letters).float()
        if self.pad and not (inside := self._filled(x)).all():
            self._refuse_gap(int((~inside).nonzero()[0]), designs)
        return x

    def _refuse_gap(self, row: int, designs: Sequence[str]) -> None:
        raise DataError(
            f"the pad {self.pad!r} stands before a letter"
            if designs[row].strip(self.pad)
            else "the design has no letters",
            where=f"design {row + 1}: {designs[row]!r}",
            why="it may fill a design at its end only",
            fix="take the gaps out of the design",
        )

    def _check(self, row: int, design: str) -> None:
        if len(design) > self.length or (len(design) < self.length and not self.pad):
            raise DataError(
                f"design {design!r} has {len(design)} letters, not {self.length}",
                where=f"design {row + 1}",
                why=f"designs have at most {self.length} letters" if self.pad else None,
                fix="shorten the design, or drop the row"
                if self.pad
                else "give designs of one length, split the table by length, or allow unequal lengths with a pad",
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
        # Pads are stripped at the end only: one before a letter stays, and shows why the design is invalid.
        words = ("".join(self.alphabet[i] for i in row) for row in x.argmax(-1).tolist())
        return [word.rstrip(self.pad) for word in words] if self.pad else list(words)

    def random(self, n: int, generator: torch.Generator) -> Float[Tensor, " b *event"]:
        """Uniform letters; with a ``pad`` also a uniform length, from 1 to ``length``."""
        size, v, device = (n, self.length), len(self.alphabet), generator.device
        if not self.pad:
            return self.one_hot(torch.randint(v, size, generator=generator, device=device))
        ends = torch.randint(1, self.length + 1, (n, 1), generator=generator, device=device)
        letters = torch.randint(v - 1, size, generator=generator, device=device)
        pad = self._index[self.pad]
        letters = letters + (letters >= pad)  # all letters but the pad
        return self.one_hot(torch.where(torch.arange(self.length, device=device) < ends, letters, pad))

    def contains(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which rows are one-hot; with a ``pad``, those with a letter that have pads at their end only."""
        one_hot = (((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)).all(-1)
        return one_hot & self._filled(x) if self.pad else one_hot

    def _filled(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which rows start with a letter and have no letter after a pad."""
        pads = x[..., self._index[self.pad]] > 0.5
        return ~pads[:, 0] & (pads[:, 1:] | ~pads[:, :-1]).all(1)

    def distance(self, a: Float[Tensor, " n *event"], b: Float[Tensor, " m *event"]) -> Float[Tensor, "n m"]:
        """The share of differing letters of all ``length``; pads count as letters."""
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
        # Not by matrix products, torch's way for many rows: far from the origin their differences are rounding errors.
        rms: Tensor = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5
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
