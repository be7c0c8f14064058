"""Learned state as data: tensors and JSON, never pickle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class State:
    """What a component has learned: named tensors, and JSON for what is not a tensor."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)

    def prefixed(self, prefix: str) -> State:
        """The same state with ``prefix.`` before every tensor name, so that several fit into one file."""
        return State({f"{prefix}.{name}": tensor for name, tensor in self.tensors.items()}, self.meta)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors stored below ``prefix.``, with the prefix taken off."""
        start = f"{prefix}."
        return {name[len(start) :]: t for name, t in self.tensors.items() if name.startswith(start)}


class Stateful(ABC):
    """Whatever holds learned state can hand it out and take it back; a finished run is built on this."""

    @abstractmethod
    def state(self) -> State:
        """The learned state, detached; called when a stage has finished."""

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Take over a state that ``state()`` of an equally specified object returned."""
