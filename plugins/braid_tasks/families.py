"""Families of near-copies in a library: what a random split would put on both of its sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, Integer, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from braid_tasks.enumeration import codes_of
from braid_tasks.features import words

WORD = 31
"""Letters of a shared word, the most that a 64-bit code holds."""


def families(letters: Int[Tensor, "n l"], threshold: int, alphabet: int = 4) -> Int[Tensor, " n"]:
    """A number for each design, the same for all that a chain of designs links in steps of ``threshold`` letters.

    Two designs that differ in at most ``threshold`` letters agree in one of ``threshold + 1`` blocks (pigeonhole), so
    only designs with a common block are compared. A block has at most 31 letters (of 4): its code fits into 64 bits.
    """
    family, small = np.arange(len(letters)), letters.numpy().astype(np.uint8)
    for block in letters.tensor_split(threshold + 1, dim=1):
        links = family[_close(small, codes_of(block, alphabet).numpy(), family, threshold)]
        # What hangs together in the graph of families is one family.
        size = int(family.max()) + 1
        graph = coo_array((np.ones(links.shape[1]), (links[0], links[1])), shape=(size, size))
        _, joined = connected_components(graph, directed=False)
        family = joined[family]
    return torch.from_numpy(family).long()


def _close(
    letters: UInt8[np.ndarray, "n l"], key: Int[np.ndarray, " n"], family: Int[np.ndarray, " n"], threshold: int
) -> Int[np.ndarray, "2 m"]:
    """Pairs of rows of one ``key`` and two families that differ in at most ``threshold`` letters."""
    order = np.argsort(key, kind="stable")
    key, family = key[order], family[order]
    found, first, apart = [np.empty((2, 0), dtype=np.int64)], np.arange(len(key)), 1
    while len(first):
        first = first[first + apart < len(key)]
        first = first[key[first] == key[first + apart]]
        new = first[family[first] != family[first + apart]]
        pairs = np.stack([order[new], order[new + apart]])
        found.append(pairs[:, (letters[pairs[0]] != letters[pairs[1]]).sum(1) <= threshold])
        apart += 1
    return np.concatenate(found, 1)


def overlapping(letters: Integer[Tensor, "n l"], names: Sequence[str] = ()) -> Int[Tensor, " n"]:
    """A number for each design, the same for all that a chain of shared words links, on either strand; or a name.

    A word is ``WORD`` letters, so that two alleles share one, the two orientations of a fragment do, and windows of a
    genome that overlap by as much. So do the copies of a repeat of the genome: a large table may have a large family.
    """
    small = letters.numpy()
    there, back = words(small, WORD), words(3 - small[:, ::-1], WORD)[:, ::-1]
    code = np.minimum(there, back)  # a word and its reverse complement are one
    order = np.argsort(code, axis=None, kind="stable")
    row, code = order // code.shape[1], code.ravel()[order]
    same = np.diff(code) == 0
    links = [np.stack([row[:-1][same], row[1:][same]])]
    if names:
        _, label = np.unique(np.array(names), return_inverse=True)
        _, one = np.unique(label, return_index=True)  # the first design of each name
        links.append(np.stack([np.arange(len(label)), one[label]]))
    ends = np.concatenate(links, 1)
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(len(small), len(small)))
    _, family = connected_components(graph, directed=False)
    return torch.from_numpy(family).long()
