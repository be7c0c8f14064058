"""Reading a user's file of designs: every mistake in it is named with its line and its remedy."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.errors import DataError, nearest

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PLAIN = ".txt"


@dataclass(frozen=True)
class TextTable:
    """A file as text: cells by column, and the line of the file that each row stands on (the header is line 1)."""

    path: str
    sha256: str
    lines: list[int]
    columns: dict[str, list[str]]

    def column(self, name: str) -> list[str]:
        """The cells of one column; raises :class:`DataError` with the nearest name where there is none."""
        if name in self.columns:
            return self.columns[name]
        only = next(iter(self.columns))
        other = next((mark for mark in (";", "\t", ",") if mark in only), None)
        fix = nearest(name, self.columns)
        if len(self.columns) == 1 and other:
            fix = f"the header has {other!r} in it: save the file with commas as .csv, or with tabs as .tsv"
        raise DataError(
            f"there is no column {name!r}", where=f"{self.path}, line 1", why="this line is read as the header", fix=fix
        )

    def numbers(self, name: str, *, positive: bool = False) -> Float[Tensor, " n"]:
        """One column as finite numbers (float32); raises :class:`DataError` that lists the lines that are not."""
        cells = self.column(name)
        parsed = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
        values = torch.from_numpy(parsed.to_numpy(dtype="float64", copy=True)).float()
        bad = (~values.isfinite() | (values <= 0) if positive else ~values.isfinite()).nonzero().flatten().tolist()
        if bad:
            wanted = "positive finite numbers" if positive else "finite numbers"
            raise DataError(
                f"{len(bad)} of {len(cells)} values in column {name!r} are not {wanted}",
                where=self.where(bad),
                why=f"the first is {cells[bad[0]]!r}",
                fix="correct these rows or drop them; decimals need a point",
            )
        return values

    def designs(self, name: str, alphabet: str, length: int | None = None, pad: str = "") -> list[str]:
        """One column as designs over ``alphabet``, of one length or, with a ``pad``, of any up to the longest.

        ``length``, if given, is that of the measured designs. Pads at the end are taken off, so that a design has one
        spelling. Raises :class:`DataError`.
        """
        cells = self.column(name)
        if pad:
            cells = [cell.rstrip(pad) for cell in cells]
        empty = [row for row, cell in enumerate(cells) if not cell]
        if empty:
            raise DataError(
                f"{len(empty)} of {len(cells)} rows have no design in column {name!r}",
                where=self.where(empty),
                fix="fill these cells or drop the rows",
            )
        if pad:
            self._check_gaps(cells, pad)
            self._check_longest(cells, length)
        else:
            self._check_lengths(cells, length)
        self._check_letters(cells, alphabet)
        return cells

    def _check_gaps(self, cells: list[str], pad: str) -> None:
        gaps = [row for row, cell in enumerate(cells) if pad in cell]
        if gaps:
            raise DataError(
                f"{len(gaps)} of {len(cells)} designs have the pad {pad!r} before a letter",
                where=self.where(gaps),
                why=f"the first is {cells[gaps[0]]!r}; a pad may fill a design at its end only",
                fix="take the gaps out, or leave the pad out if it is a letter of aligned designs",
            )

    def _check_longest(self, cells: list[str], length: int | None) -> None:
        long = [row for row, cell in enumerate(cells) if length is not None and len(cell) > length]
        if long:
            raise DataError(
                f"{len(long)} of {len(cells)} designs are longer than the longest measured one, which has {length} "
                "letters",
                where=self.where(long),
                fix="drop these rows: nothing was measured that is as long",
            )

    def _check_lengths(self, cells: list[str], length: int | None) -> None:
        common = Counter(map(len, cells)).most_common(2)
        wanted = length or (common[0][0] if common else 0)
        odd = next((row for row, cell in enumerate(cells) if len(cell) != wanted), None)
        if odd is None:
            return
        counts = " and ".join(f"{count} of length {size}" for size, count in common)
        raise DataError(
            f"the designs are not all {length} letters long, as the measured ones are"
            if length
            else "the designs have unequal lengths",
            where=self.where([odd]),
            why=f"{cells[odd]!r} has {len(cells[odd])} letters; most frequent in the file: {counts}",
            fix="keep designs of one length, or allow unequal ones with a letter that fills the shorter: pad = '-'",
        )

    def _check_letters(self, cells: list[str], alphabet: str) -> None:
        strange = set().union(*cells) - set(alphabet)
        if not strange:
            return
        bad = [row for row, cell in enumerate(cells) if not strange.isdisjoint(cell)]
        first = cells[bad[0]]
        place, letter = next((i, letter) for i, letter in enumerate(first) if letter in strange)
        raise DataError(
            f"letter {letter!r} is not in the alphabet {alphabet!r}",
            where=self.where(bad),
            why=f"position {place + 1} of {first!r}",
            fix=_letter_remedy(strange, alphabet),
        )

    def where(self, rows: Sequence[int]) -> str:
        """The file and the lines of ``rows``, the first few of them by number."""
        shown = ", ".join(str(self.lines[row]) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{self.path}, line{'s' if len(rows) > 1 else ''} {shown}{more}"


def _letter_remedy(strange: set[str], alphabet: str) -> str:
    if {letter.upper() for letter in strange} <= set(alphabet):
        return f"write the designs in capital letters, or give alphabet = {alphabet.lower()!r} if all are small"
    if {letter.lower() for letter in strange} <= set(alphabet):
        return f"give alphabet = {alphabet.upper()!r}"
    if strange == {"U"} and "T" in alphabet:
        return f"this is RNA: give alphabet = {alphabet.replace('T', 'U')!r}, or write T for U"
    return "correct the designs, drop the rows, or extend the alphabet"


def read_table(path: str, *, plain_column: str | None = None) -> TextTable:
    """Read a table with a header (.csv, .tsv, each also .gz).

    With ``plain_column``, a .txt with one design a line is read too, as a table with this one column. Raises
    :class:`DataError` for a file that is missing, empty, of another kind or not a table.
    """
    file = Path(path).expanduser()
    kind = Path(file.name.lower().removesuffix(".gz")).suffix
    known = [*SEPARATORS, *([PLAIN] if plain_column else [])]
    if kind not in known:
        raise DataError(
            f"a {kind} file cannot be read as a table"
            if kind
            else "a file without an ending cannot be read as a table",
            where=path,
            fix=f"save it as one of {', '.join(known)}, plain or .gz",
        )
    content = _read_bytes(file, path)
    text = _decode(content, file, path)
    if not text.strip():
        raise DataError("the file is empty", where=path, fix="give a header line and one line a design")
    if kind == PLAIN and plain_column:
        rows = [[plain_column], *([line] for line in text.splitlines())]
        if rows[1] == rows[0]:
            rows[1] = [""]
        return _table(path, content, rows, first_line=0)
    return _table(path, content, _cells(text, SEPARATORS[kind], path))


def _read_bytes(file: Path, path: str) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(
            "there is no such file",
            where=path,
            why=f"looked for {file.absolute()}",
            fix=f"in its folder, {nearest(file.name, beside)}" if beside else "its folder does not exist or is empty",
        ) from error
    except OSError as error:
        raise DataError("the file cannot be opened", where=path, why=error.strerror or str(error)) from error


def _decode(content: bytes, file: Path, path: str) -> str:
    if file.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                "the file cannot be unpacked", where=path, why=str(error), fix="compress it again with gzip"
            ) from error
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a byte-order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the file is not text",
            where=f"{path}, line {line}",
            why=f"byte {error.start + 1} is not UTF-8",
            fix="export the table as CSV in UTF-8",
        ) from error


def _cells(text: str, separator: str, path: str) -> list[list[str]]:
    """All cells as text, the header as row 0; blank lines stay, so that row k is line k + 1."""
    if not text.partition("\n")[0].strip():
        raise DataError("the first line is blank", where=f"{path}, line 1", fix="start the file with the header")
    try:
        # Names are read as an ordinary row: pandas would rename duplicates and turn a long first row into an index.
        frame = pd.read_csv(
            StringIO(text), sep=separator, header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except pd.errors.ParserError as error:
        found = re.search(r"(line|row) (\d+)", str(error))
        line = "" if found is None else f", line {int(found[2]) + (found[1] == 'row')}"
        raise DataError(
            "the file cannot be read as a table",
            where=path + line,
            why=str(error).strip(),
            fix="give every line the columns of the header, and close every quotation mark",
        ) from error
    return [[cell.strip() for cell in row] for row in frame.fillna("").to_numpy().tolist()]


def _table(path: str, content: bytes, rows: list[list[str]], first_line: int = 1) -> TextTable:
    header = rows[0]
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise DataError(
            f"the column {repeated[0]!r} stands twice in the header",
            where=f"{path}, line 1",
            fix="rename or drop one of them",
        )
    kept = [(first_line + k, row) for k, row in enumerate(rows) if k > 0 and any(row)]
    columns = {name: [row[i] for _, row in kept] for i, name in enumerate(header)}
    return TextTable(path, hashlib.sha256(content).hexdigest(), [line for line, _ in kept], columns)
