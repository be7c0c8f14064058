"""The Gaussian chain with a network, in the units of the designs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from braid_continuous import GaussianSpec
from braid_continuous.process import GaussianProcess
from braid_continuous.scaling import Scaling, check
from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, ConditionSpec, Images, Log, Process, Silent, Space, State, Vectors
from braid_core.nets.backbone import NetworkBackbone
from braid_core.nets.spec import PretrainingSpec


class GaussianBackbone(NetworkBackbone):
    """The chain runs on scaled designs (:class:`Scaling`); ``fit`` learns the scaling, ``decode`` undoes it.

    So what the process calls a design, x̂0 above all, is a latent: decode it before an oracle sees it.
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

    def fit(
        self,
        designs: Float[Tensor, " n *event"],
        generator: torch.Generator,
        *,
        conditions: Condition | None = None,
        weights: Float[Tensor, " n"] | None = None,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """Learn the scaling and train the network on scaled designs; a design of weight 0 counts in neither.

        Raises :class:`DataError` for designs of another shape and for such that are not finite, beside what every
        backbone refuses.
        """
        designs = designs.to(self.device)
        check(designs, self.process.space)
        counted = designs if weights is None else designs[(weights > 0).to(self.device)]
        if len(counted):  # no designs at all are refused below
            self.scaling = Scaling.of(counted, self.process.space)
        super().fit(self.encode(designs), generator, conditions=conditions, weights=weights, log=log)

    def encode(self, designs: Float[Tensor, " b *event"]) -> Float[Tensor, " b *latent"]:
        return self.scaling.encode(designs)

    def decode(self, latents: Float[Tensor, " b *latent"]) -> Float[Tensor, " b *event"]:
        return self.scaling.decode(latents)

    def state(self) -> State:
        network = super().state()
        scaling = State({"location": self.scaling.location.clone(), "scale": self.scaling.scale.clone()})
        return State({**network.tensors, **scaling.prefixed("scaling").tensors}, network.meta)

    def load_state(self, state: State) -> None:
        scaling = state.under("scaling")
        super().load_state(
            State({name: t for name, t in state.tensors.items() if not name.startswith("scaling.")}, state.meta)
        )
        self.scaling = Scaling(scaling["location"], scaling["scale"])


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
