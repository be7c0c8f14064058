"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from braid_core.errors import StoreError

TEMPORARY = ".*.braid-*.tmp"
"""What the names of unfinished files and folders look like, and no other program's."""
FORBIDDEN, OCCUPIED = "choose a folder that you may write to", "choose another name: a file or folder is in the way"
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: FORBIDDEN,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: OCCUPIED,
    errno.EISDIR: OCCUPIED,
    errno.EEXIST: OCCUPIED,
}


def temporary_name(name: str) -> str:
    """A name that nobody else takes for what will be called ``name``.

    Not made of the process id: containers that share a folder have the same ones.
    """
    return f".{name[:50]}.braid-{uuid4().hex[:8]}.tmp"  # the system allows 255 bytes


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` in one step. Raises :class:`StoreError` where that cannot be done.

    A link stays a link, and what is no file, such as ``/dev/stdout``, is written to and not replaced.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    temporary = target.with_name(temporary_name(target.name))
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
    probe = path / f".braid-probe-{uuid4().hex[:8]}"  # not TEMPORARY: who clears up must not take it from under us
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises :class:`StoreError` where the block cannot write ``path``, with the remedy for the system's reason."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "see that the folder is there and can be written to")
        raise StoreError(
            f"cannot write {path}", why=error.strerror or str(error), fix=f"{remedy}; finished stages are kept"
        ) from error
