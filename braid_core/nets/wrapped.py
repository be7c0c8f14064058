"""Bring your own network: any ``torch.nn.Module`` as a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from braid_core.errors import StoreError, UnsupportedError
from braid_core.interfaces import ConditionSpec, Process
from braid_core.nets.backbone import TrainedBackbone, load_weights
from braid_core.nets.randomness import seeded_from
from braid_core.nets.spec import TrainingSpec

Factory = Callable[[ConditionSpec | None], nn.Module]
"""Makes an untrained network for a condition of this form, or for none."""


class WrappedBackbone(TrainedBackbone):
    """A chain driven by the network that ``factory`` makes, called as ``net(x, t)`` or ``net(x, t, condition)``.

    ``weights``: a safetensors file, or a ``state_dict``. With weights and without ``training`` they are final: ``fit``
    leaves them as they are. With both, ``fit`` starts from them. Raises :class:`StoreError` for weights that cannot
    be read or belong to another network, and :class:`UnsupportedError` for networks with batch statistics.
    """

    def __init__(
        self,
        process: Process,
        factory: Factory,
        device: torch.device,
        condition: ConditionSpec | None = None,
        *,
        weights: str | Path | Mapping[str, Tensor] | None = None,
        training: TrainingSpec | None = None,
    ) -> None:
        self.factory = factory
        self.weights = _read(weights) if isinstance(weights, str | Path) else weights
        training = TrainingSpec() if training is None and weights is None else training
        super().__init__(process, training, device, condition)

    @property
    def batch(self) -> int:
        return 64

    def _network(self, generator: torch.Generator) -> nn.Module:
        with seeded_from(generator):
            net = self.factory(self.condition).to(self.device)
        for name, part in net.named_modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                raise UnsupportedError(
                    f"the network normalises over batches ({name}: {type(part).__name__})",
                    why="a design's prediction must not depend on the designs beside it",
                    fix="use GroupNorm or LayerNorm",
                )
        if self.weights is not None:
            load_weights(net, self.weights)
        return net

    def fresh(self, condition: ConditionSpec | None) -> Self:
        untrained = copy(self)
        untrained.weights, untrained.training = None, self.training or TrainingSpec()
        return TrainedBackbone.fresh(untrained, condition)


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            "the weights cannot be read",
            where=str(path),
            why=str(error),
            fix="give a file that safetensors.torch.save_file wrote",
        ) from error
