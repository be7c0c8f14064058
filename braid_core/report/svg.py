"""Figures as files and as SVG that lives inside a page: its colours follow the reader's light or dark mode."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from braid_core.report.theme import DARK, PAPER, RC, css_name


def png(figure: Figure) -> bytes:
    """The figure as a picture on light ground."""
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as a stand-alone SVG file; the same figure gives the same bytes."""
    buffer = io.StringIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def inline(text: str, prefix: str, label: str) -> Markup:
    """An SVG file's text as an element of a page: ids start with ``prefix``, colours are CSS variables.

    ``label`` is read to those who cannot see it. ``text`` must come from :func:`svg`, which escapes what users wrote.
    """
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", body)
    for colour in DARK:
        body = re.sub(rf"(:\s*){colour}\b", rf"\1var({css_name(colour)})", body)
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" '
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    return Markup(body.replace("<svg ", head, 1))
