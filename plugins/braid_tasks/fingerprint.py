"""One hash for everything that determines a task's data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def fingerprint(options: Mapping[str, Any], *tensors: Tensor) -> str:
    """The sha256 of ``options`` (JSON) and the tensors' shapes, types and bytes."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
