"""Measured libraries: designs that sample a space too large to measure, a part of them set aside for an evaluator."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from threadpoolctl import threadpool_limits
from torch import Tensor

from braid_core.errors import SpecError
from braid_core.interfaces import Doubt, LabelledDesigns, Streams, Task, Tokens
from braid_tasks import HeldOutSpec
from braid_tasks.enumeration import nan_where_undefined
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import held_out, offline_note, offline_side, whole_groups

if TYPE_CHECKING:
    from braid_tasks.evaluator import Evaluator

FEWEST_FAMILIES = 5
MOST = 50_000
"""Of a larger D_eval, so many designs in whole families train the evaluator: more would take minutes."""


@dataclass(frozen=True)
class Library:
    """A file of measured designs, before it is split.

    ``y``: rewards (float64), NaN where not measured. ``family``: one number for all near-copies, which stay on one
    side of every split. ``offered``: what may be offline. ``pretraining``: what the backbone is pretrained on, as far
    as it is not set aside; None for the designs below the cap.
    """

    letters: Integer[Tensor, "n l"]
    y: Float[Tensor, " n"]
    family: Int[Tensor, " n"]
    offered: Bool[Tensor, " n"]
    pretraining: Bool[Tensor, " n"] | None


def _refuse_too_few(family: Int[Tensor, " n"]) -> None:
    """Said before anything is computed, for the evaluator that is trained at the end."""
    found = len(torch.unique(family))
    if found < FEWEST_FAMILIES:
        raise SpecError(
            f"{len(family)} measured designs are set aside, in {found} families: too few to judge by",
            where="task.held_out",
            why=f"the evaluator leaves out one of {FEWEST_FAMILIES} parts at a time, each of whole families",
            fix="give a larger table, or another held_out",
        )


class LibraryTask(Task):
    """Find designs better than those in a library of which methods see a part.

    First D_eval is set aside, the same for all options but ``held_out`` and ``split_seed``; offline is what lies below
    the cap in the rest, D′. The constructor keeps neither D_eval nor a reward above the cap. The truth is learned from
    D_eval when it is first asked for, and is that of every design, measured or not. Raises :class:`DataError` when the
    file is damaged and :class:`SpecError` when fewer designs lie below the cap, or are set aside, than are needed.
    """

    space: Tokens
    spec: HeldOutSpec
    has_truth = True
    truth_kind = "learned"
    sha256: str
    """Of the file; known when it has been read."""

    def __init__(self, spec: HeldOutSpec, seed: int) -> None:
        self.spec = spec
        library = self._read()
        held = self._held_out(library)
        _refuse_too_few(library.family[held & ~library.y.isnan()])
        seen = ~held
        rewards = torch.where(seen & library.offered, library.y, torch.nan)
        side = offline_side(rewards, torch.nanquantile(rewards, spec.cap), library.family, spec, seed)
        x = self.space.one_hot(library.letters[side.rows].long())
        self._offline = LabelledDesigns(x, side.y, group=library.family[side.rows])
        pretraining = library.pretraining
        rows = side.below if pretraining is None else (seen & pretraining).nonzero().flatten()
        self._pretraining = library.letters[rows].to(torch.uint8)
        self.notes = self._describe(library, rows)

    @abstractmethod
    def _read(self) -> Library:
        """The packaged file, with what the options choose from it."""

    def _expected(self, sha256: str | None) -> str | None:
        """The hash that the user's file must have: the one given, or that of the first time it was read."""
        return sha256 or vars(self).get("sha256")

    @abstractmethod
    def _describe(self, library: Library, pretraining: Int[Tensor, " m"]) -> tuple[str, ...]:
        """The notes; ``pretraining`` holds the rows of the pretraining set."""

    def _held_out(self, library: Library) -> Bool[Tensor, " n"]:
        return held_out(library.family, self.spec.held_out, self.spec.split_seed)

    def _split_note(self) -> str:
        note = offline_note(len(self._offline), self.spec)
        return (
            f"{note} of what was not set aside. Set aside: {self.spec.held_out:.0%} of the library, whole families of "
            "near-copies together, for the evaluator of new designs."
        )

    def _evaluation(self) -> LabelledDesigns:
        """D_eval, read again from the file: for an evaluator, never for a method."""
        library = self._read()
        rows = (self._held_out(library) & ~library.y.isnan()).nonzero().flatten()
        x = self.space.one_hot(library.letters[rows].long())
        return LabelledDesigns(x, library.y[rows].float(), group=library.family[rows])

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self.space.one_hot(self._pretraining.long())

    def fingerprint(self) -> str:
        options = self.spec.model_dump(mode="json", exclude={"type", "path", "sha256"})  # it is the content that counts
        options["library"] = self.sha256
        return fingerprint(options, self._offline.x, self._offline.y, self._pretraining)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    @staticmethod
    @abstractmethod
    def _features(letters: Integer[np.ndarray, "n l"]) -> tuple[np.ndarray, np.ndarray]:
        """What the evaluator's trees see of designs, and what its regression sees."""

    @cached_property
    def _judge(self) -> tuple[Evaluator, LabelledDesigns]:
        """The evaluator and what it was trained on."""
        # Imported here, when every method has finished: without the module, all designs would be the same.
        from braid_tasks.evaluator import evaluator

        data = self._evaluation()
        assert data.group is not None
        if len(data) > MOST:
            data = data.take(whole_groups(data.group, MOST, Streams(self.spec.split_seed).get("task/evaluator")))
        assert data.group is not None
        letters, y, group = (column.numpy() for column in (data.x.argmax(-1), data.y.double(), data.group))
        with threadpool_limits(torch.get_num_threads()):
            return evaluator(letters, y, group, self._features), data

    def _judged(self, x: Float[Tensor, "b l v"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        judge, _ = self._judge
        with threadpool_limits(torch.get_num_threads()):
            found = judge(x.argmax(-1).cpu().numpy())
        mean, std = (nan_where_undefined(torch.from_numpy(part).to(x), x) for part in found)
        return mean, std

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """What the evaluator says of the designs' most likely letters; of measured designs too, for one scale."""
        return self._judged(x)[0]

    def doubt(self, x: Float[Tensor, " b *event"]) -> Doubt:
        judge, data = self._judge
        q = judge.quality
        note = (
            f"The truth is learned: boosted trees and a linear regression, half and half, on counts of words in "
            f"{len(data):,} measured designs that no method saw. On families that it had not seen either it explains "
            f"{max(q.r2, 0):.0%} of the variance of the measurements (rank correlation {q.spearman:.2f}, error "
            f"{q.rmse:.2f} {self.unit}). It never rises above the best of them."
        )
        return Doubt(self._judged(x)[1], data.x.to(x), note)
