"""Logos show how sure designs are of their letters, in bits worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.patches import PathPatch

from braid_core.report import group_runs, read_runs
from braid_core.report.figures.logo import heights, logo, turned

from .fabricate import edit

Make = Callable[..., Path]


def sequences(folder: Path, length: int = 8) -> Path:
    space = {"kind": "Tokens", "alphabet": "ACGT", "length": length, "symmetries": [], "pad": ""}
    edit(folder / "manifest.json", lambda manifest: manifest.update(space=space))
    return folder


def test_heights_by_hand() -> None:
    """All one letter: 2 bits; two letters, half each: 1 bit, half each; all four: nothing."""
    found = heights(["AAA", "ACC", "AAG", "ACT"], "ACGT", 3)
    assert found[0].tolist() == [2, 0, 0, 0]
    assert found[1].tolist() == [0.5, 0.5, 0, 0]
    assert found[2].tolist() == pytest.approx([0, 0, 0, 0])


def test_a_pad_is_no_letter() -> None:
    found = heights(["AC", "A-", "A"], "AC-", 2, "-")
    assert found.tolist() == [[1, 0], [0, 1]]  # of two letters; the second position is that of one design
    assert heights(["A-"], "AC-", 2, "-")[1].tolist() == [0, 0]


def test_two_strands_of_a_molecule_are_one() -> None:
    assert turned(["AACC", "GGTT", "AACC", "GGTT"], "ACGT") == ["AACC"] * 4
    assert turned(["AAAC", "GTTT", "GTTA"], "ACGT") == ["AAAC", "AAAC", "TAAC"]
    assert turned(["GUUU", "AAAC"], "ACGU") == ["GUUU", "GUUU"]


def test_a_row_for_each_method_and_for_the_pretrained_model(make: Make) -> None:
    group = group_runs(read_runs([sequences(make()), sequences(make(label="STRL"))])[0])[0]
    plot = logo(group)
    assert plot is not None
    assert [axes.get_title(loc="left") for axes in plot.figure.axes] == ["Pretrained", "STRL", "BRAID-bootstrap"]


def test_the_stacks_are_as_high_as_the_letters_are_sure(make: Make) -> None:
    folder = sequences(make())
    table = pd.read_csv(folder / "designs.csv")
    own = (table["method"] == "BRAID-bootstrap") & (table["column"] == "selected")
    table.loc[own, "design"] = "ACGTACGT"
    table.to_csv(folder / "designs.csv", index=False)
    plot = logo(group_runs(read_runs([folder])[0])[0])
    assert plot is not None
    letters = [patch for patch in plot.figure.axes[-1].patches if isinstance(patch, PathPatch)]
    assert len(letters) == 8
    for k, letter in enumerate(letters):
        box = letter.get_path().get_extents()
        assert (box.y0, box.y1) == pytest.approx((0, math.log2(4)))
        assert (box.x0 + box.x1) / 2 == pytest.approx(k + 1)


def test_there_is_none_of_what_is_long_or_no_sequence(make: Make) -> None:
    assert logo(group_runs(read_runs([sequences(make(), 101)])[0])[0]) is None
    images = make()
    edit(images / "manifest.json", lambda manifest: manifest.update(space={"kind": "Vectors", "size": 3}))
    assert logo(group_runs(read_runs([images])[0])[0]) is None
