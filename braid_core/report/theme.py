"""Colours and figure defaults. Every colour has a light and a dark form, so that one SVG serves both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from braid_core.report.grouping import is_reference, rank

INK, MUTED, LINE, PAPER = "#1d2329", "#667079", "#d5dade", "#fefefd"
REFERENCE = "#8d969e"
ACCENTS = ("#2f65ab", "#c26a2a", "#3d8a5c", "#7b5ba8", "#b5474f", "#2a8794", "#a18226", "#b2588d")

DARK = {
    INK: "#e5e8ea",
    MUTED: "#9aa4ad",
    LINE: "#3a424a",
    PAPER: "#14181c",
    REFERENCE: "#7f8992",
    **dict(
        zip(
            ACCENTS,
            ("#7fabe3", "#e39d67", "#76bd90", "#b299da", "#e2868d", "#6cc0cb", "#d2b65c", "#dd93be"),
            strict=True,
        )
    ),
}
"""The dark form of each colour."""

RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # labels are user input: "$" is a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "braid",
    "savefig.dpi": 200,
}


def colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour a method: grey for reference rows, the first accents for BRAID and its variants."""
    own = [method for method in methods if not is_reference(method)]
    own.sort(key=lambda method: (not method.casefold().startswith("braid"), rank(method)))
    chosen = {method: ACCENTS[k % len(ACCENTS)] for k, method in enumerate(own)}
    return {method: chosen.get(method, REFERENCE) for method in methods}


def css_name(colour: str) -> str:
    """The CSS variable that stands for ``colour`` on the page."""
    return f"--c{colour.removeprefix('#')}"
