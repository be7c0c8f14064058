"""What arguments of several verbs are made of."""

from __future__ import annotations

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    """A positive whole number, for ``type=`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
