"""The regime map: where does pessimism pay? A picture and tables from the cells of `braid bench benches/regimes.toml`.

    braid bench benches/regimes.toml --jobs 2 --out docs/benchmarks/regimes   # over an hour; continues where it stopped
    python benchmarks/regimes.py                                              # prints Markdown, draws regimes.svg

Differences are of the median true reward of the selected designs, BRAID less STRL with the same oracle and seed, at the
same path KL, in standard deviations of the offline rewards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from braid_core.experiment.compare import interval, signed_rank

PAGES = Path(__file__).parents[1] / "docs/benchmarks"
TABLE, PICTURE = PAGES / "regimes/results.csv", PAGES / "regimes.svg"
LABEL = re.compile(r"(?P<landscape>.+)-n(?P<n>\d+)-cap(?P<cap>\d+)-noise(?P<noise>\d)")
PAIRS = {"bootstrap": ("STRL-Boot", "BRAID-Boot"), "bonus": ("STRL-Bonus", "BRAID-Bonus")}
METHODS = [method for pair in PAIRS.values() for method in pair]
KEYS = ["landscape", "n", "cap", "noise"]
NAMES = {"tf-bind-8": "TF-Bind-8", "shine-dalgarno": "Shine–Dalgarno", "motif": "motif"}
SIZES, LABELS = (300, 1000, 5000), list(product((60, 95), (0, 1)))
ASKED, ENOUGH, WANTED = 128, 64, (0.85, 0.97)
"""Designs in a column; the fewest that are compared; and where the coverage of a promise of .9 should lie."""


def load(path: Path = TABLE) -> pd.DataFrame:
    """The selected designs of every finished cell: a row a regime, method and seed, in offline standard deviations."""
    rows = pd.read_csv(path).rename(columns={"n": "delivered"})
    rows = rows[rows["method"].isin(METHODS)]
    spent = rows[rows["column"] == "raw"].set_index(["task", "method", "seed"])["kl"].rename("spent")
    kept = rows[(rows["column"] == "selected") & rows["truth_q50"].notna()]
    table = kept.join(spent, on=["task", "method", "seed"]).copy()
    table["c"] = [scale(path.parent, *row) for row in zip(table["task"], table["method"], table["seed"], strict=True)]
    table[KEYS] = table["task"].str.extract(LABEL)
    table[KEYS[1:]] = table[KEYS[1:]].astype(int)
    unit = table["offline_std"]
    table["true"] = (table["truth_q50"] - table["offline_mean"]) / unit
    for name in ("gap", "slack", "pinball", "pinball_offset"):
        table[name] /= unit
    return table


def scale(folder: Path, task: str, method: str, seed: int) -> float:
    """The scale of the penalty that a cell was tuned with."""
    (path,) = (folder / "cells").glob(f"{task}--*--{method}--seed{seed}.json")
    return float(json.loads(path.read_text())["oracle"]["c"])


def paired(table: pd.DataFrame, oracle: str) -> pd.DataFrame:
    """BRAID less STRL, ``difference``, by regime and seed; where one of them collapsed there is nothing to compare."""
    full = table[table["delivered"] >= ENOUGH]
    strl, braid = (full[full["method"] == method] for method in PAIRS[oracle])
    found = braid.merge(strl, on=[*KEYS, "seed"], suffixes=("", "_strl"))
    return found.assign(difference=found["true"] - found["true_strl"])


def slices(pair: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The cells of ``pair``: all, along each axis of the map, by c, and by whether STRL predicts too much."""
    yield "all", pair
    for key, values in (("landscape", NAMES), ("n", SIZES), ("cap", (60, 95)), ("noise", (0, 1))):
        for value in values:
            yield f"{NAMES.get(str(value), f'{key} {value}')}", pair[pair[key] == value]
    yield "c up to ½", pair[pair["c"] <= 0.5]
    yield "c = 1", pair[pair["c"] == 1]
    yield "c of 2 and more", pair[pair["c"] >= 2]
    yield "predicted > true with STRL", pair[pair["gap_strl"] > 0]
    yield "predicted ≤ true with STRL", pair[pair["gap_strl"] <= 0]


def told(differences: pd.Series[float]) -> str:
    """Their mean with its 95 % interval, and how many are above 0."""
    low, high = interval(differences.to_numpy())
    if low is None or high is None:
        return "–"
    return (
        f"{differences.mean():+.2f} ({low:+.2f} to {high:+.2f}), {int((differences > 0).sum())} of {len(differences)}"
    )


