"""The command line: one file a verb, imported when it is called.

``braid plugins list`` and ``braid --help`` have to cost little more than starting Python, so this module imports next
to nothing and builds an argument parser only for the verb that is called.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module

TYPE_CHECKING = False  # `typing` is not imported: it would be a good part of the time of a light command
if TYPE_CHECKING:
    from typing import TextIO

# Each verb is a module of this package with `add_arguments(parser)` and `main(args) -> int`.
VERBS = {
    "run": "run a spec: fit, tune, draw designs, judge them and report",
    "bench": "compare methods on tasks and seeds: a grid of runs, several at a time",
    "sample": "draw more designs from a finished run",
    "report": "compare finished runs in one report",
    "plugins": "list and check what is installed, and show the options of a plugin",
}
USAGE = "usage: braid [-h] [--version] [-p no:NAME] VERB ..."
LIGHT: tuple[list[str], ...] = (["plugins", "list"], ["plugins", "list", "--json"], ["--help"], ["-h"], [])


def console() -> None:
    """The ``braid`` script: runs :func:`main` and ends the process.

    Where only names are listed, collecting garbage and tearing the interpreter down would be a quarter of the time
    and serve nothing: nothing is open but the streams, which are flushed.
    """
    light = sys.argv[1:] in LIGHT
    if light:
        gc.disable()
    code = main()
    if light:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or what the error says (2 for a mistake, 130 when interrupted).

    Only a bug leaves it as an exception, with its traceback: an OSError too, unless the output cannot be written.
    """
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, so that a closed pipe is met below and not at exit
        return code
    except KeyboardInterrupt:
        return _fail("stopped; finished stages are kept: repeat the same command to continue from there", 130)
    except OSError as error:
        if error.filename and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"{error.strerror}: {error.filename}", 2)  # a full disk is nobody's bug
        lost = None if error.filename else next(filter(_refuses, (sys.stdout, sys.stderr)), None)
        if lost is None:
            raise  # no fault of the output: whoever opened the file or the pipe ought to have explained it
        os.dup2(os.open(os.devnull, os.O_WRONLY), lost.fileno())  # what is still buffered goes nowhere
        if isinstance(error, BrokenPipeError):
            return 141  # as if by SIGPIPE, like any other program whose reader has gone
        return _fail(f"cannot write the output: {error.strerror or error}", 2)
    except Exception as error:
        from braid_core.errors import BraidError

        if not isinstance(error, BraidError):
            raise
        return _fail(str(error), error.exit_code)


def _refuses(stream: TextIO) -> bool:
    """Whether ``stream`` cannot be written to; an error of writing does not say what it was written to."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return True
    return False


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _dispatch(argv: list[str]) -> int:
    """Run the verb in ``argv`` without the plugins that leading ``-p no:NAME`` switch off."""
    names: list[str] = []
    while argv and argv[0].startswith("-p"):
        value, argv = (argv[0][2:], argv[1:]) if len(argv[0]) > 2 else ("".join(argv[1:2]), argv[2:])
        if not value.startswith("no:") or value == "no:":
            from braid_core.errors import BraidError

            raise BraidError(f"-p takes no:NAME, not {value!r}", fix="to disable a plugin: braid -p no:NAME VERB …")
        names.append(value.removeprefix("no:"))
    if not names:
        return _verb(argv)
    from braid_core.registry.states import without

    with without(names):
        return _verb(argv)


def _verb(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    verb, rest = argv[0], argv[1:]
    if verb == "--version":
        from importlib.metadata import version

        print(f"braid {version('braid-design')}")
        return 0
    if verb == "plugins" and rest in (["list"], ["list", "--json"]):
        from braid_core.cli.plugins import list_plugins  # past argparse, which would cost as much as the list

        return list_plugins(as_json="--json" in rest)
    if verb in VERBS:
        module = import_module(f"braid_core.cli.{verb}")
        return _call(verb, module.__doc__, module.add_arguments, module.main, rest)
    from braid_core.cli.foreign import load_verb

    command = load_verb(verb, known=VERBS)
    return _call(verb, command.__doc__, command.add_arguments, command.main, rest)


def _help() -> str:
    """The verbs, with those of other distributions by name only: ``--help`` imports no plugin."""
    from braid_core.cli.foreign import foreign_verbs

    lines = [USAGE, "", "Design under doubt: tune a generative model on a reward that can be counted on.", "", "verbs:"]
    lines += [f"  {verb:<12} {text}" for verb, text in VERBS.items()]
    foreign = foreign_verbs(known=VERBS)
    lines += ["", "verbs of plugins:"] if foreign else []
    lines += [f"  {verb:<12} from {distribution}" for verb, distribution in foreign.items()]
    lines += ["", "options:", "  -h, --help   this text; after a verb: its options", "  --version    the version"]
    return "\n".join([*lines, "  -p no:NAME   without the plugin NAME, for this command (repeatable)"])


def _call(
    verb: str, text: str | None, add_arguments: Callable[..., None], run: Callable[..., int], rest: list[str]
) -> int:
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    parser = ArgumentParser(f"braid {verb}", description=text, formatter_class=RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        args = parser.parse_args(rest)
    except SystemExit as stop:  # argparse has printed the help, or what is wrong
        return int(stop.code or 0)
    return run(args)
