"""Where independent cells of a grid are computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from braid_core.errors import BraidError

Cell = TypeVar("Cell")
Result = TypeVar("Result")


class Executor(ABC):
    """Maps a function over independent cells, here or elsewhere."""

    @abstractmethod
    def map(
        self, function: Callable[[Cell], Result], cells: Iterable[Cell]
    ) -> Generator[tuple[int, Result | BraidError], None, None]:
        """Yield ``(index, result)`` as cells finish, in any order; started in theirs.

        ``function`` and cells must be picklable. For a cell whose place of computing is lost, the result is a
        ``BraidError`` that says how, and the others go on; what ``function`` raises is raised here. Nothing is
        computed any longer when the generator is closed.
        """
