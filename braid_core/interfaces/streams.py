"""One seed, many independent random streams by role."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Streams:
    """Named generators from one seed: changing who draws in one role leaves all other roles untouched.

    The same ``(seed, role)`` gives the same numbers on the same device; no equality between devices is promised.
    """

    seed: int

    def get(self, role: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator for ``role``; asking twice gives two generators that draw the same numbers."""
        digest = hashlib.sha256(f"{self.seed}/{role}".encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
