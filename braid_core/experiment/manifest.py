"""What produced a run: the resolved spec, plugins, versions and hardware, so that it can be repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from braid_core.errors import SpecError, StoreError
from braid_core.experiment.spec import SPEC_VERSION, RunSpec
from braid_core.interfaces import Images, Space, Tokens, Vectors
from braid_core.registry.discovery import SHIPPED
from braid_core.registry.resolve import find

SPACES: dict[str, Callable[..., Space]] = {"Tokens": Tokens, "Vectors": Vectors, "Images": Images}
COMPUTING = ("interfaces", "nets", "tuning")
LIBRARIES = (SHIPPED, "torch", "numpy", "pydantic")
LEARNING = ("torch", SHIPPED, "numpy", "scipy", "scikit-learn", "gpytorch")
"""What oracles are made of, and judges."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution."""
    return {name: _version(name) for name in names}


_version = cache(version)  # each call reads a file, and a bench asks for every cell


def plugins_of(spec: RunSpec) -> dict[str, dict[str, str]]:
    """Type, distribution and version of each plugin that the spec names, by kind."""
    found = {}
    for kind in ("task", "backbone", "oracle", "objective"):
        plugin = find(kind, getattr(spec, kind).type)
        found[kind] = {"type": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    return found


@cache
def code_hash(*modules: str) -> str:
    """A hash of the source of these modules' top-level packages (of the core: what computes).

    A version alone would let an edited plugin reuse what its old code has learned.
    """
    digest = hashlib.sha256()
    for name in sorted({module.partition(".")[0] for module in modules}):
        file = sys.modules[name].__file__
        root = Path(file).parent if file else Path()
        parts = [root / part for part in COMPUTING] if name == "braid_core" else [root]
        for path in sorted(source for part in parts for source in part.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def source_hash(*names: str) -> str:
    """A hash of the source of these modules of the experiment."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"\0".join((folder / f"{name}.py").read_bytes() for name in names)).hexdigest()[:16]


def space_to_json(space: Space) -> dict[str, Any]:
    """The space as plain data, so that a run can be reopened without its task's files."""
    if type(space).__name__ not in SPACES or not dataclasses.is_dataclass(space):
        raise StoreError(f"designs of {type(space).__name__} cannot be stored", fix=f"use one of {', '.join(SPACES)}")
    return {"kind": type(space).__name__, **dataclasses.asdict(space)}


def space_from_json(data: Mapping[str, Any]) -> Space:
    """The inverse of :func:`space_to_json`."""
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "kind"}
    return SPACES[data["kind"]](**options)


def manifest(spec: RunSpec, space: Space, device: torch.device, command: str | None) -> dict[str, Any]:
    """The manifest of a run that is about to start; ``seconds`` per stage are added when it ends."""
    return {
        "name": spec.folder_name,
        "spec_version": SPEC_VERSION,
        "spec": spec.to_dict(),
        "space": space_to_json(space),
        "plugins": [{"kind": kind, **facts} for kind, facts in plugins_of(spec).items()],
        "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
        "hardware": hardware(device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seconds": {},
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """What is computed on."""
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def pick_device(name: str) -> torch.device:
    """The device that a spec names. Raises :class:`SpecError` where it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SpecError(f"device {name!r} is unknown", where="device", fix="use auto, cpu, cuda or cuda:N")
    # With its number, as tensors name it: "cuda" and "cuda:0" are not equal.
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise SpecError(
            f"device {name!r} is not there",
            where="device",
            why=f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices",
            fix='use device = "auto" or "cpu", or install a CUDA build of torch',
        )
    return device
