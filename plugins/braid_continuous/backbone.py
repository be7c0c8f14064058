"""The Gaussian chain with a network, in the units of the designs."""

from __future__ import annotations

from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from braid_continuous import GaussianSpec
from braid_continuous.process import GaussianProcess
from braid_continuous.scaling import Scaling
from braid_core.errors import UnsupportedError
from braid_core.interfaces import ConditionSpec, Images, Process, Space, State, Vectors
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import PretrainingSpec


class GaussianBackbone(NetworkBackbone):
    """The chain runs on scaled designs (:class:`Scaling`); ``fit`` learns the scaling, ``decode`` undoes it.

    A fresh twin of a fitted model keeps its scaling, so that both are chains of the same latents and have a KL. What
    the process calls a design, x̂0 above all, is a latent: decode it before an oracle sees it.
    """

    def __init__(
        self,
        process: Process,
        spec: PretrainingSpec,
        device: torch.device,
        condition: ConditionSpec | None = None,
        *,
        out: tuple[int, ...] | None = None,
        timed: bool = True,
    ) -> None:
        super().__init__(process, spec, device, condition, out=out, timed=timed)
        self.scaling = Scaling.none(process.space, device)
        self._known, self._inherited = False, False

    def _learn_encoding(self, designs: Float[Tensor, " n *event"]) -> None:
        if not self._inherited:
            self.scaling = Scaling.of(designs, self.process.space)
        self._known = True

    def fresh(self, condition: ConditionSpec | None) -> Self:
        twin = super().fresh(condition)
        twin._known, twin._inherited = False, self._known
        return twin

    def encode(self, designs: Float[Tensor, " b *event"]) -> Float[Tensor, " b *latent"]:
        return self.scaling.encode(designs)

    def decode(self, latents: Float[Tensor, " b *latent"]) -> Float[Tensor, " b *event"]:
        return self.scaling.decode(latents)

    def state(self) -> State:
        network = super().state()
        scaling = State({"location": self.scaling.location.clone(), "scale": self.scaling.scale.clone()})
        return State({**network.tensors, **scaling.prefixed("scaling").tensors}, network.meta)

    def load_state(self, state: State) -> None:
        """Raises :class:`StoreError` for weights of another network, and where the scaling is not of this space."""
        scaling = Scaling.stored(state.under("scaling"), self.process.space)
        network = {name: t for name, t in state.tensors.items() if not name.startswith("scaling.")}
        super().load_state(State(network, state.meta))
        self.scaling, self._known = scaling, True


def gaussian(spec: GaussianSpec, space: Space, device: torch.device) -> GaussianBackbone:
    """An untrained backbone; ``out`` is the spec's prediction, of the shape of a design."""
    if not isinstance(space, Vectors | Images):
        raise UnsupportedError(
            f"the gaussian backbone works on vectors and images, not on {type(space).__name__}",
            fix="choose a backbone for this space",
        )
    if spec.clip and not isinstance(space, Images):
        raise UnsupportedError(
            f"`clip` is for images, not for {type(space).__name__}", where="backbone.clip", fix="leave it out"
        )
    process = GaussianProcess(
        space,
        spec.steps,
        prediction=spec.prediction,
        schedule=spec.schedule,
        eta=spec.eta,
        variance=spec.variance,
        last_noise=spec.last_noise,
        clip=1.0 if spec.clip else None,
    )
    return GaussianBackbone(process, spec, device)
