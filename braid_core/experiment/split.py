"""What methods learn from, and what their oracle is judged by: the offline table in two parts, kept with the run."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import pandas as pd

from braid_core.interfaces import LabelledDesigns, Space, Streams

OFFLINE = "offline.csv.gz"
"""The file in a run's folder."""


@dataclass(frozen=True)
class Split:
    """An offline table in two parts that share no group: the oracle learns from ``training`` and is judged by
    ``held_out``. Tuning and objectives that learn from the table itself have all of it."""

    training: LabelledDesigns
    held_out: LabelledDesigns

    @classmethod
    def of(cls, data: LabelledDesigns, share: float, streams: Streams) -> Split:
        """``share`` of ``data`` in ``held_out``; the same for all methods of a seed."""
        return cls(*data.split(share, streams.get("holdout")))

    def table(self, space: Space) -> pd.DataFrame:
        """Every offline design with its label and what else is known of it; ``held_out`` says on which side it is."""
        return pd.concat([_table(part, space, side) for part, side in ((self.training, False), (self.held_out, True))])

    def packed(self, space: Space) -> bytes:
        """:meth:`table` as compressed CSV, the same bytes for the same split."""
        return gzip.compress(self.table(space).to_csv(index=False, float_format="%.9g").encode(), mtime=0)


def _table(data: LabelledDesigns, space: Space, held_out: bool) -> pd.DataFrame:
    known = {"variance": data.variance, "group": data.group}
    columns = {name: column.tolist() for name, column in known.items() if column is not None}
    return pd.DataFrame({"design": space.decode(data.x), "y": data.y.tolist(), **columns, "held_out": held_out})
