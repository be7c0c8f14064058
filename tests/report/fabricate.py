"""Run folders made up for tests: the layout of finished runs, with figures that follow simple rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LEVELS = {"Random": 0.25, "Offline": 0.2, "Pretrained": 0.3, "Best-of-N": 0.45, "STRL": 0.5, "BRAID-bootstrap": 0.6}
QUANTILES = {"q0": 0, "q10": 0.1, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q100": 1}


@dataclass(frozen=True)
class Fake:
    """What a fabricated run is like; ``write`` puts it into a folder. Rewards lie in [0, 1], ``scale`` times a unit."""

    label: str = "BRAID-bootstrap"
    seed: int = 0
    task: str = "tf-bind-8"
    unit: str = "E-score"
    truth: bool = True
    scale: float = 0.5
    designs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ("Source: a made-up landscape.", "Pretraining set: all designs, unlabelled.")
    options: dict[str, Any] = field(default_factory=dict)
    oracle: dict[str, Any] = field(default_factory=lambda: {"type": "bootstrap", "members": 5})
    created: str = "2026-01-02T03:04:05+00:00"
    n: int = 64
    tuned: bool = True
    chosen: float | None = None

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        generator = np.random.default_rng([self.seed, len(self.label)])
        fixed = np.random.default_rng([self.seed, 99])
        tables, rows = [], []
        for method in ("Random", "Offline", "Pretrained", self.label):
            for column in ("raw", "selected") if method in ("Pretrained", self.label) else ("raw",):
                table = self._draw(method, column, generator if method == self.label else fixed)
                rows.append(self._row(method, column, table))
                tables += [table] if method != "Offline" else []
        pd.concat(tables).to_csv(folder / "designs.csv", index=False)
        history = [self._milestone(k, rows[-2]) for k in (1, 2, 3)] if self.tuned else []
        self._json(folder / "results.json", self._results(rows) | {"history": history})
        self._json(folder / "manifest.json", self._manifest())
        (folder / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in self._metrics()) + "\n")
        return folder

    def _draw(self, method: str, column: str, generator: np.random.Generator) -> pd.DataFrame:
        level = LEVELS.get(method, 0.5) + (0.06 if column == "selected" else 0)
        truth = np.clip(generator.normal(level, 0.15, self.n), 0, 1)
        optimism = {"STRL": 0.2, "BRAID-bootstrap": 0.03}.get(method, 0.0)
        predicted = truth + generator.normal(optimism, 0.06, self.n)
        letters = ["".join(generator.choice(list("ACGT"), 8)) for _ in range(self.n)]
        own = self.designs if method == self.label else ()
        table = pd.DataFrame({"method": method, "column": column, "rank": range(1, self.n + 1)})
        table["design"] = [*own, *letters][: self.n]
        table["predicted"], table["std"] = predicted * self.scale, 0.05 * self.scale
        table["conservative"], table["valid"] = (predicted - 0.08) * self.scale, True
        table["promised"] = (predicted - 0.1) * self.scale
        table["novelty"] = generator.uniform(0.1, 0.5, self.n)
        table["truth"] = truth * self.scale if self.truth else np.nan
        table["normalised"] = truth if self.truth else np.nan
        return table

    def _row(self, method: str, column: str, table: pd.DataFrame) -> dict[str, Any]:
        known = self.truth
        return {
            "method": method,
            "column": column,
            "n": self.n,
            "unique": 1.0 if column == "selected" else 0.97,
            "valid": 1.0,
            "shortfall": 0,
            "missing": 0,
            "truth": _stats(table["truth"]) if known else None,
            "normalised": _stats(table["normalised"]) if known else None,
            "predicted": _stats(table["predicted"]),
            "conservative": _stats(table["conservative"]),
            "gap": float((table["predicted"] - table["truth"]).mean()) if known else None,
            "promised": _stats(table["promised"]),
            "coverage": float((table["truth"] >= table["promised"]).mean()) if known else None,
            "novelty": float(table["novelty"].mean()),
            "diversity": 0.71,
            "kl": 4.2 if (method, column) == (self.label, "raw") else None,
        }

    def _milestone(self, k: int, last: dict[str, Any]) -> dict[str, Any]:
        """Half as far from the last row as the milestone before it, in whatever is known."""
        step, share = 100 * k, 0.5**k
        rewards = ("truth", "normalised", "predicted", "conservative")
        lower = {q: {name: y - share * 0.2 for name, y in last[q].items()} for q in rewards if last[q]}
        return {"step": step, **last, **lower, "kl": last["kl"] and (1 - share) * last["kl"]}

    def _regret(self) -> dict[str, Any]:
        laws = ["best 10% offline", *(f"{m}, {c}" for m in ("Pretrained", self.label) for c in ("raw", "selected"))]
        penalty = {law: (0.02 + 0.02 * k) * self.scale for k, law in enumerate(laws)}
        covered = {law: 1.5 + k for k, law in enumerate(laws)} if self.oracle["type"] == "rkhs" else {}
        return {"penalty": penalty, "offline": 0.03 * self.scale, "concentrability": covered}

    def _selection(self) -> dict[str, Any] | None:
        if self.chosen is None:
            return None
        rungs = []
        for k in range(5):
            rise = self.scale * (0.2 + 0.05 * k)
            rung = {"budget": 2.0**k, "kl": 0.9 * 2.0**k, "n": self.n, "predicted": rise, "conservative": rise - 0.02}
            rungs.append(rung | {"judged": self.scale * (0.3 + 0.05 * min(k, 2)), "error": 0.005})
        return {"rungs": rungs, "judge": 0.61, "chosen": self.chosen}

    def _results(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        offline = {"n": 32898, "mean": 0.2 * self.scale, "std": 0.1 * self.scale, "max": 0.439 * self.scale}
        task = {"name": self.task, "unit": self.unit, "has_truth": self.truth, "notes": self.notes, "offline": offline}
        held_out = {"rmse": 0.06 * self.scale, "spearman": 0.83, "coverage": 0.94, "n_held_out": 3290, "c": 1.0}
        facts = {"oracle": held_out, "kl": 4.2, "regret": self._regret(), "selection": self._selection()}
        return {"task": task, "label": self.label, "seed": self.seed, "rows": rows, **facts}

    def _manifest(self) -> dict[str, Any]:
        objective = {"type": self.label.split("-")[0].lower(), "alpha": 0.05, "steps": 400} | self.options
        spec = {
            "seed": self.seed,
            "device": "cpu",
            "task": {"type": self.task},
            "backbone": {"type": "masked", "width": 64},
            "oracle": self.oracle,
            "objective": objective,
        }
        plugin = {"kind": "oracle", "type": "bootstrap", "distribution": "braid-design", "version": "0.1.0"}
        return {
            "name": f"{self.label}-{self.seed}",
            "spec": spec,
            "space": {"kind": "Tokens", "length": 8, "alphabet": "ACGT"},
            "spec_version": 1,
            "plugins": [plugin],
            "versions": {"python": "3.11.7", "torch": "2.13.0", "braid-design": "0.1.0"},
            "hardware": {"processor": "x86_64, 2 cores", "accelerator": None},
            "created": self.created,
            "seconds": {"backbone": 312.4, "oracle": 44.1, "objective": 128.0, "designs": 3.2},
            "command": f"braid run {self.label.lower()}.toml --seed {self.seed}",
        }

    def _metrics(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = [{"stage": "backbone", "step": k, "total": 9, "loss": 1.0} for k in range(10)]
        generator = np.random.default_rng(self.seed)
        for step in range(10, 401, 10) if self.tuned else ():
            rise = 1 - np.exp(-step / 120)
            height = LEVELS.get(self.label, 0.5) - 0.25
            mean = self.scale * (0.3 + height * rise + generator.normal(0, 0.008))
            line = {"stage": "objective", "step": step, "total": 400, "mean": mean, "reward": mean, "grad_norm": 1.0}
            alpha = 0.05 if "kl_budget" not in self.options else 0.05 * (2 - rise)
            lines.append(line | {"conservative": mean - 0.08 * self.scale, "kl": 12 * height * rise, "alpha": alpha})
        return lines

    @staticmethod
    def _json(path: Path, value: object) -> None:
        path.write_text(json.dumps(value))


def _stats(values: pd.Series[float]) -> dict[str, float]:
    return {"mean": float(values.mean())} | {name: float(values.quantile(q)) for name, q in QUANTILES.items()}


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply ``change`` to the content of a JSON file, in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def set_row(folder: Path, method: str, column: str | None = None, **figures: Any) -> Path:
    """Change figures of ``method``'s rows, or of one of them; returns the folder."""

    def change(results: dict[str, Any]) -> None:
        for row in results["rows"]:
            if row["method"] == method and column in (None, row["column"]):
                row.update(figures)

    edit(folder / "results.json", change)
    return folder
