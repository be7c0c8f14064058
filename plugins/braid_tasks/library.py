"""Measured libraries: designs that sample a space too large to measure, a part of them set aside for an evaluator."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.errors import UnsupportedError
from braid_core.interfaces import LabelledDesigns, Task, Tokens
from braid_tasks import HeldOutSpec
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import held_out, offline_note, offline_side


@dataclass(frozen=True)
class Library:
    """A file of measured designs, before it is split.

    ``y``: rewards (float64), NaN where not measured. ``family``: one number for all near-copies, which stay on one
    side of every split. ``offered``: what may be offline. ``pretraining``: what the backbone is pretrained on, as far
    as it is not set aside; None for the designs below the cap.
    """

    letters: Int[Tensor, "n l"]
    y: Float[Tensor, " n"]
    family: Int[Tensor, " n"]
    offered: Bool[Tensor, " n"]
    pretraining: Bool[Tensor, " n"] | None


class LibraryTask(Task):
    """Find designs better than those in a library of which methods see a part.

    First D_eval is set aside, the same for all options but ``held_out`` and ``split_seed``; offline is what lies below
    the cap in the rest, D′. The constructor keeps neither D_eval nor a reward above the cap. There is no truth yet:
    ``_evaluation`` is what an evaluator can be trained on. Raises :class:`DataError` when the packaged file is damaged
    and :class:`SpecError` when fewer designs lie below the cap than are needed.
    """

    space: Tokens
    spec: HeldOutSpec
    has_truth = False
    sha256: str
    """Of the packaged file."""

    def __init__(self, spec: HeldOutSpec, seed: int) -> None:
        self.spec = spec
        library = self._read()
        seen = ~self._held_out(library)
        rewards = torch.where(seen & library.offered, library.y, torch.nan)
        side = offline_side(rewards, torch.nanquantile(rewards, spec.cap), library.family, spec, seed)
        x = self.space.one_hot(library.letters[side.rows])
        self._offline = LabelledDesigns(x, side.y, group=library.family[side.rows])
        pretraining = library.pretraining
        rows = side.below if pretraining is None else (seen & pretraining).nonzero().flatten()
        self._pretraining = library.letters[rows].to(torch.uint8)
        self.notes = self._describe(library, rows)

    @abstractmethod
    def _read(self) -> Library:
        """The packaged file, with what the options choose from it."""

    @abstractmethod
    def _describe(self, library: Library, pretraining: Int[Tensor, " m"]) -> tuple[str, ...]:
        """The notes; ``pretraining`` holds the rows of the pretraining set."""

    def _held_out(self, library: Library) -> Bool[Tensor, " n"]:
        return held_out(library.family, self.spec.held_out, self.spec.split_seed)

    def _split_note(self) -> str:
        note = offline_note(len(self._offline), self.spec)
        return (
            f"{note} of what was not set aside. Set aside: {self.spec.held_out:.0%} of the library, whole families of "
            "near-copies together, for an evaluator; without one, all rewards of new designs are predictions."
        )

    def _evaluation(self) -> LabelledDesigns:
        """D_eval, read again from the file: for an evaluator, never for a method."""
        library = self._read()
        rows = (self._held_out(library) & ~library.y.isnan()).nonzero().flatten()
        x = self.space.one_hot(library.letters[rows])
        return LabelledDesigns(x, library.y[rows].float(), group=library.family[rows])

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self.space.one_hot(self._pretraining.long())

    def fingerprint(self) -> str:
        options = {"library": self.sha256, **self.spec.model_dump(mode="json", exclude={"type"})}
        return fingerprint(options, self._offline.x, self._offline.y, self._pretraining)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        raise UnsupportedError(
            "new designs of this task have no true reward",
            where=f"task {self.name!r}",
            why="the library measured its own designs only, and there is no evaluator of new ones",
            fix="look at the predictions; for true rewards take 'tf-bind-8' or 'shine-dalgarno'",
        )
