"""The options of measured libraries: a part of them is set aside for an evaluator (light: no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from braid_core.errors import SpecError
from braid_tasks.capped import CappedSpec

if TYPE_CHECKING:
    from braid_tasks.enhancer import Enhancer
    from braid_tasks.utr import UTR
    from braid_tasks.yeast_promoter import YeastPromoter

TARGETS = {
    "deepstarr": ("dev", "hk"),
    "lentimpra": ("activity",),
    "gosai": ("HepG2", "K562", "SKNSH"),
}
"""What each source of the enhancer task measured; the first is the default."""

# Fields and no base class: the order of a spec's fields is a part of what stored results are recognised by.
SHA256: Any = Field(
    None,
    pattern="^[0-9a-fA-F]{64}$",
    description="The sha256 of the file at path. Without it the first download of an address is trusted, and later "
    "ones must be the same.",
)


def _complete_table(what: str, without: str) -> Any:
    rule = "A relative path is relative to the current folder; an http or https address is downloaded once."
    return Field(None, min_length=1, description=f"{what} {rule} Without it, {without}")


class HeldOutSpec(CappedSpec):
    """What tasks share that set a part of a measured library aside for an evaluator."""

    cap: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Quantile of the rewards that were not set aside, at or below which designs are offline.",
    )
    held_out: float = Field(
        0.5,
        ge=0.05,
        le=0.95,
        description="Share of the measured designs that is set aside for an evaluator, whole families of near-copies "
        "together; methods see neither these designs nor their rewards.",
    )
    split_seed: int = Field(
        0,
        ge=0,
        description="Draws what is set aside, so that runs of all seeds are judged by the same evaluator; the run's "
        "seed draws only the subsample and the label noise.",
    )


class UTRSpec(HeldOutSpec):
    """Ribosome load of random 50-letter 5' UTRs in human cells (Sample et al. 2019)."""

    type: str = "utr"
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set. 'all': every UTR that was not set aside, without its label. 'offline': those "
        "below the cap (whatever n is). The library is random, so both are close to uniform letters and the KL to the "
        "pretrained model is close to negative entropy.",
    )

    path: str | None = _complete_table(
        "The complete table of the experiment, GSM3130440 of GEO, as .csv or .csv.gz with its columns utr and rl.",
        without="the 20,000 UTRs with the most reads, which are in this package.",
    )
    sha256: str | None = SHA256

    def build(self, seed: int) -> UTR:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.utr import UTR

        return UTR(self, seed)


class YeastPromoterSpec(HeldOutSpec):
    """Expression from 28,037 yeast promoters of 80 letters, in one of two media (Vaishnav et al. 2022)."""

    type: str = "yeast-promoter"
    medium: Literal["complex", "defined"] = Field(
        "complex", description="The growth medium, each a target of its own: complex (YPD) or defined (no uracil)."
    )
    origins: tuple[Literal["native", "random", "drift", "sswm"], ...] = Field(
        ("native", "random", "drift", "sswm"),
        min_length=1,
        description="Which promoters may be offline: natural ones, random ones, mutated ones (drift), and those "
        "designed with the authors' model (sswm), which hold most of the highest expression. What is set aside does "
        "not depend on it.",
    )
    n: int | None = Field(
        None,
        ge=200,
        description="Size of a random subsample of the offline designs; up to 51 fewer, because families are drawn "
        "whole. Without it all are used.",
    )
    unlabelled: Literal["native", "all", "offline"] = Field(
        "native",
        description="The pretraining set, which decides what the KL to the pretrained model means. 'native': the "
        "natural promoters that were not set aside; they are few, about 100 promoters with 18 close variants each. "
        "'all': every promoter of the chosen origins that was not set aside. 'offline': those of them below the cap.",
    )

    def build(self, seed: int) -> YeastPromoter:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.yeast_promoter import YeastPromoter

        return YeastPromoter(self, seed)


class EnhancerSpec(HeldOutSpec):
    """Activity of enhancers: fly (DeepSTARR), human (lentiMPRA), or the three cell lines of Gosai et al."""

    type: str = "enhancer"
    source: Literal["deepstarr", "lentimpra", "gosai"] = Field(
        "deepstarr",
        description="Whose measurements. 'deepstarr': 249 letters in fly S2 cells (de Almeida et al. 2022). "
        "'lentimpra': 200 letters between constant adapters in human cells (Agarwal et al. 2025). Of both, 3,000 are "
        "in this package. 'gosai': 200 letters in HepG2, K562 and SK-N-SH cells (Gosai et al. 2024), from path.",
    )
    target: Literal["dev", "hk", "activity", "HepG2", "K562", "SKNSH"] | None = Field(
        None,
        description="What is to be high. deepstarr: 'dev' (developmental core promoter, the default) or 'hk' "
        "(housekeeping); lentimpra: 'activity'; gosai: 'HepG2' (the default), 'K562' or 'SKNSH'.",
    )
    cap: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Quantile of the rewards that were not set aside, at or below which designs are offline.",
    )
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set. 'all': every sequence that was not set aside, without its label, so the KL "
        "pulls towards natural sequences. 'offline': those of them below the cap (whatever n is).",
    )
    path: str | None = _complete_table(
        "The complete table of the source, .csv with commas or .txt or .tsv with tabs, plain or .gz.",
        without="the sample in this package.",
    )
    sha256: str | None = SHA256
    sequence: str | None = Field(
        None, min_length=1, description="The file's column of sequences, if it is not called as in the published table."
    )
    score: str | None = Field(
        None,
        min_length=1,
        description="The file's column of the target, if it is not called as in the published table.",
    )
    error: str | None = Field(
        None,
        min_length=1,
        description="The file's column with the standard error of the target; only gosai's table is known to have one.",
    )
    most_error: float = Field(
        1.0, gt=0, description="Rows with a larger standard error are left out, where there is a column of it."
    )
    names: str | None = Field(
        None,
        min_length=1,
        description="The file's column of names, if it is not called as in the published table; names that end in _F "
        "and _Reversed are one sequence in two orientations.",
    )

    @property
    def measured(self) -> str:
        """The target with its default resolved."""
        return self.target or TARGETS[self.source][0]

    @model_validator(mode="after")
    def _possible(self) -> EnhancerSpec:
        if self.measured not in TARGETS[self.source]:
            raise SpecError(
                f"{self.source} did not measure {self.target!r}",
                where="task.target",
                fix=f"take one of {', '.join(map(repr, TARGETS[self.source]))}, or another source",
            )
        if self.path is None and self.source == "gosai":
            raise SpecError(
                "the table of Gosai et al. is not in this package",
                where="task.path",
                fix="give the path or the address of the file, Table_S2__MPRA_dataset.txt, or take another source",
            )
        return self

    def build(self, seed: int) -> Enhancer:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.enhancer import Enhancer

        return Enhancer(self, seed)
