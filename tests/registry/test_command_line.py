"""The dispatcher: verbs, foreign verbs, and what every kind of failure looks like."""

from __future__ import annotations

import errno
import os
import sys
from types import ModuleType

import pytest

from braid_core.cli import VERBS, main
from braid_core.errors import DataError

from .conftest import Site

GREET = """
'''Greet someone.'''
import os

def add_arguments(parser):
    parser.add_argument("name")

def main(args):
    print("hello", args.name, os.environ.get("BRAID_DISABLE"))
    return 3
"""


def greeter(site: Site, distribution: str = "braid-greet", verb: str = "greet", source: str = GREET) -> str:
    module = distribution.replace("-", "_")
    site.install(distribution, {"braid.commands": {verb: module}}, modules={module: source})
    return module


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Runs ``braid run`` with a verb that raises, and returns the exit code and what is on stderr."""

    def run(error: BaseException) -> tuple[int, str]:
        def raising(args: object) -> int:
            raise error

        module = ModuleType("braid_core.cli.run")
        module.__dict__.update(add_arguments=lambda parser: None, main=raising)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return main(["run"]), capsys.readouterr().err

    return run


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["-p", "no:x", "--help"]])
def test_help_lists_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb}" in out for verb in VERBS)


def test_help_after_a_verb_is_about_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--help"]) == 0
    assert "usage: braid plugins" in capsys.readouterr().out


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("braid ")


def test_a_mistyped_verb_gets_the_nearest(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    greeter(site)
    assert main(["plugin"]) == 2
    assert main(["gret"]) == 2
    err = capsys.readouterr().err
    assert "error: there is no verb 'plugin'" in err
    assert "did you mean 'plugins'?" in err
    assert "did you mean 'greet'?" in err


def test_a_mistyped_option_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "list", "--jason"]) == 2
    assert "--jason" in capsys.readouterr().err


def test_a_foreign_verb_is_listed_without_being_imported_and_runs_when_called(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    module = greeter(site)
    assert main(["--help"]) == 0
    assert module not in sys.modules
    assert "greet        from braid-greet" in capsys.readouterr().out
    assert main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you None\n"
    assert main(["greet", "--help"]) == 0
    assert "Greet someone." in capsys.readouterr().out


def test_a_foreign_verb_cannot_take_the_name_of_ours(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    greeter(site, verb="plugins")
    assert main(["plugins", "list"]) == 0
    assert any("braid-greet" in line and "shadowed" in line for line in capsys.readouterr().out.splitlines())
    assert main(["braid-greet:plugins", "you"]) == 3


def test_conflicting_foreign_verbs_are_named_in_full(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    greeter(site)
    greeter(site, "braid-other")
    assert main(["greet", "you"]) == 2
    assert "'braid-greet:greet' or 'braid-other:greet'" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "braid-other:greet" in capsys.readouterr().out


def test_a_foreign_verb_that_lacks_a_function_is_located(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    greeter(site, source="def main(args): ...")
    assert main(["greet"]) == 2
    assert "braid_greet has no function 'add_arguments'" in capsys.readouterr().err


def test_a_disabled_verb_says_so(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    greeter(site)
    assert main(["-p", "no:greet", "greet", "you"]) == 2
    assert "the command 'greet' is disabled" in capsys.readouterr().err


@pytest.mark.parametrize("switch", [["-p", "no:a", "-pno:b"], ["-pno:a,b"]])
def test_p_reaches_other_processes_and_ends_with_the_command(
    site: Site, switch: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    greeter(site)
    monkeypatch.setenv("BRAID_DISABLE", "x")
    assert main([*switch, "greet", "you"]) == 3
    assert main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you x,a,b\nhello you x\n"


@pytest.mark.parametrize("argv", [["-p"], ["-p", "knn", "plugins"], ["-p", "no:", "plugins"]])
def test_p_takes_only_no(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "-p takes no:NAME" in capsys.readouterr().err


def test_a_mistake_is_printed_without_a_traceback(fail) -> None:  # type: ignore[no-untyped-def]
    code, err = fail(DataError("a letter is wrong", where="row 3", fix="correct it"))
    assert (code, err) == (2, "error: a letter is wrong\n  where: row 3\n  fix: correct it\n")


def test_an_interrupt_says_how_to_go_on(fail) -> None:  # type: ignore[no-untyped-def]
    code, err = fail(KeyboardInterrupt())
    assert code == 130
    assert "finished stages are kept" in err
    assert len(err.splitlines()) == 1


def test_a_full_disk_is_one_clear_message(fail) -> None:  # type: ignore[no-untyped-def]
    code, err = fail(OSError(errno.ENOSPC, "No space left on device", "runs/one"))
    assert (code, err) == (2, "error: No space left on device: runs/one\n")


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "No such file", "x"), BrokenPipeError()])
def test_an_operating_system_error_that_nobody_explained_is_a_bug(fail, error: OSError) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(type(error)):
        fail(error)


def test_a_bug_keeps_its_traceback(fail) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(site: Site, unbuffered: str) -> None:
    source = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); sys.argv[1:] = ['plugins', 'list']\n"
    source += "from braid_core.cli import console; console()"
    done = site.python("-c", source, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only some systems have a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_clear_message(site: Site, unbuffered: str) -> None:
    source = "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); sys.argv[1:] = ['plugins', 'list']\n"
    done = site.python("-c", source + "from braid_core.cli import console; console()", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (2, "error: cannot write the output: No space left on device\n")
