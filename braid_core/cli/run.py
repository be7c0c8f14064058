"""Run one or more specs: fit, tune, draw designs, judge them, and write a report.

Specs that share a task and a seed share the pretrained backbone and the oracle. An interrupted run continues when the
command is repeated.
"""

from __future__ import annotations

import shlex
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braid_core.experiment.spec import RunSpec


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the specs and ``--out``."""
    parser.add_argument("specs", nargs="+", type=Path, metavar="SPEC", help="a .toml, .json or .py run spec")
    text = "the folder for run folders and stored stages (default: runs)"
    parser.add_argument("-o", "--out", type=Path, default=Path("runs"), metavar="FOLDER", help=text)


def main(args: Namespace) -> int:
    """Make the runs, print the summary and where the report is; where one fails, that of the runs before it."""
    from braid_core.errors import BraidError
    from braid_core.experiment.bench_spec import located
    from braid_core.experiment.spec import load_spec

    specs = [load_spec(path) for path in args.specs]  # all of them, before the first one costs time
    _refuse_clashes(args.specs, [spec.folder_name for spec in specs])
    if len(specs) > 1:  # a single run builds its task first of all anyway
        _build_tasks(args.specs, specs)

    from braid_core.cli.progress import ProgressDisplay
    from braid_core.experiment.run import run
    from braid_core.registry.hooks import hook_manager
    from braid_core.report import group_runs, plugin_sections, read_runs, summary_text, write_page

    command = shlex.join(["braid", "run", *map(str, args.specs), "--out", str(args.out)])
    folders: list[Path] = []
    failure: Exception | None = None
    with ProgressDisplay() as display, _readable_warnings():
        for path, spec in zip(args.specs, specs, strict=True):
            try:
                folders.append(run(spec, args.out, hooks=[display], command=command))
            except Exception as error:  # told below, once the runs that have finished are reported
                failure = located(error, str(path)) if isinstance(error, BraidError) else error
                break
    if failure and not folders:
        raise failure
    runs, left_out = read_runs(folders)
    groups, sections = group_runs(runs), plugin_sections(hook_manager(), runs)
    page = write_page(groups, (args.out if len(folders) > 1 else folders[0]) / "report.html", sections, left_out)
    print(f"{summary_text(groups)}\n\nreport: {page}")
    if failure:
        raise failure
    return 0


def _build_tasks(paths: list[Path], specs: list[RunSpec]) -> None:
    """Raises for the first task that cannot be built; a task of several specs is built once."""
    from braid_core.errors import BraidError
    from braid_core.experiment.bench_spec import located

    built: set[str] = set()
    for path, spec in zip(paths, specs, strict=True):
        task = spec.task.model_dump_json()
        try:
            if task not in built:
                spec.task.build(spec.seed)
        except BraidError as error:
            raise located(error, str(path)) from error
        built.add(task)


@contextmanager
def _readable_warnings() -> Iterator[None]:
    """Shows a damaged stage as one line; Python's way names a line of our source, which tells a user nothing."""
    from braid_core.experiment.store import DamageWarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, DamageWarning):
            print(f"warning: {message}", file=sys.stderr)
        else:
            python(message, category, *place, **more)

    python = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always", DamageWarning)
        warnings.showwarning = show
        yield


def _refuse_clashes(paths: list[Path], names: list[str]) -> None:
    from braid_core.errors import SpecError

    for name in names:
        if names.count(name) > 1:
            same = ", ".join(str(path) for path, other in zip(paths, names, strict=True) if other == name)
            raise SpecError(
                f"{names.count(name)} specs would write the same run folder {name!r}",
                where=same,
                fix="give each its own `name`",
            )
