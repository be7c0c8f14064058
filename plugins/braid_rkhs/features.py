"""The features φ: the last hidden layer of a reward network, or features of a Gaussian kernel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from braid_core.interfaces import Space, State, Stateful
from braid_core.nets.reward import RewardModel

RESOLVED = 1e-6
"""Directions in which the landmarks' kernel matrix has less than this share of its largest eigenvalue are left out."""


class Constants(Stateful):
    """Named tensors, computed and stored in float64 and kept in every dtype in which they were asked for."""

    def __init__(self, **tensors: Tensor) -> None:
        self._at = {torch.float64: {name: tensor.double().contiguous() for name, tensor in tensors.items()}}

    def at(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors in ``dtype``; converted once."""
        if dtype not in self._at:
            self._at[dtype] = {name: tensor.to(dtype) for name, tensor in self._at[torch.float64].items()}
        return self._at[dtype]

    def state(self) -> State:
        return State({name: tensor.detach().clone() for name, tensor in self._at[torch.float64].items()})

    def load_state(self, state: State) -> None:
        self._at = {torch.float64: dict(state.tensors)}


class Features(Stateful, ABC):
    """A map φ from designs to vectors, equal for all forms that the space calls one design."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "b d"]:
        """φ(x), differentiable in ``x``."""

    def residual(self, x: Float[Tensor, " b *event"], phi: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """k(x, x) − φᵀφ ≥ 0: what φ leaves out of the kernel that it approximates."""
        return torch.zeros_like(phi[:, 0])


class LearnedFeatures(Features):
    """φ = (h, 1): the last hidden layer, and the constant that carries the bias of the last layer.

    Far from the data the layer says whatever the network extrapolates to: where units saturate at 0, or where a design
    differs from the measured ones in something that the network did not learn, the bonus does not grow.
    """

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "b d"]:
        hidden = self.model.features(x)[0]
        return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)

    def last_layer(self) -> Float[Tensor, " d"]:
        """The weights that make the network's own standardised prediction of φ."""
        return torch.cat([self.model.mlp.weights[-1][0, :, 0], self.model.mlp.biases[-1][0, 0]])

    def state(self) -> State:
        return self.model.state()

    def load_state(self, state: State) -> None:
        self.model.load_state(state)


class KernelFeatures(Features):
    """Features of k(x, y) = mean over the forms of x and of y of exp(−γ‖x − y‖²), x and y flattened.

    Symmetries are taken to preserve distances, as permutations of letters do. Designs are centred first, which changes
    no distance but keeps float32 precise for data far from the origin.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.constants = space, Constants()

    @classmethod
    @abstractmethod
    def fitted(
        cls, space: Space, sample: Float[Tensor, " n *event"], gamma: float, components: int, seed: int
    ) -> KernelFeatures:
        """Features for designs like those of ``sample``, which is in random order."""

    def _forms(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b p"]:
        """All forms of each design, flattened and centred."""
        return self.space.orbit(x).flatten(2) - self.constants.at(x.dtype)["centre"]

    def state(self) -> State:
        return self.constants.state()

    def load_state(self, state: State) -> None:
        self.constants.load_state(state)


class NystroemFeatures(KernelFeatures):
    """φ(x) = S^(−½)Uᵀ k(Z, x) with landmarks Z and k(Z, Z) = U S Uᵀ (Williams & Seeger 2001).

    φᵀφ is the part of the kernel that the landmarks span: it vanishes far from all of them, and with it any bonus made
    of φ alone. :meth:`residual` is the rest; it shrinks with more landmarks, not with more data.

    Directions below :data:`RESOLVED` are left out: their S^(−½) would amplify the rounding of k in float32 until φᵀφ is
    no longer known to the precision that the residual needs. They count as residual. Bonuses whose kernel variance,
    λ·bonus², is below 1e-6 remain imprecise: a small λ with a wide kernel in few dimensions.
    """

    @classmethod
    def fitted(
        cls, space: Space, sample: Float[Tensor, " n *event"], gamma: float, components: int, seed: int
    ) -> NystroemFeatures:
        features = cls(space)
        landmarks = sample[:components].double()
        centre, width = _centre(sample[:components]), landmarks.new_tensor(2 * gamma).sqrt()
        points = (landmarks.flatten(1) - centre) * width
        features.constants = Constants(centre=centre, width=width, points=points)
        # One symmetric decomposition; scikit-learn's `Nystroem`, to which tests hold this, takes a general one.
        values, directions = torch.linalg.eigh(features._kernel(features._forms(landmarks)))
        kept = values >= RESOLVED * values[-1]
        projection = directions[:, kept] * values[kept].rsqrt()
        features.constants = Constants(centre=centre, width=width, points=points, projection=projection)
        return features

    def _forms(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "g b p"]:
        """As inherited, times √(2γ): k is then exp(−½‖·‖²)."""
        return super()._forms(x) * self.constants.at(x.dtype)["width"]

    def _kernel(self, forms: Float[Tensor, "g b p"]) -> Float[Tensor, "b m"]:
        points = self.constants.at(forms.dtype)["points"]
        offset = (points.square().sum(1) + forms.square().sum(-1, keepdim=True)) / 2
        return _mean((forms @ points.T - offset).clamp(max=0).exp())  # for designs far out, rounding may exceed 0

    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "b d"]:
        return self._kernel(self._forms(x)) @ self.constants.at(x.dtype)["projection"]

    def residual(self, x: Float[Tensor, " b *event"], phi: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        spanned: Tensor = torch.linalg.vector_norm(phi, dim=1).square()
        return (self._own(x) - spanned).clamp(min=0)  # rounds below 0 at landmarks

    def _own(self, x: Float[Tensor, " b *event"]) -> Tensor | float:
        """k(x, x)."""
        if len(self.space.orbit(x[:1])) == 1:
            return 1.0
        forms = self._forms(x)
        return _mean((-(forms - forms[0]).square().sum(-1) / 2).exp())


class FourierFeatures(KernelFeatures):
    """φ(x) = √(2/d)·cos(Wᵀx + b) with random W and b (Rahimi & Recht 2007): φᵀφ ≈ k(x, x) everywhere."""

    @classmethod
    def fitted(
        cls, space: Space, sample: Float[Tensor, " n *event"], gamma: float, components: int, seed: int
    ) -> FourierFeatures:
        from sklearn.kernel_approximation import RBFSampler  # slow to import, and needed for fitting alone

        features, centre = cls(space), _centre(sample)
        sampler = RBFSampler(gamma=gamma, n_components=components, random_state=seed)
        sampler.fit(centre[None].cpu().numpy())  # looks at no more than the width of the table
        weight = torch.from_numpy(sampler.random_weights_).to(centre)
        phase = torch.from_numpy(sampler.random_offset_).to(centre) + centre @ weight
        features.constants = Constants(centre=centre, weight=weight, phase=phase.remainder(2 * math.pi))
        return features

    def __call__(self, x: Float[Tensor, " b *event"]) -> Float[Tensor, "b d"]:
        constants = self.constants.at(x.dtype)
        angle: Tensor = self._forms(x) @ constants["weight"] + constants["phase"]
        return math.sqrt(2 / angle.shape[-1]) * _mean(angle.cos())


def _mean(forms: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The mean over all forms; where there is one, it is taken as it is (``mean`` would cost more than the cosine)."""
    return forms[0] if len(forms) == 1 else forms.mean(0)


def _centre(sample: Float[Tensor, " n *event"]) -> Float[Tensor, " p"]:
    """The mean, rounded to what float32 holds: it is then the same in float32."""
    return sample.flatten(1).mean(0, dtype=torch.float64).float().double()
