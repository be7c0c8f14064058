"""Progress: a live bar in a terminal, few plain lines elsewhere, and nothing left behind."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from braid_core.cli.progress import ProgressDisplay, clock, latest
from braid_core.registry.hooks import empty_manager
from braid_core.registry.spec import Spec


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def display_on(stream: io.StringIO, now: Callable[[], float] = time.monotonic) -> ProgressDisplay:
    return ProgressDisplay(Console(file=stream, width=100), now)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def interrupted(display: ProgressDisplay, folder: Path) -> None:
    with display:
        display.braid_run_started(Spec(), folder)
        display.braid_step_finished("oracle", 1, 2, {"loss": 0.25})
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_plain_lines_are_rare_and_end_with_the_stage(tmp_path: Path) -> None:
    stream, now = io.StringIO(), Clock()
    display = display_on(stream, now)
    display.braid_run_started(Spec(), tmp_path)
    for done in range(1, 101):
        now.now = done / 4.0
        display.braid_step_finished("objective", done, 100, {"mean": 0.5, "kl": 1.25})
    display.braid_run_finished(tmp_path, {})
    assert stream.getvalue().splitlines() == [
        f"run folder: {tmp_path}",
        "objective 1/100  0:00  mean 0.5  kl 1.25",
        "objective 41/100  0:10  about 0:15 left  mean 0.5  kl 1.25",
        "objective 81/100  0:20  about 0:05 left  mean 0.5  kl 1.25",
        "objective 100/100  0:25  mean 0.5  kl 1.25",
        f"finished: {tmp_path}",
    ]


def test_the_time_left_of_a_continued_stage_counts_only_its_own_steps() -> None:
    stream, now = io.StringIO(), Clock()
    display = display_on(stream, now)
    display.braid_step_finished("oracle", 900, 1000, {})
    now.now = 50.0
    display.braid_step_finished("oracle", 950, 1000, {})
    assert "about 0:50 left" in stream.getvalue()


def test_a_terminal_gets_a_bar_and_its_cursor_back(tmp_path: Path) -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt):
        interrupted(display_on(stream), tmp_path)
    text = stream.getvalue()
    assert "1/2" in text
    assert "loss 0.25" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_closing_twice_is_fine() -> None:
    display = display_on(Terminal())
    display.braid_step_finished("oracle", 1, 2, {})
    display.close()
    display.close()


def test_a_second_run_begins_with_bars_of_its_own(tmp_path: Path) -> None:
    stream = Terminal()
    with display_on(stream) as display:
        for _ in range(2):
            display.braid_run_started(Spec(), tmp_path)
            display.braid_step_finished("oracle", 2, 2, {})
            display.braid_run_finished(tmp_path, {})
    assert stream.getvalue().count("finished") == 2


def test_names_are_shown_as_they_are() -> None:
    stream = Terminal()
    with display_on(stream) as display:
        display.braid_step_finished("[red]x", 1, 1, {"[b]": 1.0})
    assert "[red]x" in stream.getvalue()
    assert "[b] 1" in stream.getvalue()


def test_a_hot_loop_does_not_notice() -> None:
    display = display_on(io.StringIO())
    start = time.perf_counter()
    for done in range(20_000):
        display.braid_step_finished("objective", done, 20_000, {"mean": 1.0})
    assert (time.perf_counter() - start) / 20_000 < 1e-4  # seconds a step; some microseconds in truth


def test_it_fits_the_hooks() -> None:
    manager = empty_manager()
    display = display_on(io.StringIO())
    manager.register(display)
    manager.check_pending()
    assert len(manager.get_hookcallers(display) or []) == 3


def test_the_most_telling_figures_that_fit() -> None:
    figures = {"grad_norm": 3.0, "kl": 2.0, "mean": 1.0, "conservative": 0.5}
    assert latest(figures) == "mean 1  conservative 0.5  kl 2"
    assert latest(figures, room=25) == "mean 1  conservative 0.5"
    assert latest(figures, room=3) == ""


def test_clock() -> None:
    assert [clock(5), clock(65), clock(3725)] == ["0:05", "1:05", "1:02:05"]
