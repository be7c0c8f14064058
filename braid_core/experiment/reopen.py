"""A finished run as a generator to draw from: from its folder alone, without the store or the task's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import StoreError
from braid_core.experiment.calibration import with_scale
from braid_core.experiment.designs import best_first
from braid_core.experiment.manifest import pick_device, space_from_json
from braid_core.experiment.metrics import distinct
from braid_core.experiment.models import load_backbone, load_oracle, load_sampler
from braid_core.experiment.promise import Promise, promised
from braid_core.experiment.spec import RunSpec, parse_spec
from braid_core.experiment.store import read_state
from braid_core.interfaces import Objective, Oracle, Sampler, Space, Streams

ROUNDS = 10
BLOCK = 4096
"""The most designs drawn, or scored, at once: what that takes of memory does not grow with their number."""


@dataclass(frozen=True)
class FinishedRun:
    """The parts of a finished run that are needed to draw and score designs."""

    spec: RunSpec
    space: Space
    sampler: Sampler
    oracle: Oracle
    objective: Objective
    device: torch.device
    c: float
    promise: Promise | None

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        """``n`` distinct designs with their predictions, best score first; the same seed draws the same designs.

        Fewer than ``n`` where the generator has collapsed so far that ``ROUNDS`` times ``n`` draws hold no more.
        """
        generator = Streams(self.spec.seed).get(f"sample/{seed}", self.device)
        x = torch.empty(0, *self.space.event_shape, device=self.device)
        for _ in range(ROUNDS):
            drawn = torch.cat([self.sampler.designs(min(BLOCK, n - k), generator) for k in range(0, n, BLOCK)])
            x = torch.cat([x, drawn[self.space.contains(drawn)]])
            x = x[distinct(x, self.space)][:n]
            if len(x) == n:
                break
        parts = [self._facts(block) for block in torch.split(x, BLOCK)]
        facts = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        order = best_first(facts.pop("score"))
        columns = {name: values[order].tolist() for name, values in facts.items()}
        return pd.DataFrame({"design": self.space.decode(x[order]), **columns})

    def _facts(self, x: Float[Tensor, " b *event"]) -> dict[str, Float[Tensor, " b"]]:
        posterior = self.oracle.posterior(x)
        return {
            "score": self.objective.score(posterior),
            "predicted": posterior.mean,
            "std": posterior.std,
            "conservative": posterior.conservative(),
            "promised": promised(self.promise, posterior, self.c),
        }


def open_run(folder: Path | str, device: str = "auto") -> FinishedRun:
    """Reopen the run in ``folder``. Raises :class:`StoreError` for no run, an unfinished one or damaged weights."""
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        raise StoreError(
            f"{folder} is no run folder" if folder.is_dir() else f"there is no folder {folder}",
            why="it has no manifest.json" if folder.is_dir() else None,
            fix="give the run folder that `braid run` printed",
        )
    try:
        record = json.loads(path.read_text())
        spec, space = parse_spec(record["spec"], str(path)), space_from_json(record["space"])
        finished = bool(record["seconds"])  # written last; before, the checkpoints may be those of another spec
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if not finished:
        raise StoreError(f"the run in {folder} is not finished", fix="repeat its `braid run`: it continues")
    c, promise = _chosen(folder / "results.json")
    checkpoints = folder / "checkpoints"
    where = pick_device(device)
    backbone = load_backbone(spec, space, where, read_state(checkpoints / "backbone"))
    oracle = load_oracle(with_scale(spec.oracle, c), space, where, read_state(checkpoints / "oracle"))
    objective = spec.objective.build()
    sampler = load_sampler(objective, backbone, oracle, where, read_state(checkpoints / "objective"))
    return FinishedRun(spec, space, sampler, oracle, objective, where, c, promise)


def _chosen(path: Path) -> tuple[float, Promise | None]:
    """The scale that the sampler was tuned with, and what was promised of its designs."""
    try:
        facts = json.loads(path.read_text())["oracle"]
        return float(facts["c"]), Promise(**facts["promise"]) if facts["promise"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is damaged", why=repr(error), fix="make the run again with `braid run`")
