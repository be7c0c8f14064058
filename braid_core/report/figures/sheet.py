"""Sheets of designs that are images: a strip a method, to see what numbers do not say."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from braid_core.report.figures.canvas import WIDTH, Plot, canvas, folded
from braid_core.report.grouping import Group
from braid_core.report.theme import ACCENTS, INK, RC

ACROSS, DOWN = 12, 2
"""Images of a strip."""
FRAME = 0.06
"""Of an image's width, around it."""
INVALID = ACCENTS[4]
COLUMNS = {"raw": "the first draws", "selected": "the best by its own score"}

Strip = tuple[str, str, pd.DataFrame]


def sheet(group: Group) -> Plot | None:
    """The first designs of each method and column, if designs are images of one or three channels; else ``None``."""
    space = group.members[0].run.manifest.space
    if space.get("kind") != "Images" or space.get("channels") not in (1, 3):
        return None
    shape = (int(space["channels"]), int(space["height"]), int(space["width"]))
    designs = group.designs().sort_values(["rank", "seed"], kind="stable")
    strips = [
        (method, column, found.head(ACROSS * DOWN))
        for method in group.methods
        for column in COLUMNS
        if len(found := designs[(designs["method"] == method) & (designs["column"] == column)])
    ]
    if not strips:
        return None
    tile = WIDTH / ACROSS * shape[1] / shape[2]
    heights = [-(-len(rows) // ACROSS) * tile for _, _, rows in strips]
    with mpl.rc_context(RC):
        figure = canvas(sum(heights) + 0.3 * len(strips))
        grid = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights).ravel()
        for axes, strip in zip(grid, strips, strict=True):
            _draw(axes, strip, shape)
    return Plot(
        "images", figure, _caption(strips, designs), f"Images by {', '.join(dict.fromkeys(m for m, _, _ in strips))}"
    )


def _draw(axes: Axes, strip: Strip, shape: tuple[int, int, int]) -> None:
    """One strip; pixels from -1 to 1 are shown from black to white, and what is beyond as these."""
    method, column, rows = strip
    channels, height, width = shape
    for place, (design, valid) in enumerate(zip(rows["design"], rows["valid"], strict=True)):
        down, across = divmod(place, ACROSS)
        left, top = across * (1 + FRAME), down * (1 + FRAME) * height / width
        pixels = _pixels(str(design), shape)
        picture = np.repeat(pixels, 3, 2) if channels == 1 else pixels
        axes.imshow(picture, extent=(left, left + 1, top + height / width, top), interpolation="nearest")
        if not valid:
            axes.add_patch(Rectangle((left, top), 1, height / width, fill=False, edgecolor=INVALID, linewidth=1.5))
    axes.set_xlim(-FRAME, ACROSS * (1 + FRAME))
    axes.set_ylim(-(-len(rows) // ACROSS) * (1 + FRAME) * height / width, -FRAME)
    axes.set_title(f"{folded(method, 40)}: {COLUMNS[column]}", color=INK)
    axes.set_axis_off()


def _pixels(design: str, shape: tuple[int, int, int]) -> Float[np.ndarray, "h w c"]:
    """From the text form of a design, scaled to 0 … 1."""
    values = np.array(design.split(), dtype=float).reshape(shape)
    return np.clip((np.moveaxis(values, 0, 2) + 1) / 2, 0, 1)


def _caption(strips: list[Strip], designs: pd.DataFrame) -> str:
    invalid = (
        f"{method} {int((~rows['valid'].astype(bool)).sum())} of {len(rows)}"
        for method in dict.fromkeys(method for method, _, _ in strips)
        if len(rows := designs[(designs["method"] == method) & (designs["column"] == "raw")])
    )
    return f"Images as they were drawn; framed ones are not valid. Invalid among all raw draws: {', '.join(invalid)}."
