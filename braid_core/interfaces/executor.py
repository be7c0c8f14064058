"""Where independent cells of a grid are computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Cell = TypeVar("Cell")
Result = TypeVar("Result")


class Executor(ABC):
    """Maps a function over independent cells, here or elsewhere."""

    @abstractmethod
    def map(self, function: Callable[[Cell], Result], cells: Iterable[Cell]) -> Iterator[tuple[int, Result]]:
        """Yield ``(index, result)`` as cells finish, in any order; ``function`` and cells must be picklable."""
