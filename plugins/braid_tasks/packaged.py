"""Reading the measurements that are shipped with this package: a damaged file is refused, not used."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO

import pandas as pd

from braid_core.errors import DataError


def data_file(folder: str, name: str) -> Traversable:
    """A file of this package's ``data``; its README beside it states source, licence and columns."""
    return files("braid_tasks") / "data" / folder / name


def read_columns(file: Traversable, sha256: str, what: str, columns: list[str]) -> pd.DataFrame:
    """``columns`` of a .csv.gz in the file's row order; raises :class:`DataError` unless its hash is ``sha256``."""
    fix = "install braid-design again"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{what} cannot be read", where=str(file), why=error.strerror or str(error), fix=fix) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{what} is damaged", where=str(file), why=f"its sha256 is {found}, not {sha256}", fix=fix)
    return pd.read_csv(BytesIO(gzip.decompress(content)), usecols=columns)
