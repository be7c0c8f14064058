"""Reading measurements: those shipped with this package, refused if damaged, and complete tables that the user has."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from braid_core.errors import DataError, nearest
from braid_tasks.download import local_file


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


def read_own(path: str, sha256: str | None, columns: list[str]) -> tuple[pd.DataFrame, str]:
    """``columns`` of the user's table, at a path or an address, and the sha256 of the file.

    A .csv has commas, any other ending means tabs. Raises :class:`DataError` for a file that cannot be had or read.
    """
    file = local_file(path, sha256)
    try:
        content = file.read_bytes()
        header = [str(name) for name in _parsed(file.name, content, nrows=0)]
        missing = [name for name in columns if name not in header]
        if missing:
            fix = f"{nearest(missing[0], header)}; the task's options name the columns"
            raise DataError(f"there is no column {missing[0]!r}", where=f"{path}, line 1", fix=fix)
        return _parsed(file.name, content, usecols=columns), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise DataError("the file cannot be read", where=path, why=error.strerror or str(error)) from error
    except (ValueError, EOFError, zlib.error) as error:  # pandas' errors of parsing, and of decoding, are ValueErrors
        raise DataError("the file cannot be read as a table", where=path, why=str(error).strip()) from error


def _parsed(name: str, content: bytes, **options: Any) -> pd.DataFrame:
    text = gzip.decompress(content) if name.endswith(".gz") else content
    separator = "," if name.removesuffix(".gz").endswith(".csv") else "\t"
    frame: pd.DataFrame = pd.read_csv(BytesIO(text), sep=separator, low_memory=False, **options)
    return frame


def numbers(frame: pd.DataFrame, column: str, where: str) -> Float[np.ndarray, " n"]:
    """A column as float64, NaN where a cell is empty. Raises :class:`DataError` where one holds something else."""
    try:
        return pd.to_numeric(frame[column]).to_numpy(dtype="float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"column {column!r} is not numbers", where=where, why=str(error)) from error


def merged(frame: pd.DataFrame, sequence: str, score: str, length: int, where: str) -> tuple[pd.DataFrame, int]:
    """Each sequence of ``length`` letters A, C, G, T once, with its mean score; and how many rows were left out.

    Rows stay in the order of the file; small letters are read as capital ones; a row without a score is left out.
    Raises :class:`DataError` if none is left.
    """
    text = frame[sequence].astype(str).str.upper()
    kept = text.str.fullmatch(f"[ACGT]{{{length}}}") & np.isfinite(frame[score])
    if not kept.any():
        what = f"none of {len(kept):,} rows has {length} letters and a value"
        raise DataError(what, where=where, fix="give the table of this source, or another source")
    once = frame.assign(**{sequence: text})[kept].groupby(sequence, sort=False, as_index=False)
    others = {name: "first" for name in frame.columns if name not in (sequence, score)}
    return once.agg({score: "mean", **others}), int((~kept).sum())
