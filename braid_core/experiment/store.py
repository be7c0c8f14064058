"""Finished stages on disk: found again by what determines them, trusted only if their hashes agree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy
from safetensors.torch import load_file, save_file

from braid_core.errors import StoreError
from braid_core.files import make_folder, unwritable
from braid_core.interfaces import Log, State

TENSORS, METRICS, RECORD = "state.safetensors", "metrics.jsonl", "stage.json"


@dataclass(frozen=True)
class Stage:
    """A finished stage: a folder with its state, its figures and a record that holds their hashes."""

    folder: Path
    key: str
    seconds: float

    def state(self) -> State:
        """What was learned."""
        return read_state(self.folder)


def read_state(folder: Path) -> State:
    """The state of a stage stored in ``folder``. Raises :class:`StoreError` naming a damaged or missing file."""
    record = _verified(folder)
    return State(load_file(folder / TENSORS), record["meta"])


class Store:
    """All stages below one folder, shared by the runs that are made there."""

    def __init__(self, root: Path, hooks: pluggy.PluginManager) -> None:
        make_folder(root)
        self.root, self.hooks = root, hooks
        _remove_abandoned(root)

    def stage(self, kind: str, inputs: Mapping[str, Any], compute: Callable[[Log], State]) -> Stage:
        """The stage of ``kind`` that ``inputs`` (JSON) determine: reused if it is there and sound, else computed.

        A stage becomes visible only when it is complete; what was interrupted leaves no trace.
        """
        key = hashlib.sha256(json.dumps([kind, inputs], sort_keys=True).encode()).hexdigest()[:16]
        folder = self.root / f"{kind}-{key}"
        if folder.exists():
            try:
                return Stage(folder, key, float(_verified(folder)["seconds"]))
            except StoreError as error:
                warnings.warn(f"{error.what}; the stage {kind!r} is computed again", stacklevel=2)
                shutil.rmtree(folder)
        temporary = self.root / f".{folder.name}.{os.getpid()}.tmp"
        try:
            temporary.mkdir()
            seconds = self._compute(kind, inputs, compute, temporary)
            _publish(temporary, folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Stage(folder, key, seconds)

    def _compute(self, kind: str, inputs: Mapping[str, Any], compute: Callable[[Log], State], folder: Path) -> float:
        start = time.perf_counter()
        log = StageLog(kind, folder / METRICS, self.hooks)
        state = compute(log)
        seconds = time.perf_counter() - start
        save_file({name: tensor.cpu().contiguous() for name, tensor in state.tensors.items()}, folder / TENSORS)
        hashes = {name: file_hash(folder / name) for name in (TENSORS, METRICS)}
        record = {"kind": kind, "inputs": inputs, "seconds": seconds, "meta": state.meta, "sha256": hashes}
        (folder / RECORD).write_text(json.dumps(record, indent=2))
        return seconds


class StageLog(Log):
    """Writes a stage's figures to its ``metrics.jsonl`` and tells the hooks."""

    def __init__(self, stage: str, path: Path, hooks: pluggy.PluginManager) -> None:
        self.stage, self.path, self.hooks = stage, path, hooks
        path.touch()

    def step(self, done: int, total: int, **figures: float) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"stage": self.stage, "step": done, "total": total, **figures}) + "\n")
        self.hooks.hook.braid_step_finished(stage=self.stage, done=done, total=total, figures=figures)


def file_hash(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(folder: Path) -> dict[str, Any]:
    """The record of a stage whose files are what it says; raises :class:`StoreError` otherwise."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
        wrong = [name for name, expected in record["sha256"].items() if file_hash(folder / name) != expected]
        fault = f"{wrong[0]} is not what was written" if wrong else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fault = f"{RECORD} cannot be read: {error!r}" if not isinstance(error, OSError) else str(error)
    if fault:
        raise StoreError(
            f"the stored stage {folder} is damaged", why=fault, fix="repeat `braid run`: it computes the stage again"
        )
    return record


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has just finished the same stage: either will do
            raise


def _remove_abandoned(root: Path) -> None:
    """Delete the unfinished stages of processes that are gone (killed, or the machine stopped)."""
    for path in root.glob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
