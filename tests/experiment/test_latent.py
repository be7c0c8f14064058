"""A backbone whose chain runs on latents: the run hands it designs, and leaves the encoding to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from braid_core.experiment.run import run
from braid_core.nets.backbone import NetworkBackbone

from .tiny import tiny


def test_a_run_fits_the_backbone_on_designs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a scaling or an autoencoder is to be learned from; ``encode`` knows nothing before that."""
    seen: list[Tensor] = []
    fit = NetworkBackbone.fit

    def watching(self: NetworkBackbone, designs: Tensor, *args: Any, **options: Any) -> None:
        seen.append(designs)
        fit(self, designs, *args, **options)

    monkeypatch.setattr(NetworkBackbone, "fit", watching)
    monkeypatch.setattr(NetworkBackbone, "encode", lambda self, designs: designs.flip(-1))
    spec = tiny()
    run(spec, tmp_path)
    (designs,) = seen
    assert torch.equal(designs, spec.task.build(spec.seed).unlabelled())
