"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from braid_core.errors import StoreError

TEMPORARY = ".*.tmp"
"""What the names of unfinished files and folders look like."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` in one step. Raises :class:`StoreError` where that cannot be done.

    A link stays a link, and what is no file, such as ``/dev/stdout``, is written to and not replaced.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with writing(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # what hindered the writing may hinder this too; the first error is the telling one
                temporary.unlink()
            raise


def make_folder(path: Path) -> None:
    """Create ``path`` and its parents, and check that files can be written there; raises :class:`StoreError`."""
    probe = path / f".probe.{os.getpid()}.tmp"
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises :class:`StoreError` where the block cannot write ``path``: no permission, no space, a file in the way."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}",
            why=error.strerror or str(error),
            fix="free some space or choose a folder that you may write to; finished stages are kept",
        ) from error
