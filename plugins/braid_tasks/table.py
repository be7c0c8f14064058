"""The table task: designs that the user has measured, and nothing that could evaluate new ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.interfaces import LabelledDesigns, Task, Tokens
from braid_tasks import TableSpec
from braid_tasks.fingerprint import fingerprint
from braid_tasks.text_table import TextTable, read_table


class Table(Task):
    """Improve on the user's own designs. Raises :class:`DataError` for whatever is wrong in the files."""

    space: Tokens
    has_truth = False

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        table = read_table(spec.path)
        designs = table.designs(spec.sequence, spec.alphabet, pad=spec.pad or "")
        if len(set(designs)) < 2:
            raise DataError(
                f"the table has {len(set(designs))} different design(s)",
                where=spec.path,
                why="nothing can be learned from fewer than two",
                fix="add measured designs",
            )
        self.space = _space(spec, max(map(len, designs)))
        self.name = Path(spec.path).name.partition(".")[0]
        self.unit = spec.score if spec.maximise else f"−{spec.score}"
        self._offline = LabelledDesigns(
            self.space.encode(designs),
            _rewards(table, spec),
            None if spec.variance is None else table.numbers(spec.variance, positive=True),
            _groups(table, designs, spec),
        )
        self._contents = {"table": table.sha256}
        self._unlabelled = self._offline.x if spec.unlabelled is None else self._read_unlabelled(spec.unlabelled)
        self.notes = self._describe()

    def _read_unlabelled(self, path: str) -> Float[Tensor, " n *event"]:
        table = read_table(path, plain_column=self.spec.sequence)
        designs = table.designs(self.spec.sequence, self.spec.alphabet, self.space.length, self.space.pad)
        if not designs:
            raise DataError("there are no designs in the file", where=path, fix="add designs, one a line")
        self._contents["unlabelled"] = table.sha256
        return self.space.encode(designs)

    def _describe(self) -> tuple[str, ...]:
        spec = self.spec
        notes = [
            f"Data: {len(self._offline):,} measured designs from {spec.path}, column {spec.score!r}.",
            "There is no truth for this task: all rewards of new designs are predictions, until they are measured.",
            f"Pretraining set: {len(self._unlabelled):,} designs from {spec.unlabelled or 'the same table'}.",
        ]
        if spec.pad is not None:
            notes.append(
                f"Designs have up to {self.space.length} letters; the letter {spec.pad!r} fills shorter ones at their "
                "end, and counts as a letter in distances. One before a letter makes a design invalid."
            )
        if not spec.maximise:
            notes.insert(1, f"Smaller is better in {spec.score!r}: the reward is the negated score.")
        return tuple(notes)

    def offline(self) -> LabelledDesigns:
        return self._offline

    def unlabelled(self) -> Float[Tensor, " n *event"]:
        return self._unlabelled

    def fingerprint(self) -> str:
        """A hash of the files' contents and the options; the same file elsewhere has the same one."""
        options = self.spec.model_dump(mode="json", exclude={"type", "path", "unlabelled"})
        return fingerprint({**options, **self._contents})

    def valid(self, x: Float[Tensor, " b *event"]) -> Bool[Tensor, " b"]:
        return self.space.contains(x)

    def truth(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, " b"]:
        raise UnsupportedError(
            "new designs of a table have no true reward",
            where=f"task {self.name!r}",
            why="the table holds measurements of its own designs only",
            fix="look at the predictions, and measure the designs",
        )


def _space(spec: TableSpec, length: int) -> Tokens:
    if spec.pad is None:
        return Tokens(spec.alphabet, length, spec.symmetries)
    alphabet = spec.alphabet if spec.pad in spec.alphabet else spec.alphabet + spec.pad
    return Tokens(alphabet, length, spec.symmetries, spec.pad)


def _rewards(table: TextTable, spec: TableSpec) -> Float[Tensor, " n"]:
    scores = table.numbers(spec.score)
    if bool((scores == scores[0]).all()):
        raise DataError(
            f"all {len(scores)} rewards are the same",
            where=f"{spec.path}, column {spec.score!r}",
            why=f"each is {float(scores[0]):g} (in single precision)",
            fix="give a column whose values differ",
        )
    return scores if spec.maximise else -scores


def _groups(table: TextTable, designs: list[str], spec: TableSpec) -> Int[Tensor, " n"]:
    """One number for all rows that are linked by the same molecule or by the group column."""
    _, molecule = np.unique([_molecule(design, spec) for design in designs], return_inverse=True)
    if spec.group is None:
        return torch.from_numpy(molecule)
    cells = table.column(spec.group)
    empty = [row for row, cell in enumerate(cells) if not cell]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(cells)} rows have no group in column {spec.group!r}",
            where=table.where(empty),
            fix="give a design that belongs to no other a name of its own",
        )
    _, label = np.unique(cells, return_inverse=True)
    # Rows link molecules with labels; what hangs together in this graph is one group.
    nodes = int(molecule.max()) + 1 + int(label.max()) + 1
    ends = (molecule, label + int(molecule.max()) + 1)
    _, component = connected_components(coo_array((np.ones(len(cells)), ends), shape=(nodes, nodes)), directed=False)
    return torch.from_numpy(component[molecule]).long()


def _molecule(design: str, spec: TableSpec) -> str:
    """The same text for all forms of one molecule."""
    if not spec.symmetries:
        return design
    complement = design.translate(str.maketrans(spec.alphabet, spec.alphabet[::-1]))
    return min(design, complement[::-1])
