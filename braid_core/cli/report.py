"""Compare finished runs: print their summary and write one self-contained page.

Runs of one task are averaged over seeds where nothing but the seed differs; several tasks get a section each.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the run folders, ``-o`` and ``--skip-broken``."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a finished run")
    text = "the page (default: report.html, in the run's folder if there is one run, else here)"
    parser.add_argument("-o", "--out", type=Path, metavar="PAGE", help=text)
    text = "report the runs that can be read, and name the others in the page"
    parser.add_argument("--skip-broken", action="store_true", help=text)


def main(args: Namespace) -> int:
    """Print the table and where the page is; raises :class:`StoreError` for a folder that cannot be reported."""
    import sys

    from braid_core.registry.hooks import hook_manager
    from braid_core.report import group_runs, plugin_sections, read_runs, summary_text, write_page

    runs, left_out = read_runs(args.runs, args.skip_broken)
    for reason in left_out:
        print(f"warning: left out {reason}", file=sys.stderr)
    groups = group_runs(runs)
    out = args.out or (runs[0].folder / "report.html" if len(args.runs) == 1 else Path("report.html"))
    page = write_page(groups, out, plugin_sections(hook_manager(), runs), left_out)
    print(f"{summary_text(groups)}\n\nreport: {page}")
    return 0
