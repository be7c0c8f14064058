"""Worker processes that are told by a pipe what to compute, and end when the pipe does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import SimpleQueue
from signal import Signals
from threading import Lock, Thread
from typing import Any

from braid_core.errors import BraidError
from braid_core.interfaces.executor import Cell, Executor, Result

PATIENCE = 10
"""Seconds that a worker has to clean up when it is stopped."""


class LocalExecutor(Executor):
    """Maps over cells in ``jobs`` processes, each of which takes the next cell when it has finished one.

    ``function`` and cells are pickled, so they must not be defined in ``__main__``.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def map(
        self, function: Callable[[Cell], Result], cells: Iterable[Cell]
    ) -> Generator[tuple[int, Result | BraidError], None, None]:
        waiting, lock = list(enumerate(cells)), Lock()
        count = len(waiting)
        done: SimpleQueue[tuple[int, Any, Exception | None]] = SimpleQueue()
        workers = [Worker() for _ in range(min(self.jobs, count))]

        def serve(worker: Worker) -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    index, cell = waiting.pop(0)
                try:
                    result, error = worker.call(function, cell)
                except Exception as unexpected:  # an answer that cannot be read, say: who waits for it must hear of it
                    result, error = None, unexpected
                done.put((index, result, error))

        threads = [Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            for _ in range(count):
                index, result, error = done.get()
                if error is not None:
                    raise error
                yield index, result
        finally:
            with lock:
                waiting.clear()
            for worker in workers:
                worker.dismiss()
            for worker, thread in zip(workers, threads, strict=True):
                worker.wait()
                if thread.ident:
                    thread.join()
                worker.close()


class Worker:
    """One process, started when it is first needed, and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._dismissed = False
        self._lock = Lock()

    def call(self, function: Callable[[Any], Any], cell: Any) -> tuple[Any, Exception | None]:
        """What ``function(cell)`` returns there, or raises; a ``BraidError`` is returned if the process dies."""
        try:
            order = pickle.dumps((function, cell))
        except Exception as error:  # whatever objects raise that cannot be pickled
            return None, error
        with self._lock:
            if self._dismissed:
                return None, None
            if self._process is None:
                self._process = _start()
            process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(order, process.stdin)
            process.stdin.flush()
            result: tuple[Any, Exception | None] = pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            process.kill()  # it may have closed its pipes and live on
            code = process.wait()
            self.close()
            return _lost(code), None
        return result

    def dismiss(self) -> None:
        """End the process, in the middle of a cell if there is one: it cleans up and goes."""
        with self._lock:
            self._dismissed = True
            if self._process is not None and self._process.stdin is not None:
                with suppress(OSError):  # it is dead already, and something was left to flush
                    self._process.stdin.close()

    def wait(self) -> None:
        """Until the process has ended, by force if it takes too long."""
        process = self._process
        if process is not None:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """Close the pipes to a process that has ended."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                for pipe in (self._process.stdin, self._process.stdout):
                    with suppress(OSError):  # what was not read any more cannot be flushed
                        pipe.close()  # type: ignore[union-attr]
                self._process = None


def _start() -> subprocess.Popen[bytes]:
    # Its own session: Ctrl-C reaches this process only, which then ends its workers. The same modules can be imported.
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "braid_local.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    except OSError as error:
        raise BraidError(
            "a worker process cannot be started",
            why=error.strerror or str(error),
            fix="repeat the command, with fewer jobs: finished stages are kept",
        ) from error


def _lost(code: int) -> BraidError:
    known = {int(number): number.name for number in Signals}
    how = f"signal {known.get(-code, -code)} ended it" if code < 0 else f"it ended with exit code {code}"
    short = "; the system ends processes in this way when memory is short" if code == -9 else ""
    return BraidError(
        "the process that computed this died",
        why=how + short,
        fix="repeat the command: finished stages are kept" + ("; with fewer jobs" if code == -9 else ""),
    )
