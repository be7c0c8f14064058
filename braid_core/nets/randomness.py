"""Foreign layers draw from torch's global generator; here it is seeded for a while, and then as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_from(generator: torch.Generator) -> Iterator[None]:
    """Within, global random numbers (initial weights, dropout) are those of ``generator``'s next number."""
    device = generator.device
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(seed)
        yield
