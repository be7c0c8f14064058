"""A learned reward that knows how far to trust itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.errors import DataError
from braid_core.interfaces.log import Log, Silent
from braid_core.interfaces.space import Space
from braid_core.interfaces.state import Stateful


@dataclass(frozen=True)
class LabelledDesigns:
    """The static table of measured designs: all that a method may know of the reward.

    ``y`` in the task's own units, higher is better. ``variance`` is the measurement variance per design where
    known. Designs with one ``group`` number (both strands of a molecule, repeats, allele pairs) must stay on one
    side of every split. Raises :class:`DataError` for NaN or infinite numbers, variances that are not positive and
    unequal sizes; constant rewards are for those who learn from them to refuse.
    """

    x: Float[Tensor, " n *event"]
    y: Float[Tensor, " n"]
    variance: Float[Tensor, " n"] | None = None
    group: Int[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        columns = {"y": self.y, "variance": self.variance, "group": self.group}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.x):
                raise DataError(f"{len(self.x)} designs, but {len(column)} values", where=name)
        for name, column in {"rewards": self.y[:, None], "designs": self.x.flatten(1)}.items():
            if bool(column.sum().isfinite()):  # one pass, and then so is every number
                continue
            bad = (~column.isfinite().all(1)).nonzero().flatten()
            if len(bad):
                raise DataError(
                    f"{len(bad)} of {len(self.y)} {name} are NaN or infinite",
                    where=f"the first is design {int(bad[0]) + 1}",
                    fix="drop these rows or measure them again",
                )
        if self.variance is not None and not bool(((self.variance > 0) & self.variance.isfinite()).all()):
            raise DataError("a measurement variance is not a positive number", where="variance")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def std(self) -> float:
        """Standard deviation of the rewards."""
        return float(self.y.std())

    @property
    def unit(self) -> float:
        """The same as what alpha and scores are counted in. Raises :class:`DataError` where all rewards are equal."""
        if bool((self.y == self.y[0]).all()):  # their standard deviation need not round to 0
            raise DataError("all offline rewards are equal", why="no design is better", fix="check the score column")
        return self.std

    def take(self, index: Int[Tensor, " m"]) -> LabelledDesigns:
        """The rows in ``index``."""
        variance = None if self.variance is None else self.variance[index]
        group = None if self.group is None else self.group[index]
        return LabelledDesigns(self.x[index], self.y[index], variance, group)

    def to(self, device: torch.device) -> LabelledDesigns:
        """The same table on another device."""
        variance = None if self.variance is None else self.variance.to(device)
        group = None if self.group is None else self.group.to(device)
        return LabelledDesigns(self.x.to(device), self.y.to(device), variance, group)

    def split(self, share: float, generator: torch.Generator) -> tuple[LabelledDesigns, LabelledDesigns]:
        """Two parts, about ``share`` of the designs in the second, no group in both; at least one design each."""
        group = torch.arange(len(self)) if self.group is None else self.group.cpu()
        names, member = torch.unique(group, return_inverse=True)
        if len(names) < 2:
            raise DataError(
                "the table cannot be split for validation",
                why=f"its {len(self)} designs form {len(names)} group(s)",
                fix="give at least two designs that are not copies of each other",
            )
        order = torch.randperm(len(names), generator=generator, device=generator.device).cpu()
        held = torch.zeros(len(names), dtype=torch.bool)
        held[order[: min(max(1, round(share * len(names))), len(names) - 1)]] = True
        second = held[member].to(self.y.device)
        return self.take((~second).nonzero().flatten()), self.take(second.nonzero().flatten())

    def merged(self, space: Space) -> tuple[LabelledDesigns, Int[Tensor, " m"]]:
        """The table as a learner reads it: one row for each design, and how many measurements it stands for.

        Copies, and forms that ``space`` calls the same design, are averaged, the more precise ones counting more;
        the variance of an average of measurements with variances vᵢ is 1/Σ 1/vᵢ. Raises :class:`DataError` where
        nothing can be learned: fewer than two different designs, or rewards that are all equal.
        """
        forms = space.orbit(self.x).flatten(2)
        name = _names(forms.flatten(0, 1)).view(len(forms), -1).amin(0)
        _, row, count = torch.unique(name, return_inverse=True, return_counts=True)
        merged = self if len(count) == len(self) else self._averaged(row, len(count))
        merged._refuse_if_uninformative()
        return merged, torch.ones_like(row) if merged is self else count

    def _averaged(self, row: Int[Tensor, " n"], m: int) -> LabelledDesigns:
        first = torch.full((m,), len(row), device=row.device).scatter_reduce(
            0, row, torch.arange(len(row)).to(row), "amin"
        )
        weight = torch.ones_like(self.y) if self.variance is None else 1 / self.variance
        total = weight.new_zeros(m).index_add(0, row, weight)
        y = weight.new_zeros(m).index_add(0, row, weight * self.y) / total
        return replace(self.take(first), y=y, variance=None if self.variance is None else 1 / total)

    def _refuse_if_uninformative(self) -> None:
        if len(self) < 2:
            raise DataError(
                f"nothing can be learned from {len(self)} design(s)",
                why="copies, and forms that the space calls the same, count as one; a run holds a part of them out",
                fix="measure more different designs",
            )
        # averages of equal numbers may differ by rounding
        if float(self.y.max() - self.y.min()) <= 4 * torch.finfo(self.y.dtype).eps * float(self.y.abs().max()):
            raise DataError("all rewards are equal", why="there is nothing to learn from them", fix="check the table")


def _names(rows: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """A number for each row, the same for equal ones; told apart by bytes, in a quarter of ``torch.unique``'s time."""
    values = (rows + 0.0).cpu()  # −0 becomes 0
    memory, size = values.numpy().tobytes(), values.element_size() * values.shape[1]
    first: dict[bytes, int] = {}
    names = [first.setdefault(memory[i : i + size], len(first)) for i in range(0, len(memory), size)]
    return torch.tensor(names, device=rows.device)


class Posterior(ABC):
    """What the oracle believes of a batch of designs, in the task's units; optimisers look at nothing else."""

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, " b"]:
        """r̂: the expected reward."""

    @property
    @abstractmethod
    def std(self) -> Float[Tensor, " b"]:
        """The spread of the belief, as one standard deviation."""

    @abstractmethod
    def conservative(self) -> Float[Tensor, " b"]:
        """r̂ − ĝ: the reward that can be counted on; how conservative, the oracle's spec says."""

    def penalty(self) -> Float[Tensor, " b"]:
        """ĝ ≥ 0."""
        return self.mean - self.conservative()

    @property
    def noise(self) -> Float[Tensor, " b"] | None:
        """The variance of one measurement around the belief, where the oracle models it."""
        return None

    @property
    def features(self) -> Float[Tensor, "b d"] | None:
        """φ, where ĝ is that of an RKHS: c·√(φᵀ(Σᵢ φᵢφᵢᵀ + λI)⁻¹φ)."""
        return None


class Oracle(Stateful):
    """A reward model fitted to the offline table."""

    space: Space

    @abstractmethod
    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """Learn from the offline table; called once, in the oracle stage."""

    @abstractmethod
    def posterior(self, x: Float[Tensor, " b *event"]) -> Posterior:
        """The belief about ``x``, differentiable in ``x``, also between the corners of the simplex."""
