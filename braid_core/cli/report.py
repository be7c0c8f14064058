"""Compare finished runs, or report a bench: print a summary and write one self-contained page.

Runs of one task are averaged over seeds where nothing but the seed differs; several tasks get a section each. A bench
has a page of its own, also while it is not finished.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the folders, ``-o`` and ``--skip-broken``."""
    text = "the folder of a finished run, or of a bench"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_OR_BENCH", help=text)
    text = "the page (default: report.html, in the folder if there is one, else here; a bench's in its own)"
    parser.add_argument("-o", "--out", type=Path, metavar="PAGE", help=text)
    text = "report the runs that can be read, and name the others in the page"
    parser.add_argument("--skip-broken", action="store_true", help=text)


def main(args: Namespace) -> int:
    """Print the tables and where the pages are; raises :class:`StoreError` for a folder that cannot be reported."""
    from braid_core.errors import SpecError
    from braid_core.report import is_bench

    benches = [folder for folder in args.runs if is_bench(folder)]
    runs = [folder for folder in args.runs if folder not in benches]
    if args.out and len(benches) + bool(runs) > 1:
        raise SpecError(
            "these folders do not fit on one page", where=str(args.out), why="each bench has its own", fix="omit --out"
        )
    if runs:
        _report_runs(runs, args.out, args.skip_broken)
    for folder in benches:
        report_bench(folder, args.out)
    return 0


def _report_runs(folders: Sequence[Path], page: Path | None, skip_broken: bool) -> None:
    import sys

    from braid_core.registry.hooks import hook_manager
    from braid_core.report import group_runs, plugin_sections, read_runs, summary_text, write_page

    runs, left_out = read_runs(folders, skip_broken)
    for reason in left_out:
        print(f"warning: left out {reason}", file=sys.stderr)
    groups = group_runs(runs)
    out = page or (runs[0].folder / "report.html" if len(folders) == 1 else Path("report.html"))
    made = write_page(groups, out, plugin_sections(hook_manager(), runs), left_out)
    print(f"{summary_text(groups)}\n\nreport: {made}")


def report_bench(folder: Path, page: Path | None = None, *, brief: bool = False) -> None:
    """Write the page of the bench in ``folder`` and print where it is; unless ``brief``, the tables before it."""
    from braid_core.registry.hooks import hook_manager
    from braid_core.report import plugin_sections, read_bench, summary_text, write_bench_page

    bench = read_bench(folder)
    made = write_bench_page(bench, page, plugin_sections(hook_manager(), bench.runs))
    text = "" if brief or not bench.groups else f"{summary_text(bench.groups)}\n\n"
    print(f"{text}report: {made}")
