"""Sequence logos (Schneider & Stephens 1990): at each position, how sure a method's designs are of their letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from braid_core.report.figures.canvas import Plot, canvas, folded
from braid_core.report.grouping import Group
from braid_core.report.theme import ACCENTS, INK, RC

LONGEST = 100
"""Letters of the longest designs whose logo can be read."""
ROW = 0.75
"""Inches of a method."""
NUCLEOTIDES = {"A": ACCENTS[2], "C": ACCENTS[0], "G": ACCENTS[1], "T": ACCENTS[4], "U": ACCENTS[4]}
"""The usual green, blue, orange and red."""
LEAST = 0.01
"""Bits; smaller letters are left out."""


def logo(group: Group) -> Plot | None:
    """A row for Pretrained and for each method, of the designs that it is judged by; ``None`` for designs that are no
    short sequences, or of which none are here."""
    space, designs = group.members[0].run.manifest.space, group.designs()
    if space.get("kind") != "Tokens" or not 0 < int(space.get("length", 0)) <= LONGEST:
        return None
    alphabet, pad, strands = str(space["alphabet"]), str(space.get("pad") or ""), bool(space.get("symmetries"))
    bits: dict[str, Float[np.ndarray, "l v"]] = {}
    for method in (m for m in group.methods if m.startswith("Pretrained") or m in group.own):
        own = designs[(designs["method"] == method) & (designs["column"] == group.column_of(method))]
        texts = [str(design) for design in own["design"]]
        if texts:
            bits[method] = heights(turned(texts, alphabet) if strands else texts, alphabet, int(space["length"]), pad)
    if not bits:
        return None
    most = max(float(height.sum(1).max()) for height in bits.values()) or 1.0
    with mpl.rc_context(RC):
        figure = canvas(ROW * len(bits) + 0.4)
        grid = figure.subplots(len(bits), 1, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, (method, height) in zip(grid, bits.items(), strict=True):
            _draw(axes, height, alphabet.replace(pad, "") if pad else alphabet)
            axes.set_title(folded(method, 40), color=INK)
            axes.set_ylabel("bits")
        grid[-1].set_xlim(0.4, len(height) + 0.6)
        grid[-1].set_ylim(0, 1.02 * most)
        grid[-1].locator_params(axis="y", nbins=3)
        grid[-1].set_xlabel("position")
    caption = (
        "The letters of the designs that each method is judged by. A stack is as high as its position is certain, in "
        "bits (all letters equally often: 0), and letters share it as they occur. Where all methods agree with "
        "Pretrained, the pretraining set speaks; where the stacks are full, designs have become alike."
    ) + (" Of each molecule the strand is shown that is more like the others." if strands else "")
    return Plot("logo", figure, caption, f"Sequence logos of {', '.join(bits)}")


def heights(designs: list[str], alphabet: str, length: int, pad: str = "") -> Float[np.ndarray, "l v"]:
    """The height of each letter at each position, in bits: its frequency times (log₂ v − entropy).

    A pad is no letter: frequencies are those of the designs that reach the position, and it makes no design longer.
    """
    fit = [design for design in designs if len(design) <= length]  # what a damaged file says more is no design
    letters = np.array([list(design.ljust(length, pad or " ")) for design in fit] or [[" "] * length])
    known = [letter for letter in alphabet if letter != pad]
    counts = np.stack([(letters == letter).sum(0) for letter in known], 1).astype(float)
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(1, keepdims=True)
    found: Float[np.ndarray, "l v"] = share * np.where(total > 0, np.log2(len(known)) - entropy, 0)
    return found


def turned(designs: list[str], alphabet: str, rounds: int = 5) -> list[str]:
    """Each design, or its reverse complement, whichever is more like the others: as they come, half of the designs
    of one molecule would blur the other half. ``alphabet`` is ACGT or ACGU; starts from the first design."""
    complement = str.maketrans(alphabet, alphabet[::-1])
    strands = [(design, design[::-1].translate(complement)) for design in designs]
    like: Sequence[Mapping[str, float]] = [{letter: 1} for letter in designs[0]]
    chosen = designs
    for _ in range(rounds):
        chosen = [max(pair, key=lambda strand: _agreement(strand, like)) for pair in strands]
        like = [Counter(column) for column in zip(*chosen, strict=False)]
    return chosen


def _agreement(design: str, like: Sequence[Mapping[str, float]]) -> float:
    return sum(share.get(letter, 0.0) for letter, share in zip(design, like, strict=False))


def _draw(axes: Axes, bits: Float[np.ndarray, "l v"], alphabet: str) -> None:
    """Stacks of letters, the most frequent one on top."""
    font = FontProperties(family="DejaVu Sans", weight="bold")
    shapes = {letter: TextPath((0, 0), letter, size=1, prop=font) for letter in alphabet}
    for place, stack in enumerate(bits):
        bottom = 0.0
        for k in np.argsort(stack):
            if stack[k] < LEAST:
                continue
            shape = shapes[alphabet[k]]
            box = shape.get_extents()
            fit = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, stack[k] / box.height)
            fit = fit.translate(place + 1 - 0.46, bottom)
            colour = NUCLEOTIDES.get(alphabet[k], ACCENTS[k % len(ACCENTS)])
            axes.add_patch(PathPatch(fit.transform_path(shape), color=colour, linewidth=0))
            bottom += stack[k]
