"""Finished stages on disk: found again by what determines them, trusted only if their hashes agree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy
from safetensors.torch import load_file, save

from braid_core.errors import StoreError
from braid_core.experiment.locks import alone
from braid_core.experiment.memory import watch_memory
from braid_core.files import TEMPORARY, make_folder, temporary_name, writing
from braid_core.interfaces import Log, State

TENSORS, METRICS, RECORD, SUMS = "state.safetensors", "metrics.jsonl", "stage.json", "SHA256SUMS"
LOCKS = ".locks"
WRITTEN = ("", "cells/", "runs/", "checkpoints/", "checkpoints/*/")
"""Where files are written in the folder of a bench or a run."""


class DamageWarning(UserWarning):
    """A stored stage is not what was written, and is computed again."""


@dataclass(frozen=True)
class Stage:
    """A finished stage: a folder with its state, its figures, a record of what made it, and the hashes of all three."""

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
    """All stages below ``root``, shared by the runs that are made there.

    What killed processes left unfinished, in ``root``, in the runs made there and in the folders of the bench or run
    ``beside`` it, is removed at the start, unless another process uses the store.
    """

    def __init__(self, root: Path, hooks: pluggy.PluginManager, *beside: Path) -> None:
        make_folder(root)
        self.root, self.hooks = root, hooks
        with writing(root):
            lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        weakref.finalize(self, os.close, lock)
        _enter(lock, root, beside)

    def stage(self, kind: str, inputs: Mapping[str, Any], compute: Callable[[Log], State]) -> Stage:
        """The stage of ``kind`` that ``inputs`` (JSON) determine: reused if it is there and sound, else computed.

        A stage becomes visible only when it is complete; what was interrupted leaves no trace. While one process
        computes a stage, others that need it wait.
        """
        key = hashlib.sha256(json.dumps([kind, inputs], sort_keys=True).encode()).hexdigest()[:16]
        folder = self.root / f"{kind}-{key}"
        if found := _sound(folder, key):
            return found
        with alone(self.root / LOCKS / folder.name):
            return _sound(folder, key) or self._make(kind, inputs, compute, folder, key)

    def _make(
        self, kind: str, inputs: Mapping[str, Any], compute: Callable[[Log], State], folder: Path, key: str
    ) -> Stage:
        temporary = self.root / temporary_name(folder.name)
        try:
            with writing(folder):
                temporary.mkdir()
            seconds = self._compute(kind, inputs, compute, temporary)
            with writing(folder):
                _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Stage(folder, key, seconds)

    def _compute(self, kind: str, inputs: Mapping[str, Any], compute: Callable[[Log], State], folder: Path) -> float:
        start, memory = time.perf_counter(), watch_memory()
        log = StageLog(kind, folder / METRICS, self.hooks)
        state = compute(log)
        seconds = time.perf_counter() - start
        record = {"kind": kind, "inputs": inputs, "seconds": seconds, "memory": memory(), "meta": state.meta}
        with writing(folder):
            # Not safetensors' own writing to a file, which does not say with an OSError that the disk is full; cloned,
            # because it refuses tensors that share memory.
            tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}
            (folder / TENSORS).write_bytes(save(tensors))
            (folder / RECORD).write_text(json.dumps(record, indent=2))
            (folder / SUMS).write_text(_sums(folder))
        return seconds


class StageLog(Log):
    """Writes a stage's figures to its ``metrics.jsonl`` and tells the hooks."""

    def __init__(self, stage: str, path: Path, hooks: pluggy.PluginManager) -> None:
        self.stage, self.path, self.hooks = stage, path, hooks
        with writing(path):
            path.touch()

    def step(self, done: int, total: int, **figures: float) -> None:
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"stage": self.stage, "step": done, "total": total, **figures}) + "\n")
        self.hooks.hook.braid_step_finished(stage=self.stage, done=done, total=total, figures=figures)


def file_hash(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sums(folder: Path) -> str:
    """The hashes of a stage's files, in the form that the program ``sha256sum`` writes and checks."""
    return "".join(f"{file_hash(folder / name)}  {name}\n" for name in (TENSORS, METRICS, RECORD))


def _verified(folder: Path) -> dict[str, Any]:
    """The record of a stage whose files are what was written; raises :class:`StoreError` otherwise."""
    fault = None
    try:
        expected, found = (folder / SUMS).read_bytes().splitlines(True), _sums(folder).encode().splitlines(True)
        wrong = [line.split()[1].decode() for line in found if line not in expected]
        if expected != found:
            fault = f"{wrong[0]} does not have the hash in {SUMS}" if wrong else f"{SUMS} is not what was written"
    except FileNotFoundError as error:
        fault = f"{Path(error.filename).name} is missing"
    except OSError as error:
        fault = str(error)
    if fault:
        raise StoreError(
            f"the stored stage {folder} is damaged", why=fault, fix="repeat `braid run`: it computes the stage again"
        )
    record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return record


def _sound(folder: Path, key: str) -> Stage | None:
    """The stage in ``folder``, if there is one; a damaged one is removed, with a warning."""
    if not folder.exists():
        return None
    try:
        return Stage(folder, key, float(_verified(folder)["seconds"]))
    except StoreError as error:
        warnings.warn(f"{error.what} ({error.why}): computing it again", DamageWarning, stacklevel=3)
        with writing(folder):
            _remove(folder)
        return None


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process has just finished the same stage: either will do
            raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _unfinished(root: Path, beside: Iterable[Path]) -> Iterator[Path]:
    """What users of the store may have left, only where everybody who writes holds its lock: other stores below the
    same folder have their own, and what else is there is none of BRAID's."""
    yield from root.glob(TEMPORARY)
    runs = {path.parent for path in root.parent.glob("*/*manifest.json*")}  # their first file, or its beginnings
    for folder in {*beside, *runs}:
        for inner in WRITTEN:
            yield from folder.glob(inner + TEMPORARY)


def _enter(lock: int, root: Path, beside: Iterable[Path]) -> None:
    """Share ``lock`` until its process ends, in whatever way; whoever comes first removes what is unfinished."""
    if sys.platform == "win32":
        return  # no such locks: what was abandoned stays
    import fcntl

    with suppress(OSError):  # another process holds it, or the file system has no locks: nothing is removed
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in set(_unfinished(root, beside)):
            _remove(path)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_SH)
