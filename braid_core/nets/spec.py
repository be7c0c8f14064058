"""The options of networks and of their training, shared by every plugin that trains one (light: no torch)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from braid_core.registry.spec import BackboneSpec, Spec


class NetworkSpec(Spec):
    """A reward network and its training: a perceptron, or convolutions followed by one."""

    kind: Literal["auto", "mlp", "conv"] = Field(
        "auto",
        description="'mlp' on the flattened design, 'conv' for sequences and images; 'auto' is 'conv' for images and "
        "for sequences of more than 16 letters",
    )
    width: PositiveInt = Field(128, description="units per hidden layer")
    depth: PositiveInt | None = Field(
        None, description="hidden layers (default 2), or convolutions (default 4) before the one hidden layer"
    )
    channels: PositiveInt | None = Field(None, description="of each convolution (default 16); only with 'conv'")
    train_steps: PositiveInt = Field(1200, description="at most so many optimiser steps; stops early by validation")
    batch: PositiveInt = Field(128, description="designs a step, for each network")
    learning_rate: PositiveFloat = Field(5e-3, description="of Adam, decayed to 0 along a cosine")
    weight_decay: float = Field(1e-4, ge=0)

    @model_validator(mode="after")
    def _channels_need_convolutions(self) -> Self:
        if self.channels is not None and self.kind == "mlp":
            raise ValueError("`channels` has no meaning for kind = 'mlp'")
        return self


class DenoiserSpec(Spec):
    """The network of a backbone, for states of any shape."""

    kind: Literal["auto", "mlp", "conv", "unet"] = Field(
        "auto",
        description="'mlp' on the flattened state, 'conv' (dilated, residual) for sequences, 'unet' for images; 'auto' "
        "is 'unet' for images, 'conv' for sequences of more than 100 letters, and else 'mlp'",
    )
    preset: Literal["small", "paper"] = Field(
        "small",
        description="'small' trains on a processor: mlp 2 x 256, conv 2 x 32, unet 1 x 16. 'paper' has published sizes "
        "and wants a GPU: mlp 4 x 1024, conv 20 x 256, unet 2 x 128",
    )
    width: PositiveInt | None = Field(
        None, description="units of a hidden layer, channels of a convolution (default: the preset's)"
    )
    depth: PositiveInt | None = Field(
        None, description="hidden layers, residual blocks, or blocks a resolution of the unet (default: the preset's)"
    )


class TrainingSpec(Spec):
    """How a backbone's network is trained."""

    train_steps: PositiveInt = Field(2000, description="at most so many optimiser steps; stops early by validation")
    batch: PositiveInt | None = Field(None, description="designs a step (default: 512 for an mlp, else 64)")
    learning_rate: PositiveFloat = Field(2e-3, description="of Adam, decayed to 0 along a cosine")
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="decay of the running mean of the weights, which is what is validated and kept; shorter at the "
        "start of training; 0 keeps the weights themselves",
    )
    label_dropout: float = Field(
        0.1, ge=0, le=1, description="share of the conditions hidden in training, for classifier-free guidance"
    )


class PretrainingSpec(TrainingSpec, BackboneSpec):
    """What the shipped backbones share: a network and its training. Derive from it, add ``type`` and the chain."""

    network: DenoiserSpec = DenoiserSpec()
