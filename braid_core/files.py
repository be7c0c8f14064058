"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from braid_core.errors import StoreError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` in one step. Raises :class:`StoreError` where that cannot be done."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def make_folder(path: Path) -> None:
    """Create ``path`` and its parents, and check that files can be written there; raises :class:`StoreError`."""
    probe = path / f".probe.{os.getpid()}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StoreError:
    """What to say when ``path`` could not be written: no permission, no space, a file in the way."""
    return StoreError(
        f"cannot write {path}",
        why=error.strerror or str(error),
        fix="free some space or choose a folder that you may write to; finished stages are kept",
    )
