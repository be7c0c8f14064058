"""Hooks: who is called, with what, and how a bad implementation is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braid_core.errors import DataError, PluginError
from braid_core.registry.hooks import hook_manager, hookimpl

from .conftest import Site

HOOK = "from braid_core.registry.hooks import hookimpl\n\n@hookimpl\n"
SECTION = HOOK + "def braid_report_section(runs):\n    return f'<p>{len(runs)} runs</p>'\n"


def install(site: Site, distribution: str, source: str, value: str | None = None) -> None:
    module = f"{distribution.replace('-', '_')}_hooks"
    site.install(distribution, {"braid.hooks": {"hooks": value or module}}, modules={module: source})


def failure() -> PluginError:
    with pytest.raises(PluginError) as caught:
        hook_manager()
    return caught.value


def test_every_installed_hook_is_called_also_under_one_name(site: Site) -> None:
    install(site, "braid-one", SECTION)
    install(site, "braid-two", SECTION)
    assert hook_manager().hook.braid_report_section(runs=[1, 2]) == ["<p>2 runs</p>"] * 2


def test_objects_of_this_process_can_join() -> None:
    class Progress:
        seen: tuple[Any, ...] = ()

        @hookimpl
        def braid_step_finished(self, stage: str, done: int) -> None:
            self.seen = (stage, done)

    progress = Progress()
    hook_manager(progress).hook.braid_step_finished(stage="tune", done=1, total=2, figures={"loss": 0.5})
    assert progress.seen == ("tune", 1)


def test_an_implementation_without_a_report_adds_nothing() -> None:
    class Quiet:
        @hookimpl
        def braid_report_section(self) -> None:
            return None

    assert hook_manager(Quiet()).hook.braid_report_section(runs=[]) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (HOOK + "def braid_run_startet(spec): ...\n", "braid_run_startet"),
        (HOOK + "def braid_run_started(specs): ...\n", "specs"),
        ("def braid_run_started(spec): ...\n", "marked as a hook"),
        ("import no_such_dependency\n", "no_such_dependency"),
    ],
    ids=["no such hook", "no such argument", "not marked", "broken import"],
)
def test_a_bad_hook_is_located_and_can_be_disabled(site: Site, source: str, why: str) -> None:
    install(site, "braid-bad", source)
    error = failure()
    assert "braid-bad 1.0" in error.what
    assert why in str(error.why)
    assert "BRAID_DISABLE=braid-bad:hooks" in str(error.fix)
    assert "-p no:braid-bad:hooks" in str(error.fix)


def test_a_class_is_not_an_instance(site: Site) -> None:
    install(site, "braid-bad", "class Hooks: ...\n", "braid_bad_hooks:Hooks")
    assert "is a class" in str(failure().why)


def test_a_hook_that_raises_is_named(site: Site) -> None:
    install(site, "braid-good", HOOK + "def braid_run_finished(folder): ...\n")
    install(site, "braid-bad", HOOK + "def braid_run_finished(results):\n    results['absent']\n")
    with pytest.raises(PluginError) as caught:
        hook_manager().hook.braid_run_finished(folder=Path(), results={})
    error = caught.value
    assert "braid-bad 1.0" in error.what
    assert "braid_run_finished raised KeyError: 'absent'" in str(error.why)
    assert "braid_bad_hooks.py, line 5" in str(error.why)
    assert "-p no:braid-bad:hooks" in str(error.fix)
    assert isinstance(error.__cause__, KeyError)


def test_what_is_no_fault_of_the_plugin_passes(site: Site) -> None:
    class Stops:
        @hookimpl
        def braid_run_started(self) -> None:
            raise KeyError("mine")

    install(site, "braid-good", HOOK + "def braid_run_started(spec): ...\n")
    raises = (
        "from braid_core.errors import DataError\n" + HOOK + "def braid_run_finished():\n    raise DataError('x')\n"
    )
    install(site, "braid-says", raises)
    install(site, "braid-interrupted", HOOK + "def braid_step_finished():\n    raise KeyboardInterrupt\n")
    manager = hook_manager(Stops())
    with pytest.raises(KeyError, match="mine"):
        manager.hook.braid_run_started(spec=None, folder=Path())
    with pytest.raises(DataError):
        manager.hook.braid_run_finished(folder=Path(), results={})
    with pytest.raises(KeyboardInterrupt):
        manager.hook.braid_step_finished(stage="x", done=1, total=1, figures={})


def test_a_disabled_hook_is_not_imported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "braid-bad", "raise RuntimeError")
    monkeypatch.setenv("BRAID_DISABLE", "braid-bad:hooks")
    assert hook_manager().hook.braid_report_section(runs=[]) == []


def test_a_hook_for_a_newer_api_is_left_out(site: Site) -> None:
    site.install("braid-new", {"braid.hooks.v2": {"hooks": "gone"}})
    assert hook_manager().hook.braid_run_finished(folder=Path(), results={}) == []
