"""Sheets show the images of the designs, in their order, and which of them are not valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from braid_core.report import Group, group_runs, read_runs
from braid_core.report.candidates import candidates
from braid_core.report.figures import plots
from braid_core.report.figures.sheet import sheet

from .fabricate import edit

Make = Callable[..., Path]
SIZE = 4


def images(folder: Path, channels: int = 1) -> Group:
    """The group of a run whose designs are images: all pixels of the r-th design of a column are r/100 - 0.5."""
    table = pd.read_csv(folder / "designs.csv")
    pixels = channels * SIZE * SIZE
    table["design"] = [" ".join([f"{rank / 100 - 0.5:.9g}"] * pixels) for rank in table["rank"]]
    table["valid"] = [
        method != "Random" or rank > 3 for method, rank in zip(table["method"], table["rank"], strict=True)
    ]
    table.to_csv(folder / "designs.csv", index=False)
    space = {"kind": "Images", "channels": channels, "height": SIZE, "width": SIZE}
    edit(folder / "manifest.json", lambda manifest: manifest.update(space=space))
    return group_runs(read_runs([folder])[0])[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_for_each_method_and_column_in_the_order_of_rank(make: Make, channels: int) -> None:
    plot = sheet(images(make(n=30), channels))
    assert plot is not None
    titles = [axes.get_title(loc="left") for axes in plot.figure.axes]
    assert titles == [
        "Random: the first draws",
        "Pretrained: the first draws",
        "Pretrained: the best by its own score",
        "BRAID-bootstrap: the first draws",
        "BRAID-bootstrap: the best by its own score",
    ]
    for axes in plot.figure.axes:
        shown = [np.unique(image.get_array()) for image in axes.images]
        assert [value for values in shown for value in values] == pytest.approx(
            [(rank / 100 + 0.5) / 2 for rank in range(1, 25)]
        )


def test_what_is_not_valid_is_framed_and_counted(make: Make) -> None:
    plot = sheet(images(make(n=30)))
    assert plot is not None
    framed = [sum(isinstance(patch, Rectangle) for patch in axes.patches) for axes in plot.figure.axes]
    assert framed == [3, 0, 0, 0, 0]
    assert "Random 3 of 30, Pretrained 0 of 30, BRAID-bootstrap 0 of 30" in plot.caption


def test_pixels_beyond_black_and_white_are_shown_as_these(make: Make) -> None:
    folder = make(n=5)
    found = images(folder)
    table = pd.read_csv(folder / "designs.csv")
    table["design"] = " ".join(["-7", "7"] * 8)
    table.to_csv(folder / "designs.csv", index=False)
    plot = sheet(group_runs(read_runs([folder])[0])[0])
    assert found.methods
    assert plot is not None
    assert sorted(set(np.asarray(plot.figure.axes[0].images[0].get_array()).ravel().tolist())) == [0, 1]


def test_letters_have_no_sheet(make: Make) -> None:
    found = group_runs(read_runs([make()])[0])[0]
    assert sheet(found) is None
    assert "images" not in [plot.name for plot in plots(found)]


def test_candidates_name_an_image_and_do_not_spell_its_pixels(make: Make) -> None:
    tables = candidates(images(make(n=30)))
    at = [name for name, _ in tables[0].headings].index("design")
    assert {row[at] for row in tables[0].rows} == {"(image)"}
