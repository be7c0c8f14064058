"""The enhancer task: activity of natural sequences before a reporter gene, fly or human, in one of several targets."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from braid_core.interfaces import Tokens
from braid_tasks import EnhancerSpec
from braid_tasks.families import overlapping
from braid_tasks.features import word_counts
from braid_tasks.library import Library, LibraryTask
from braid_tasks.packaged import data_file, merged, numbers, read_columns, read_own

LETTERS = "ACGT"
ORIENTATION = r"_(?:F|Reversed)(?![A-Za-z]).*$"
"""How names of the lentiMPRA end, which are otherwise those of the sequence."""


@dataclass(frozen=True)
class Table:
    """Names of columns: of sequences, of targets, and, where there are any, of names and of standard errors."""

    sequence: str
    score: dict[str, str]
    names: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """Where measurements come from. ``adapters``: constant letters around the ``length`` free ones.

    ``packaged`` is the table in this package, if there is one, and ``published`` the complete one, as others read it.
    """

    length: int
    unit: str
    citation: str
    published: Table
    packaged: Table | None = None
    file: str = ""
    sha256: str = ""
    adapters: tuple[str, str] = ("", "")


SOURCES = {
    "deepstarr": Source(
        length=249,
        unit="log2 enrichment",
        citation="Data: de Almeida et al., Nat Genet 54, 613-624 (2022), doi:10.1038/s41588-022-01048-5, UMI-STARR-seq "
        "in Drosophila S2 cells",
        # Sequences_activity_all.txt, as the readers of the authors' tutorial name its columns
        published=Table("Sequence", {"dev": "Dev_log2_enrichment", "hk": "Hk_log2_enrichment"}),
        packaged=Table("sequence", {"dev": "dev_log2_enrichment", "hk": "hk_log2_enrichment"}),
        file="deepstarr_fly_s2_3000.csv.gz",
        sha256="e3f0dcfe4cb64d577f0e7199f09b76511f1cfdc4e0a881e7d1b8b83909fcef16",
    ),
    "lentimpra": Source(
        length=200,
        unit="log2 RNA/DNA",
        citation="Data: Agarwal et al., Nature (2025), doi:10.1038/s41586-024-08430-9, lentiMPRA in human cells",
        # the tables of autosome-ru/human_legnet, by the article's authors
        published=Table("seq", {"activity": "mean_value"}, "seq_id"),
        packaged=Table("sequence", {"activity": "log2_rna_dna"}, "seq_id"),
        file="lentimpra_human_3000.csv.gz",
        sha256="c33d2669ce2ff1d5cfa373dfd8a5c908aac87dbbd590f8948dfdc3f7775eea24",
        adapters=("AGGACCGGATCAACT", "CATTGCGTGAACCGA"),
    ),
    "gosai": Source(
        length=200,
        unit="log2 fold change",
        citation="Data: Gosai et al., Nature (2024), doi:10.1038/s41586-024-08070-z, MPRA in HepG2, K562 and SK-N-SH "
        "cells",
        # Table_S2__MPRA_dataset.txt, as sjgosai/boda2 reads it; its users leave out standard errors of 1 or more
        published=Table(
            "sequence", {cell: f"{cell}_log2FC" for cell in ("HepG2", "K562", "SKNSH")}, error="{target}_lfcSE"
        ),
    ),
}


def packaged(source: str) -> Traversable:
    """The sample of ``source`` that is shipped with this package."""
    return data_file("enhancer", SOURCES[source].file)


class Enhancer(LibraryTask):
    """Drive a reporter gene as much as possible in one kind of cell, or with one core promoter.

    Orientations are two designs, as they were measured, but one family; so are repeats, alleles and windows of the
    genome that overlap by 31 letters.
    """

    name = "enhancer"
    spec: EnhancerSpec

    def __init__(self, spec: EnhancerSpec, seed: int) -> None:
        self.source = SOURCES[spec.source]
        self.space = Tokens(LETTERS, self.source.length)
        self.unit = f"{self.source.unit} ({spec.measured})"
        super().__init__(spec, seed)

    @property
    def _table(self) -> Table:
        """The names of the columns, the user's own first."""
        spec = self.spec
        known = self.source.published if spec.path else self.source.packaged or self.source.published
        error = known.error.format(target=spec.measured) if known.error else None
        score = {spec.measured: spec.score or known.score[spec.measured]}
        return Table(spec.sequence or known.sequence, score, spec.names or known.names, spec.error or error)

    def _columns(self) -> tuple[pd.DataFrame, int]:
        """Free letters, target and name of each sequence, and the number of rows that were left out."""
        table, spec = self._table, self.spec
        score = table.score[spec.measured]
        columns = [name for name in (table.sequence, score, table.names, table.error) if name]
        if spec.path is None:
            self.sha256 = self.source.sha256
            frame = read_columns(packaged(spec.source), self.sha256, "the enhancer library", columns)
        else:
            frame, self.sha256 = read_own(spec.path, self._expected(spec.sha256), columns)
        where = spec.path or self.source.file
        frame[score] = numbers(frame, score, where)
        if table.error:
            frame.loc[~(numbers(frame, table.error, where) < spec.most_error), score] = np.nan
        before, behind = self.source.adapters
        frame[table.sequence] = (
            frame[table.sequence]
            .astype(str)
            .str.upper()
            .map(
                lambda text: (
                    text.removeprefix(before).removesuffix(behind)
                    if len(text) == len(before) + self.source.length + len(behind)
                    else text
                )
            )
        )
        return merged(frame, table.sequence, score, self.source.length, where)

    def _read(self) -> Library:
        table = self._table
        frame, self._left_out = self._columns()
        letters = _letters(frame[table.sequence].to_list(), self.source.length)
        y = torch.tensor(frame[table.score[self.spec.measured]].to_numpy(dtype="float64"))
        names: list[str] = []
        if table.names:
            given = frame[table.names].where(frame[table.names].notna(), frame.index.to_series())  # unnamed: one's own
            names = given.astype(str).str.replace(ORIENTATION, "", regex=True).to_list()
        every = torch.ones(len(y), dtype=torch.bool)
        return Library(letters, y, overlapping(letters, names), every, every if self.spec.unlabelled == "all" else None)

    def natural(self) -> Float[Tensor, "n l v"]:
        """What is set aside, read again from the file: all sources measured natural sequences."""
        library = self._read()
        return self.space.one_hot(library.letters[self._held_out(library)].long())

    @staticmethod
    def _features(letters: Integer[np.ndarray, "n l"]) -> tuple[np.ndarray, np.ndarray]:
        # Enhancers work in either orientation, so words of both strands count together.
        words = [word_counts(letters, k) + word_counts(3 - letters[:, ::-1], k) for k in (1, 2, 3, 4, 5)]
        return np.hstack(words[:4]), np.hstack(words)

    def _describe(self, library: Library, pretraining: Int[Tensor, " m"]) -> tuple[str, ...]:
        n, families = len(library.y), len(torch.unique(library.family))
        sample = (
            self.spec.path or "a random sample by way of the Random Promoter DREAM Challenge, too small to judge by"
        )
        left_out = f"; {self._left_out:,} rows left out" if self._left_out else ""
        which = "that were not set aside" if self.spec.unlabelled == "all" else "below the cap"
        return (
            f"{self.source.citation}: {n:,} sequences in {families:,} families, {sample}{left_out}.",
            self._split_note(),
            f"Pretraining set: the {len(pretraining):,} sequences {which}; the KL to the pretrained model pulls "
            "towards natural sequences.",
        )


def _letters(sequences: list[str], length: int) -> Integer[Tensor, "n l"]:
    """Indices of letters, one byte each: complete tables have hundreds of thousands of sequences."""
    content = np.frombuffer("".join(sequences).encode(), dtype=np.uint8)
    index = np.zeros(256, dtype=np.uint8)
    index[[ord(letter) for letter in LETTERS]] = range(len(LETTERS))
    return torch.from_numpy(index[content]).reshape(len(sequences), length)