def print_slices(table: pd.DataFrame) -> None:
    print(f"| cells | {' | '.join(f'{oracle}: BRAID − STRL, above 0' for oracle in PAIRS)} |")
    print("|---|" + "---|" * len(PAIRS))
    pairs = [paired(table, oracle) for oracle in PAIRS]
    for parts in zip(*map(slices, pairs), strict=True):
        print(f"| {parts[0][0]} | {' | '.join(told(part['difference']) for _, part in parts)} |")
    over = []
    for oracle, pair in zip(PAIRS, pairs, strict=True):
        means = pair.groupby(KEYS)["difference"].mean()
        below, p = int((means < 0).sum()), signed_rank(means.to_numpy())
        over.append(f"{oracle} median {means.median():+.2f}, {below} of {len(means)} below 0, signed-rank p = {p:.2g}")
    print(f"\nOver the means of regimes: {'; '.join(over)}.\n")


def print_promises(table: pd.DataFrame) -> None:
    """What is promised, and each method's own prediction less the best constant in hindsight; means of regimes."""
    heads = ("coverage: mean, least", "within .85–.97", "below", "slack", "pinball", "of its best constant")
    print(f"| method | cap, noise | {' | '.join(heads)} |\n|---|---|{'---|' * len(heads)}")
    for method, (cap, noise) in product(METHODS, LABELS):
        part = table[(table["method"] == method) & (table["cap"] == cap) & (table["noise"] == noise)]
        covered = part.groupby(KEYS)["coverage"].mean()
        cells = [
            f"{covered.mean():.2f}, {covered.min():.2f}",
            f"{covered.between(*WANTED).sum()} of {len(covered)}",
            str((covered < WANTED[0]).sum()),
            *(f"{part[name].mean():.2f}" for name in ("slack", "pinball", "pinball_offset")),
        ]
        print(f"| {method} | {cap} %, {noise} | {' | '.join(cells)} |")
    print()


def print_regimes(table: pd.DataFrame) -> None:
    """Every regime, as means over seeds."""
    heads = [*(f"{method}: true, gap, coverage" for method in METHODS), *(f"difference, {oracle}" for oracle in PAIRS)]
    print(f"| landscape | n | cap | noise | KL | {' | '.join(heads)} |\n|{'---|' * (5 + len(heads))}")
    apart = [paired(table, oracle).groupby(KEYS)["difference"] for oracle in PAIRS]
    means, spreads = [one.mean() for one in apart], [one.std() for one in apart]
    for key, part in table.groupby(KEYS, sort=False):
        cells = []
        for method in METHODS:
            own = part[part["method"] == method]
            short = f" ({own['delivered'].mean():.0f} designs)" if (own["delivered"] < ASKED).any() else ""
            cells.append(f"{own['true'].mean():.2f}, {own['gap'].mean():+.2f}, {own['coverage'].mean():.2f}{short}")
        for mean, spread in zip(means, spreads, strict=True):
            cells.append(f"{mean[key]:+.2f} ± {spread[key]:.2f}" if key in mean.index else "–")
        landscape, n, cap, noise = key
        print(f"| {NAMES[landscape]} | {n:,} | {cap} % | {noise} | {part['spent'].mean():.1f} | {' | '.join(cells)} |")


def draw(table: pd.DataFrame) -> None:
    """A square a regime: blue where BRAID is better than STRL, red where it is worse; a dot: STRL over-predicts."""
    size = (len(PAIRS), len(NAMES))
    picture, grid = plt.subplots(*size, figsize=(10, 5.4), layout="constrained", sharex=True, sharey=True)
    for (row, oracle), (column, landscape) in product(enumerate(PAIRS), enumerate(NAMES)):
        axes, values = grid[row, column], np.full((len(SIZES), len(LABELS)), np.nan)
        pair = paired(table, oracle)
        for (i, n), (j, (cap, noise)) in product(enumerate(SIZES), enumerate(LABELS)):
            part = pair[(pair[KEYS] == [landscape, n, cap, noise]).all(axis=1)]
            if len(part):
                values[i, j] = part["difference"].mean()
                dot = "• " if part["gap_strl"].mean() > 0 else ""
                text = f"{dot}{values[i, j]:+.2f}\n±{part['difference'].std():.2f}"
                axes.text(j, i, text, ha="center", va="center", fontsize=7.5)
        shown = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", alpha=0.85)
        axes.set_title(f"{NAMES[landscape]}, {oracle}", fontsize=9)
        axes.set_xticks(range(4), [f"{cap} %\n{'noisy' if noise else 'clean'}" for cap, noise in LABELS], fontsize=8)
        axes.set_yticks(range(3), [f"{n:,}" for n in SIZES], fontsize=8)
    picture.colorbar(shown, ax=grid, shrink=0.7, label="BRAID − STRL, offline standard deviations")
    picture.supylabel("labels", fontsize=9)
    picture.supxlabel(
        "rewards below this quantile are offline; labels without noise, or with one standard deviation", fontsize=9
    )
    picture.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """All of it."""
    table = load()
    print_slices(table)
    print_promises(table)
    print_regimes(table)
    draw(table)


if __name__ == "__main__":
    main()
