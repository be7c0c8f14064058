"""What an evaluator sees of DNA and RNA: words, composition, upstream start codons. Counts, never learned."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int, Integer

ATG, STOPS = 14, (48, 50, 56)
"""Codes of ATG and of TAA, TAG, TGA, with A, C, G, T = 0, 1, 2, 3 and the first letter counting most."""


def words(letters: Integer[np.ndarray, "n l"], k: int) -> Int[np.ndarray, "n p"]:
    """The code of the word of ``k`` letters, 31 at most, at each position."""
    places = letters.shape[1] - k + 1
    codes = np.zeros((len(letters), places), dtype=np.int64)
    for i in range(k):
        codes = 4 * codes + letters[:, i : i + places]
    return codes


def word_counts(letters: Integer[np.ndarray, "n l"], k: int) -> Float32[np.ndarray, "n words"]:
    """How often each of the 4^k words occurs, in the order of their codes."""
    n, size = len(letters), 4**k
    codes = words(letters, k) + size * np.arange(n)[:, None]
    return np.bincount(codes.ravel(), minlength=n * size).reshape(n, size).astype(np.float32)


def composition(letters: Integer[np.ndarray, "n l"], parts: int) -> Float32[np.ndarray, "n f"]:
    """How often each letter occurs in each of ``parts`` equal stretches."""
    return np.hstack([word_counts(stretch, 1) for stretch in np.array_split(letters, parts, axis=1)])


def one_hot(letters: Integer[np.ndarray, "n l"]) -> Float32[np.ndarray, "n f"]:
    """The letters themselves."""
    x: np.ndarray = np.eye(4, dtype=np.float32)[letters]
    return x.reshape(len(letters), 4 * letters.shape[1])


def upstream_starts(letters: Integer[np.ndarray, "n l"]) -> Float32[np.ndarray, "n f"]:
    """Start codons in a 5' UTR whose last letter stands before the true one (scanning model, Kozak 1989).

    A ribosome that starts at an upstream ATG is lost for the true start, unless the ATG is in frame with it, or its
    reading frame ends before. So there are four kinds of them: in frame 0, 1 or 2 of the true start without a stop
    codon before it, and those with one; how many of each, how many in a good context (a purine three before, G behind),
    the best context, the first and the last position; and for those that end, how long the frame is and where it ends.
    """
    n, length = letters.shape
    codes = words(letters, 3)
    start, place = codes == ATG, np.arange(length - 2)
    end = _next_stop(np.isin(codes, STOPS), length)
    context = np.ones_like(codes)
    context[:, 3:] += np.isin(letters[:, : length - 5], (0, 2))  # A or G three letters before
    context[:, :-1] += letters[:, 3:] == 2  # G behind; behind the last position stands the A of the true start
    kind = np.where(end < length, 3, (length - place) % 3)
    columns = [column for k in range(4) for column in _described(start & (kind == k), context)]
    columns += _described(start & ((kind == 1) | (kind == 2)), context)
    closed = start & (kind == 3)
    columns += [np.where(closed, end - place, 0).max(1), np.where(closed, end, -1).max(1)]
    return np.stack(columns, 1).astype(np.float32).reshape(n, -1)


def _next_stop(stop: Bool[np.ndarray, "n p"], length: int) -> Int[np.ndarray, "n p"]:
    """Where the reading frame that starts at each position meets a stop codon; ``length`` where it does not."""
    n, places = stop.shape
    found = np.full((n, places + 3), length)
    for place in range(places - 1, -1, -1):
        found[:, place] = np.where(stop[:, place], place, found[:, place + 3])
    return found[:, 3:]


def _described(here: Bool[np.ndarray, "n p"], context: Int[np.ndarray, "n p"]) -> list[Int[np.ndarray, " n"]]:
    """Number, number in the best context, best context, first and last position (−1: none) of what is ``here``."""
    places = here.shape[1]
    some = here.any(1)
    first, last = here.argmax(1), places - 1 - here[:, ::-1].argmax(1)
    best = np.where(here, context, 0)
    return [here.sum(1), (best == 3).sum(1), best.max(1), np.where(some, first, -1), np.where(some, last, -1)]
