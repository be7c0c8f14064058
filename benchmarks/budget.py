"""Does the controller hold its budget of path KL? Two methods with three oracles, on TF-Bind-8.

For each budget: alpha where it settles, the largest deviation of the KL (mean over ten logged batches of 128) from the
budget after a third of the steps, and the KL of 2,000 designs from the finished sampler.

    python benchmarks/budget.py [SEED]      # prints Markdown; about ten minutes on two cores
"""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from itertools import product

import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec
from braid_gp import GPSpec
from braid_rkhs import RKHSSpec
from braid_strl import StrlSpec
from braid_tasks import TFBind8Spec

from braid_core.interfaces import Log, Problem, Streams
from braid_core.registry.spec import OracleSpec

CPU, N, BUDGETS = torch.device("cpu"), 5_000, (0.5, 2.0, 4.0)
METHODS = {"braid": BraidSpec, "strl": StrlSpec}
ORACLES: dict[str, OracleSpec] = {"bootstrap": BootstrapSpec(), "gp": GPSpec(), "rkhs": RKHSSpec()}


class Kept(Log):
    """The figures of every logged step."""

    def __init__(self) -> None:
        self.figures: list[dict[str, float]] = []

    def step(self, done: int, total: int, **figures: float) -> None:
        if done > total / 3:
            self.figures.append(figures)


def main(seed: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    task, streams = TFBind8Spec(n=N).build(seed), Streams(seed)
    backbone, data = MaskedSpec().build(task.space, CPU), task.offline()
    backbone.fit(task.unlabelled(), streams.get("backbone"))
    print(f"torch {torch.__version__}, Python {platform.python_version()}, seed {seed}, {datetime.now(UTC):%F}\n")
    print("| method | oracle | budget | alpha | largest deviation of a batch | of ten batches | of the end |")
    print("|---|---|---|---|---|---|---|")
    for name, oracle_spec in ORACLES.items():
        oracle = oracle_spec.build(task.space, CPU)
        oracle.fit(data, streams.get("oracle"))
        for method, budget in product(METHODS, BUDGETS):
            log = Kept()
            spec = METHODS[method](kl_budget=budget, milestones=0)
            sampler = spec.build().fit(Problem(data, backbone, oracle, streams, log))
            kl = torch.tensor([figures["kl"] for figures in log.figures]) / budget - 1
            end = sampler.sample(2000, streams.get("look")).kl
            assert end is not None
            deviations = (float(kl.abs().max()), float(kl.unfold(0, 10, 1).mean(1).abs().max()))
            shown = [f"{d:.1%}" for d in (*deviations, float(end.sum(1).mean()) / budget - 1)]
            print(
                f"| {method} | {name} | {budget:g} | {log.figures[-1]['alpha']:.3f} | {' | '.join(shown)} |", flush=True
            )


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["0"])[0]))
