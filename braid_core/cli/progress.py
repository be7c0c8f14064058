"""How far a run is: a live bar a stage in a terminal, plain lines elsewhere. A hook like any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from braid_core.registry.hooks import hookimpl
from braid_core.registry.spec import Spec

SHOWN = ("mean", "kl", "alpha", "conservative", "loss", "reward")
"""Figures worth a glance, the most telling first; others are shown where there is room."""
MOST = 4
BAR, TIMES, GAPS = 10, 12, 4
"""Cells of the bar, of the longest time (``1:23:45 left``), and between the parts of a stage's line."""
LIVE, PLAIN = 0.1, 10.0
"""Seconds between two updates of the bar, and between two plain lines of a stage."""


def latest(figures: Mapping[str, float], room: int = 80) -> str:
    """Up to four of ``figures``, as many as fit into ``room`` letters."""
    names = [name for name in SHOWN if name in figures] + [name for name in figures if name not in SHOWN]
    texts = [f"{name} {figures[name]:.3g}" for name in names[:MOST]]
    fitting = ["  ".join(texts[:k]) for k in range(len(texts), -1, -1)]
    return next((text for text in fitting if len(text) <= room), "")


def clock(seconds: float) -> str:
    """``seconds`` as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class Stage:
    """What is remembered of a stage; times are on the display's clock, in seconds.

    ``alpha`` is the first one seen: while it is the same, it is not worth a glance.
    """

    started: float
    first: int
    total: int
    alpha: float | None
    done: int = 0
    shown: float = field(default=-float("inf"))
    task: TaskID | None = None

    def remaining(self, now: float, done: int, total: int) -> float | None:
        """Seconds to go at the pace since the first step that was seen, which may not be the first of all."""
        steps = done - self.first
        return (now - self.started) / steps * (total - done) if steps > 0 else None


class Times(ProgressColumn):
    """The time that a stage still needs, where that is known, or has taken."""

    def render(self, task: Task) -> Text:
        if not task.finished and task.time_remaining is not None:
            return Text(f"{clock(task.time_remaining)} left")
        return Text(clock((task.finished_time if task.finished else task.elapsed) or 0))


class ProgressDisplay:
    """Shows a run's stages on ``console`` (standard error by default); to be registered with the hook manager.

    :meth:`close` gives the terminal back and may be called at any time, more than once; leaving a ``with`` block does
    it too. Most calls return after one look at the clock, so that a hot loop does not notice.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bars: Progress | None = None
        self._stages: dict[str, Stage] = {}
        self._clock = clock

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @hookimpl
    def braid_run_started(self, spec: Spec, folder: Path) -> None:
        """Say where the run's files go, and start afresh."""
        del spec
        self.close()
        self._stages = {}
        self._say(f"run folder: {folder}")

    @hookimpl
    def braid_step_finished(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Show ``done`` of ``total`` steps, if the last look was long enough ago or the stage is finished.

        A stage that fits several things one after the other counts anew for each.
        """
        now = self._clock()
        seen = self._stages.get(stage)
        if seen is None or done < seen.done:
            task = None if seen is None else seen.task
            seen = self._stages[stage] = Stage(now, done, total, figures.get("alpha"), task=task)
            if self._bars is not None and task is not None:
                self._bars.reset(task)
        seen.done = done
        if done < total and now - seen.shown < (LIVE if self._live else PLAIN):
            return
        seen.shown = now
        if figures.get("alpha") == seen.alpha:
            figures = {name: figure for name, figure in figures.items() if name != "alpha"}
        if self._live:
            self._bar(stage, seen, done, total, figures)
        else:
            self._line(stage, seen, done, total, figures)

    @hookimpl
    def braid_run_finished(self, folder: Path, results: dict[str, Any]) -> None:
        """Give the terminal back and say that the run is complete."""
        del results
        self.close()
        self._say(f"finished: {folder}")

    def close(self) -> None:
        """End the live display, leaving its last state on the screen and the cursor visible."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _bar(self, stage: str, seen: Stage, done: int, total: int, figures: Mapping[str, float]) -> None:
        if self._bars is None:
            self._bars = self._new_bars()
            for known in self._stages.values():
                known.task = None
        if seen.task is None:
            seen.task = self._bars.add_task(stage, total=total, figures="")
        count = 2 * max(len(str(known.total)) for known in self._stages.values()) + 1
        text = latest(figures, self._console.width - max(map(len, self._stages)) - count - BAR - TIMES - GAPS)
        self._bars.update(seen.task, completed=done, total=total, figures=text)

    def _new_bars(self) -> Progress:
        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR),
            MofNCompleteColumn(),
            Times(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            refresh_per_second=4,
        )
        bars.start()
        return bars

    def _line(self, stage: str, seen: Stage, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = self._clock()
        remaining = seen.remaining(now, done, total)
        parts = [f"{stage} {done}/{total}", clock(now - seen.started)]
        if done < total and remaining is not None:
            parts.append(f"about {clock(remaining)} left")
        text = "  ".join(parts)
        self._say("  ".join(filter(None, [text, latest(figures, self._console.width - len(text) - 2)])))
