"""TF-Bind-8 in the Design-Bench setting: the worse half is offline, 128 designs are delivered.

    python benchmarks/tf_bind_8.py            # prints Markdown; about four minutes on two cores

Nothing was chosen by looking at the truth: docs/decisions/0008-defaults.md says how.
"""

from __future__ import annotations

import argparse
import platform
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch

from braid_core import RunSpec, run
from braid_core.report import group_runs, read_runs, write_page

SEEDS = (0, 1, 2)


def main() -> None:
    """Make the runs (or continue them), print the table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/tf_bind_8"))
    out = parser.parse_args().out
    specs = [RunSpec(task="tf-bind-8", objective=name, seed=seed) for name in ("strl", "braid") for seed in SEEDS]
    folders = [run(spec, out, command="python benchmarks/tf_bind_8.py") for spec in specs]
    runs, _ = read_runs(folders)
    rows = pd.concat([_rows(r.results) for r in runs]).drop_duplicates(["method", "column", "seed"])
    table = rows.groupby(["method", "column"], sort=False).agg(["mean", "std"]).drop(columns="seed")
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, seeds {SEEDS}\n"
    )
    names = list(dict.fromkeys(name for name, _ in table.columns))
    print("| method | column | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2))
    for (method, column), values in table.iterrows():
        cells = [f"{values[name, 'mean']:.3f} ± {values[name, 'std']:.3f}" for name in names]
        print(f"| {method} | {column} | " + " | ".join(cells).replace("nan ± nan", "–") + " |")
    print(f"\nreport: {write_page(group_runs(runs), out / 'report.html')}")


def _rows(results: object) -> pd.DataFrame:
    facts = [
        {
            "method": row.method,
            "column": row.column,
            "seed": results.seed,
            "median": row.normalised.q50,
            "maximum": row.normalised.q100,
            "unique": row.unique,
            "gap": row.gap,
            "coverage": row.coverage,
            "path KL": row.kl,
        }
        for row in results.rows
    ]
    return pd.DataFrame(facts).astype({"gap": float, "coverage": float, "path KL": float})


if __name__ == "__main__":
    main()
