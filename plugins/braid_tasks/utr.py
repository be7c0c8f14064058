"""The UTR task: ribosome load of random 50-letter 5' UTRs."""

from __future__ import annotations

from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from braid_core.interfaces import Tokens
from braid_tasks import UTRSpec
from braid_tasks.families import families
from braid_tasks.features import composition, one_hot, upstream_starts, word_counts
from braid_tasks.library import Library, LibraryTask
from braid_tasks.packaged import data_file, merged, numbers, read_columns, read_own

LETTERS, LENGTH = "ACGT", 50
SHA256 = "7f33a761d6bcad848dbb071f8731bcc1b97db9ee19da22c5f340c834ac450f50"
NEAR = 4
"""Copies with errors differ in one letter here, all other UTRs in 18 or more: any number between gives the same."""
CITATION = (
    "Data: Sample et al., Nat Biotechnol 37, 803-809 (2019), doi:10.1038/s41587-019-0164-5, GEO GSM3130440, a random "
    "library (eGFP, N1-methylpseudouridine): {}."
)
PRETRAINING = {
    "all": "Pretraining set: the {:,} UTRs that were not set aside, without labels; a random library, so the KL to the "
    "pretrained model is close to negative entropy.",
    "offline": "Pretraining set: the {:,} UTRs below the cap; a random library without its best.",
}


def packaged() -> Traversable:
    """The library that is shipped with this package."""
    return data_file("utr", "egfp_m1pseudo_2_top20000.csv.gz")


class UTR(LibraryTask):
    """Load as many ribosomes as possible onto an mRNA, with the 50 letters before its start codon (RNA, with T)."""

    name = "utr"
    unit = "mean ribosome load"
    sha256 = SHA256
    spec: UTRSpec
    _dropped = 0

    def __init__(self, spec: UTRSpec, seed: int) -> None:
        self.space = Tokens(LETTERS, LENGTH)
        super().__init__(spec, seed)

    def _columns(self) -> pd.DataFrame:
        if self.spec.path is None:
            return read_columns(packaged(), SHA256, "the UTR library", ["utr", "rl"])
        frame, self.sha256 = read_own(self.spec.path, self._expected(self.spec.sha256), ["utr", "rl"])
        frame, self._dropped = merged(
            frame.assign(rl=numbers(frame, "rl", self.spec.path)), "utr", "rl", LENGTH, self.spec.path
        )
        return frame

    def _read(self) -> Library:
        frame = self._columns()
        letters = self.space.encode(frame["utr"].to_list()).argmax(-1)
        y = torch.tensor(frame["rl"].to_numpy(dtype="float64"))
        every = torch.ones(len(y), dtype=torch.bool)
        pretraining = every if self.spec.unlabelled == "all" else None
        return Library(letters, y, families(letters, NEAR), every, pretraining)

    def _describe(self, library: Library, pretraining: Int[Tensor, " m"]) -> tuple[str, ...]:
        source = CITATION.format(self._source(len(library.y)))
        return source, self._split_note(), PRETRAINING[self.spec.unlabelled].format(len(pretraining))

    def _source(self, rows: int) -> str:
        if self.spec.path is None:
            return "the 20,000 most deeply sequenced UTRs, not the complete experiment"
        left_out = f"; {self._dropped:,} rows without {LENGTH} letters or without a load left out" * bool(self._dropped)
        return f"{rows:,} UTRs from {self.spec.path}{left_out}"

    @staticmethod
    def _features(letters: Integer[np.ndarray, "n l"]) -> tuple[np.ndarray, np.ndarray]:
        words = [word_counts(letters, k) for k in (1, 2, 3)]
        ends = one_hot(letters[:, :6]), one_hot(letters[:, -9:])
        seen = np.hstack([*words, composition(letters, 5), upstream_starts(letters), *ends])
        return seen, seen
