"""Draw designs from a finished run, with their predictions, best first, as CSV.

The task's rules of validity are not applied: designs that break them may be among those drawn.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from braid_core.cli.arguments import positive


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the run folder, ``-n``, ``--seed`` and ``-o``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("-n", type=positive, default=100, metavar="N", help="how many designs (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other designs (default: 0)")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write here instead of the screen")


def main(args: Namespace) -> int:
    """Print or write the designs; raises ``StoreError`` for a folder that cannot be drawn from."""
    from braid_core.experiment.reopen import open_run
    from braid_core.files import write_atomic

    designs = open_run(args.run).sample(args.n, args.seed)
    if len(designs) < args.n:
        print(f"warning: only {len(designs)} distinct designs were drawn, not {args.n}", file=sys.stderr)
    text = designs.to_csv(index=False, float_format="%.6g")
    if args.out is None:
        sys.stdout.write(text)
    else:
        write_atomic(args.out, text)
        print(f"{len(designs)} designs: {args.out}", file=sys.stderr)
    return 0
