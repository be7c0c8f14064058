"""Where components report their progress; they neither print nor know who listens."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Log(ABC):
    """Receives the figures of long work, step by step."""

    @abstractmethod
    def step(self, done: int, total: int, **figures: float) -> None:
        """``done`` of ``total`` steps are finished; ``figures`` are plain numbers in the units of their names."""


class Silent(Log):
    """Discards everything: the default where nobody listens."""

    def step(self, done: int, total: int, **figures: float) -> None:
        del done, total, figures
