"""Errors that a person can act on: what went wrong, where, why, and what to do next.

Everything that is a user's mistake or an outside failure is raised as a :class:`BraidError`; the command line
prints it without a traceback. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BraidError(Exception):
    """A failure with its location, its cause and its remedy.

    ``what`` is one sentence; ``where`` a file, row, field or distribution; ``why`` the rule that was broken or the
    error underneath; ``fix`` what to do. ``exit_code`` is what the command line returns.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        lines = [what]
        lines += [f"  {label}: {text}" for label, text in (("where", where), ("why", why), ("fix", fix)) if text]
        super().__init__("\n".join(lines))


class SpecError(BraidError):
    """A spec that cannot be read or does not validate."""


class PluginError(BraidError):
    """A plugin that is missing, broken, ambiguous, disabled or of the wrong kind."""


class DataError(BraidError):
    """Designs or rewards that cannot be used: wrong letters, unequal lengths, NaN, too few."""


class StoreError(BraidError):
    """A run folder or stored stage that cannot be written, read or trusted."""


class UnsupportedError(BraidError):
    """A combination of components that is not defined, such as tuning a chain that has no noise."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped ``name``: the closest known name, else the list of all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"
