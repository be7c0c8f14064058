"""Designs as integers: a sequence of letters read as a number, the first letter counting most."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def all_letters(alphabet: int, length: int) -> Int[Tensor, "b l"]:
    """Every sequence of ``length`` letters as letter indices; row k is the sequence with code k."""
    codes = torch.arange(alphabet**length)
    return codes[:, None] // place_values(alphabet, length) % alphabet


def codes_of(letters: Int[Tensor, "b l"], alphabet: int) -> Int[Tensor, " b"]:
    """The code of each row of letter indices; the inverse of :func:`all_letters`."""
    return (letters * place_values(alphabet, letters.shape[1]).to(letters.device)).sum(1)


def place_values(alphabet: int, length: int) -> Int[Tensor, " l"]:
    """What a letter counts at each position: ``alphabet`` to the power of the positions behind it."""
    return alphabet ** torch.arange(length - 1, -1, -1)


def nan_where_undefined(y: Float[Tensor, " b"], x: Float[Tensor, "b l v"]) -> Float[Tensor, " b"]:
    """``y``, but NaN where the design has a NaN or infinite entry: argmax would read a letter there as well."""
    return torch.where(x.flatten(1).isfinite().all(1), y, torch.nan)
