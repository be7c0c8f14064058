"""Families against all pairwise distances, and on chains made by hand."""

from __future__ import annotations

import pytest
import torch
from braid_tasks.families import families
from scipy.sparse.csgraph import connected_components

from braid_core.interfaces import Tokens


def mutants(n: int, length: int, most: int, seed: int) -> torch.Tensor:
    """A few random ancestors and mutants of theirs with up to ``most`` changes."""
    generator = torch.Generator().manual_seed(seed)
    parents = torch.randint(4, (n // 5, length), generator=generator)
    children = parents[torch.randint(len(parents), (n,), generator=generator)]
    change = torch.rand(n, length, generator=generator) < torch.rand(n, 1, generator=generator) * most / length
    return torch.where(change, torch.randint(4, (n, length), generator=generator), children)


@pytest.mark.parametrize(("length", "threshold"), [(20, 0), (20, 1), (20, 3), (23, 6), (80, 12)])
def test_families_are_the_components_of_all_close_pairs(length: int, threshold: int) -> None:
    letters = mutants(300, length, 2 * threshold + 1, seed=threshold)
    close = (letters[:, None] != letters[None]).sum(-1) <= threshold
    count, expected = connected_components(close.numpy(), directed=False)
    assert 10 < count < 290
    found = families(letters, threshold)
    together = torch.from_numpy(expected)
    assert torch.equal(found[:, None] == found[None], together[:, None] == together[None])


def letters_of(designs: list[str]) -> torch.Tensor:
    return Tokens("ACGT", 6).encode(designs).argmax(-1)


def test_a_chain_is_one_family() -> None:
    designs = ["AAAAAA", "AAAAAC", "AAAACC", "AAACCC", "TTTTTT"]
    assert len(set(families(letters_of(designs), 1)[:4].tolist())) == 1
    assert len(torch.unique(families(letters_of(designs), 1))) == 2
    assert len(torch.unique(families(letters_of(designs[::2]), 1))) == 3
