"""A design problem: what is known, and, kept apart from it, what is true."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from braid_core.interfaces.oracle import LabelledDesigns
from braid_core.interfaces.space import Space


@dataclass(frozen=True)
class Doubt:
    """How far a learned truth can be trusted at some designs.

    ``std``: the evaluator's standard error there, in the task's units, as far as it can tell. ``designs``: what it was
    trained on, to tell how far away the others are. ``note``: what it is, and how it did on measured designs that it
    had not seen.
    """

    std: Float[Tensor, " b"]
    designs: Float[Tensor, " m *event"]
    note: str


class Task(ABC):
    """Offline data, unlabelled valid designs and, where one exists, the truth.

    Constructing a task loads the offline side only. :meth:`truth` loads what it needs when it is called, which a run
    does once, after every method has finished.
    """

    space: Space
    name: str
    unit: str
    """What the reward is measured in, for axis labels."""
    has_truth: bool
    """False where designs cannot be evaluated; reports then show predictions only, and say so."""
    truth_kind: Literal["measured", "computed", "learned"] | None = None
    """Where true rewards come from: a complete table of measurements, a computation, or a model of measurements. None
    where a task does not say."""
    notes: tuple[str, ...] = ()
    """What a reader of results must know: source and citation, split, pretraining set."""

    @abstractmethod
    def offline(self) -> LabelledDesigns:
        """The static table that methods may learn from."""

    @abstractmethod
    def unlabelled(self) -> Float[Tensor, " n *event"]:
        """Designs known to be valid, without rewards: what the backbone is pretrained on."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data's content; stored stages are reused only while it stays the same."""

    @abstractmethod
    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which designs could be made and measured."""

    @abstractmethod
    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """True rewards in the task's units, NaN where there is none. Raises ``UnsupportedError`` without a truth."""

    def doubt(self, x: Float[Tensor, " b *event"]) -> Doubt | None:
        """How far :meth:`truth` can be trusted at these designs; None where it is not learned.

        Asked with :meth:`truth`, after every method has finished.
        """
        return None

    def natural(self) -> Float[Tensor, " n *event"] | None:
        """Natural designs that methods have not seen, for designs to resemble; None where nature made none.

        Asked for with :meth:`truth`, after every method has finished.
        """
        return None

    def normalise(self, y: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Rewards on the scale that published tables of this task use; the identity where there is none."""
        return y
