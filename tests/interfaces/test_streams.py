"""Random streams: one seed, independent roles."""

from __future__ import annotations

import torch

from braid_core.interfaces import Streams


def draw(seed: int, role: str) -> torch.Tensor:
    return torch.randn(2000, generator=Streams(seed).get(role))


def test_a_stream_is_reproducible() -> None:
    assert torch.equal(draw(3, "oracle"), draw(3, "oracle"))


def test_streams_are_known_numbers() -> None:
    """They must not change between versions, or stored runs cannot be repeated: sha256("3/oracle")."""
    assert Streams(3).get("oracle").initial_seed() == 0x4F7C_58F4_47A6_6F8E


def test_roles_and_seeds_are_unrelated() -> None:
    streams = torch.stack([draw(seed, role) for seed in (0, 1, 11) for role in ("oracle", "backbone", "1/oracle")])
    correlation = torch.corrcoef(streams) - torch.eye(len(streams))
    assert float(correlation.abs().max()) < 0.1


def test_drawing_in_one_role_leaves_the_others_alone() -> None:
    streams = Streams(0)
    torch.randn(10, generator=streams.get("oracle"))
    assert torch.equal(torch.randn(2000, generator=streams.get("backbone")), draw(0, "backbone"))


def test_streams_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    draw(0, "oracle")
    assert torch.equal(torch.random.get_rng_state(), before)
