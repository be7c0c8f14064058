"""Design tasks: measured landscapes and libraries, the user's own table, and a synthetic motif with a known optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from braid_core.errors import SpecError
from braid_core.registry.spec import TaskSpec
from braid_tasks.capped import CappedSpec
from braid_tasks.computed import DigitsSpec, EhrlichSpec, ManifoldSpec, RNABindingSpec
from braid_tasks.libraries import EnhancerSpec, HeldOutSpec, UTRSpec, YeastPromoterSpec

if TYPE_CHECKING:
    from braid_tasks.motif import Motif
    from braid_tasks.shine_dalgarno import ShineDalgarno
    from braid_tasks.table import Table
    from braid_tasks.tf_bind_8 import TFBind8

__all__ = [
    "CappedSpec",
    "DigitsSpec",
    "EhrlichSpec",
    "EnhancerSpec",
    "HeldOutSpec",
    "ManifoldSpec",
    "MotifSpec",
    "RNABindingSpec",
    "ShineDalgarnoSpec",
    "TFBind8Spec",
    "TableSpec",
    "UTRSpec",
    "YeastPromoterSpec",
]

ENUMERABLE = 1_000_000
"""The most designs that the motif task lists one by one."""


class TFBind8Spec(CappedSpec):
    """SIX6 binding of every 8-letter DNA, measured (Barrera et al. 2016); the truth is the complete table."""

    type: str = "tf-bind-8"
    cap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Reward quantile below which designs are offline. 0.5 is Design-Bench's bottom half; the quantile "
        "counts each measurement twice, as Design-Bench's 65,792 rows do.",
    )
    n: int | None = Field(
        None,
        ge=4,
        description="Size of a random subsample of the offline designs: n of them, or n - 1, because both strands of "
        "a molecule are drawn together. Without it all are used.",
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of noise added to the offline labels, in standard deviations of the offline "
        "rewards below the cap. Both strands share one draw. Methods are not told its size.",
    )
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set, which decides what the KL to the pretrained model means. 'all': each of the "
        "65,536 8-mers once, so the pretrained model is uniform and the KL is negative entropy. 'offline': every 8-mer "
        "below the cap (whatever n is), so the KL pulls towards poor binders: a prior that works against the task.",
    )

    def build(self, seed: int) -> TFBind8:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.tf_bind_8 import TFBind8

        return TFBind8(self, seed)


class ShineDalgarnoSpec(CappedSpec):
    """Translation from every 9-letter ribosome-binding region, measured but for 2 % (Kuo et al. 2020)."""

    type: str = "shine-dalgarno"
    cap: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Reward quantile at or below which designs are offline. Most of the landscape is a plain: up "
        "to 0.9 the offline rewards vary less than the stated error of their measurement, with little to learn from.",
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of noise added to the offline labels, in standard deviations of the offline "
        "rewards below the cap. The variance of the measurements that methods are given includes it.",
    )
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set, which decides what the KL to the pretrained model means. 'all': each of the "
        "257,565 measured 9-mers once, so the pretrained model is all but uniform and the KL all but negative entropy. "
        "'offline': every 9-mer below the cap (whatever n is), so the KL pulls away from the best: a prior that works "
        "against the task.",
    )

    def build(self, seed: int) -> ShineDalgarno:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.shine_dalgarno import ShineDalgarno

        return ShineDalgarno(self, seed)


class TableSpec(TaskSpec):
    """The user's own measured designs, from a file; there is no truth, so only predictions can be reported."""

    type: str = "table"
    path: str = Field(
        min_length=1,
        description="The file of measured designs: .csv, .csv.gz, .tsv or .tsv.gz, with a header. A relative path is "
        "relative to the current folder.",
    )
    sequence: str = Field(
        "sequence", description="The column that holds the designs, of one length if there is no pad."
    )
    score: str = Field("score", description="The column that holds the measured reward, a finite number in each row.")
    alphabet: str = Field("ACGT", min_length=2, description="The letters of a design, as the file writes them.")
    pad: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="A letter that fills shorter designs at their end, such as '-'; give it to allow unequal lengths. "
        "The longest measured design sets the length. It is added to the alphabet if it is not in it.",
    )
    maximise: bool = Field(True, description="Whether a larger score is better. If false, the score is negated.")
    variance: str | None = Field(
        None, description="The column with the variance of each measurement (the score's unit squared, positive)."
    )
    group: str | None = Field(
        None,
        description="The column that names what belongs together (repeats, allele pairs): a group is never split "
        "between training and validation. Repeats of one design always are one group.",
    )
    symmetries: tuple[Literal["reverse_complement"], ...] = Field(
        (), description="What makes two designs the same molecule; 'reverse_complement' for double-stranded DNA."
    )
    unlabelled: str | None = Field(
        None,
        description="A second file of valid designs without labels, to pretrain on: a table with the same sequence "
        "column, or a .txt with one design a line. Without it, the measured designs themselves.",
    )

    def build(self, seed: int) -> Table:
        """The task; nothing in it is random, so ``seed`` changes nothing."""
        del seed
        from braid_tasks.table import Table

        return Table(self)


class MotifSpec(TaskSpec):
    """A synthetic landscape, small enough to enumerate: letter weights and epistasis between neighbours."""

    type: str = "motif"
    alphabet: str = Field("ACGT", min_length=2, description="The letters of a design.")
    length: int = Field(6, ge=2, description="The number of letters in a design.")
    landscape_seed: int = Field(
        0, ge=0, description="Draws the landscape and the letter preference; the run's seed draws only the data."
    )
    epistasis: float = Field(
        0.5,
        ge=0,
        description="Standard deviation of the weights of neighbouring letter pairs; single letters' weights have "
        "standard deviation 1.",
    )
    n: int = Field(500, ge=2, description="The number of offline designs, drawn uniformly below the cap, all distinct.")
    cap: float = Field(0.5, gt=0, le=1, description="Quantile of all rewards below which offline designs are drawn.")
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of noise added to the offline labels, in standard deviations of the rewards "
        "below the cap. Methods are not told its size.",
    )
    preference: float = Field(
        1.0,
        ge=0,
        description="Strength of the letter preferences (logits, position by position) from which unlabelled designs "
        "are drawn, so that the pretrained model is not uniform. 0: each design once, a uniform pretraining set.",
    )
    unlabelled: int = Field(
        5000, ge=1, description="The number of unlabelled designs that are drawn when there is a preference."
    )

    @model_validator(mode="after")
    def _enumerable(self) -> MotifSpec:
        designs = len(self.alphabet) ** self.length
        if designs > ENUMERABLE:
            raise SpecError(
                f"the motif task cannot enumerate {designs:,} designs",
                where="task.length",
                why=f"{len(self.alphabet)} letters at {self.length} positions exceed {ENUMERABLE:,} designs",
                fix="give a smaller length or alphabet",
            )
        return self

    def build(self, seed: int) -> Motif:
        """The task; ``seed`` draws the offline designs, their noise and the unlabelled designs."""
        from braid_tasks.motif import Motif

        return Motif(self, seed)
