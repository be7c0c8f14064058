"""The yeast promoter task: expression from 80-letter promoters, natural, random and designed, in two media."""

from __future__ import annotations

from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from braid_core.interfaces import Tokens
from braid_tasks import YeastPromoterSpec
from braid_tasks.families import families
from braid_tasks.features import word_counts
from braid_tasks.library import Library, LibraryTask
from braid_tasks.packaged import data_file, read_columns

LETTERS, LENGTH = "ACGT", 80
SHA256 = "1403b2306ef12d25e48797b8fad497470464ebf88ab7c764ca932d067d74a17e"
NEAR = 12
"""Families are far apart: every number from 12 to 24 gives the same 7,752, and the nearest of two differ in 34."""
CITATION = (
    "Data: Vaishnav et al., Nature 603, 455-463 (2022), doi:10.1038/s41586-022-04506-6: the article's held-out sets, "
    "by way of 1edv/evolution (MIT)."
)
DESIGNED = "Origin sswm, among the offline designs, was designed by the authors' model: it is no random sample."
PRETRAINING = {
    "native": "Pretraining set: {:,} natural promoters in {:,} families, that is as many independent ones; the KL to "
    "the pretrained model pulls towards them.",
    "all": "Pretraining set: {:,} promoters in {:,} families, all of the chosen origins that were not set aside.",
    "offline": "Pretraining set: {:,} promoters in {:,} families, those below the cap.",
}


def packaged() -> Traversable:
    """The library that is shipped with this package."""
    return data_file("yeast_promoter", "evolution_test_sets.csv.gz")


class YeastPromoter(LibraryTask):
    """Express as much as possible from a promoter with 80 free letters, in one medium; promoters have a direction.

    Families (natural promoters with their variants, mutation trajectories) are found over both media, so that one
    ``split_seed`` sets the same promoters aside in both.
    """

    name = "yeast-promoter"
    sha256 = SHA256
    spec: YeastPromoterSpec

    def __init__(self, spec: YeastPromoterSpec, seed: int) -> None:
        self.space = Tokens(LETTERS, LENGTH)
        self.unit = f"expression in {spec.medium} medium (log-scale bin)"
        super().__init__(spec, seed)

    @property
    def _expression(self) -> str:
        return f"expression_{self.spec.medium}"

    def _columns(self) -> pd.DataFrame:
        columns = ["sequence", "origin", self._expression]
        return read_columns(packaged(), SHA256, "the yeast promoter library", columns)

    def _read(self) -> Library:
        frame = self._columns()
        letters = self.space.encode(frame["sequence"].to_list()).argmax(-1)
        y = torch.tensor(frame[self._expression].to_numpy(dtype="float64"))
        origin = frame["origin"].to_list()
        offered = _any_of(origin, self.spec.origins)
        pretraining = {"native": _any_of(origin, ("native",)), "all": offered, "offline": None}
        return Library(letters, y, families(letters, NEAR), offered, pretraining[self.spec.unlabelled])

    def natural(self) -> Float[Tensor, "n l v"]:
        """The natural promoters that are set aside, read again from the file."""
        library, native = self._read(), _any_of(self._columns()["origin"].to_list(), ("native",))
        return self.space.one_hot(library.letters[native & self._held_out(library)])

    @staticmethod
    def _features(letters: Integer[np.ndarray, "n l"]) -> tuple[np.ndarray, np.ndarray]:
        words = [word_counts(letters, k) for k in (1, 2, 3, 4, 5)]
        return np.hstack(words[:4]), np.hstack(words)

    def _describe(self, library: Library, pretraining: Int[Tensor, " m"]) -> tuple[str, ...]:
        counts = len(pretraining), len(torch.unique(library.family[pretraining]))
        designed = (DESIGNED,) if "sswm" in self.spec.origins else ()
        return CITATION, self._split_note(), *designed, PRETRAINING[self.spec.unlabelled].format(*counts)


def _any_of(origin: list[str], wanted: tuple[str, ...]) -> Bool[Tensor, " n"]:
    """Which rows have one of the ``wanted`` origins; eight have two, written ``random+sswm``."""
    return torch.tensor([not set(wanted).isdisjoint(name.split("+")) for name in origin])
