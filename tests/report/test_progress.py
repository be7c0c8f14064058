"""Progress: a live bar in a terminal, few plain lines elsewhere, and nothing left behind."""

from __future__ import annotations

import io
import re
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


def display_on(stream: io.StringIO, now: Callable[[], float] = time.monotonic, width: int = 100) -> ProgressDisplay:
    return ProgressDisplay(Console(file=stream, width=width), now)


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
    figures = {"grad_norm": 3.0, "kl": 2.0, "diversity": 0.4, "mean": 1.0, "conservative": 0.5}
    assert latest(figures) == "mean 1  kl 2  conservative 0.5  grad_norm 3"
    assert latest(figures, room=25) == "mean 1  kl 2"
    assert latest(figures, room=3) == ""


def tune(display: ProgressDisplay, now: Clock, alpha: Callable[[int], float]) -> None:
    """Stages with long names and counts, as a run has them, then tuning."""
    display.braid_step_finished("calibration", 1200, 1200, {"loss": 0.123456})
    for done in range(10, 401, 10):
        now.now += 150.0
        figures = {"mean": -0.123456, "conservative": -0.2345678, "kl": 12.3456, "alpha": alpha(done)}
        display.braid_step_finished("objective", done, 400, {**figures, "diversity": 0.7, "grad_norm": 0.123456})
    display.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_kl_and_a_steered_alpha_are_seen_in_80_columns(terminal: bool) -> None:
    stream, now = Terminal() if terminal else io.StringIO(), Clock()
    tune(display_on(stream, now, width=80), now, lambda done: 0.1 + done / 1e4)
    rows = [row.rstrip() for row in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue()).split("\n")]
    rows = [row.split("\r")[-1] for row in rows]
    assert "mean -0.123  kl 12.3  alpha 0.14" in rows[-2]
    assert max(map(len, rows)) <= 80
    assert sum("kl" in row for row in rows) == sum("objective" in row for row in rows)  # no figure on a row of its own


def test_an_alpha_that_stays_as_it_was_is_not_shown() -> None:
    stream, now = io.StringIO(), Clock()
    tune(display_on(stream, now), now, lambda done: 0.1)
    assert "alpha" not in stream.getvalue()
    assert "kl 12.3  conservative -0.235" in stream.getvalue()


def test_a_stage_that_begins_again_has_a_pace_of_its_own() -> None:
    stream, now = io.StringIO(), Clock()
    display = display_on(stream, now)
    for done in (1, 50, 100, 10, 20):
        now.now += 20.0
        display.braid_step_finished("selection", done, 100, {})
    lines = stream.getvalue().splitlines()
    assert lines[-3:] == [
        "selection 100/100  0:40",
        "selection 10/100  0:00",
        "selection 20/100  0:20  about 2:40 left",
    ]


def test_a_bar_that_begins_again_is_not_finished() -> None:
    stream = Terminal()
    with display_on(stream) as display:
        for done in (1, 100, 10):
            display.braid_step_finished("selection", done, 100, {})
            time.sleep(0.11)
        (task,) = display._bars.tasks if display._bars else ()
        assert (task.completed, task.finished) == (10, False)


def test_clock() -> None:
    assert [clock(5), clock(65), clock(3725)] == ["0:05", "1:05", "1:02:05"]
