"""The other end of the pipe: computes what it is told to, until the pipe is closed."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from queue import SimpleQueue
from typing import Any, BinaryIO


def main() -> None:
    """Read orders from standard input and write results to standard output, where nothing else may write."""
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # what cells print goes to standard error
        orders: SimpleQueue[bytes | None] = SimpleQueue()
        busy = threading.Event()
        threading.Thread(target=_listen, args=(sys.stdin.buffer, orders, busy), daemon=True).start()
        try:
            while (order := orders.get()) is not None:
                busy.set()
                reply = _obey(order)
                busy.clear()
                replies.write(reply)
                replies.flush()
        except (KeyboardInterrupt, BrokenPipeError):
            os._exit(130)  # nobody listens any more


def _listen(source: BinaryIO, orders: SimpleQueue[bytes | None], busy: threading.Event) -> None:
    """Pass orders on; when their source is closed, in whatever way it ended, interrupt what is being computed."""
    try:
        while True:
            orders.put(pickle.load(source))
    except (EOFError, pickle.UnpicklingError):
        orders.put(None)
        if busy.is_set():
            _interrupt()


def _interrupt() -> None:
    """As Ctrl-C does, so that what is half-written is removed."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _obey(order: bytes) -> bytes:
    """The pickled pair of a result and an error, one of which is None."""
    try:
        function, cell = pickle.loads(order)
        result: tuple[Any, Exception | None] = (function(cell), None)
        return pickle.dumps(result)
    except Exception as error:  # any error at all: it is raised again where the call came from
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
        try:
            reply = pickle.dumps((None, error))
            pickle.loads(reply)  # many with arguments of their own can be pickled, and not be read again
            return reply
        except Exception:
            return pickle.dumps((None, RuntimeError("".join(traceback.format_exception(error)))))


if __name__ == "__main__":
    main()
