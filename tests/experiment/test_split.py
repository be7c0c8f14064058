"""The offline table in its two parts, as it is kept with a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from braid_core.experiment.run import run
from braid_core.experiment.split import OFFLINE, Split
from braid_core.interfaces import LabelledDesigns, Streams, Tokens

from .tiny import tiny

SPACE = Tokens("ACGT", 2)


def data() -> LabelledDesigns:
    designs = [a + b for a in "ACGT" for b in "ACGT"]
    group = torch.arange(16) // 4
    return LabelledDesigns(SPACE.encode(designs), torch.arange(16.0), torch.full((16,), 0.5), group)


def test_the_table_has_every_design_once_and_no_group_on_both_sides() -> None:
    split = Split.of(data(), 0.25, Streams(0))
    table = split.table(SPACE)
    assert sorted(table["design"]) == sorted(SPACE.decode(data().x))
    assert dict(zip(table["design"], table["y"], strict=True)) == dict(
        zip(SPACE.decode(data().x), range(16), strict=True)
    )
    assert set(table["variance"]) == {0.5}
    assert table["held_out"].sum() == 4
    assert table.groupby("group")["held_out"].nunique().max() == 1


def test_the_same_split_is_the_same_bytes() -> None:
    one, again, other = (Split.of(data(), 0.25, Streams(seed)).packed(SPACE) for seed in (0, 0, 3))
    assert one == again
    assert one != other


def test_a_run_keeps_its_split(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    table = pd.read_csv(folder / OFFLINE)
    task = tiny().task.build(0)
    known = dict(zip(task.space.decode(task.offline().x), task.offline().y.tolist(), strict=True))
    assert set(table["design"]) == set(known)
    assert list(table["y"]) == [float(f"{known[design]:.9g}") for design in table["design"]]
    split = Split.of(task.offline(), tiny().holdout, Streams(0))
    assert list(table.loc[table["held_out"], "design"]) == task.space.decode(split.held_out.x)
    assert len(split.held_out) == 6  # as the oracle's figures say
