"""The oracle behind ``gp``: a Gaussian process on designs or learned features, exact or sparse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from braid_core.errors import BraidError
from braid_core.interfaces import LabelledDesigns, Log, Oracle, Posterior, Silent, Space, State
from braid_core.nets.reward import RewardModel
from braid_core.nets.spec import NetworkSpec
from braid_gp import GPSpec
from braid_gp.expansion import Expansion
from braid_gp.inputs import Designs, Inputs, Learned
from braid_gp.measurements import measured
from braid_gp.regression import Regression


@dataclass(frozen=True)
class GPPosterior(Posterior):
    """Mean and standard deviation of the latent reward; the variance is not computed until it is asked for."""

    expansion: Expansion
    forms: Float[Tensor, "g b d"]
    cross: Float[Tensor, "b m"]
    measurement: Float[Tensor, ""]
    c: float
    dtype: torch.dtype

    @property
    def mean(self) -> Float[Tensor, " b"]:
        return self.expansion.mean(self.cross).to(self.dtype)

    @cached_property
    def std(self) -> Float[Tensor, " b"]:
        with torch.set_grad_enabled(self.cross.requires_grad):  # kept: whoever asks first must not decide for all
            return self.expansion.variance(self.forms, self.cross).sqrt().to(self.dtype)

    def conservative(self) -> Float[Tensor, " b"]:
        return self.mean - self.c * self.std

    @property
    def noise(self) -> Float[Tensor, " b"]:
        """σ², with the median of the given variances where there are any."""
        return self.measurement.to(self.dtype).expand(self.forms.shape[1])


class GPOracle(Oracle):
    """A Gaussian process with constant mean whose hyperparameters maximise the exact marginal likelihood.

    With up to ``spec.exact`` distinct designs the posterior is exact, above it is the best variational one on
    ``spec.inducing`` of them (Titsias 2009), with hyperparameters from ``spec.exact`` designs.
    """

    def __init__(self, spec: GPSpec, space: Space, device: torch.device) -> None:
        self.spec, self.space, self.device, self.c = spec, space, device, spec.scale
        self.inputs: Inputs = Designs(space)
        if spec.features == "learned":
            self.inputs = Learned(RewardModel(spec.network or NetworkSpec(), space, 1, device))
        self._learned: tuple[Expansion, Tensor] | None = None
        self._at: dict[torch.dtype, Expansion] = {}

    def fit(
        self,
        data: LabelledDesigns,
        generator: torch.Generator,
        log: Log = Silent(),  # noqa: B008  (stateless)
    ) -> None:
        """Fit the features, the hyperparameters and the posterior; costs n³, or n·inducing² above ``spec.exact``.

        Raises :class:`DataError` for fewer than two distinct designs and for rewards that are all equal, and
        :class:`BraidError` where a covariance cannot be factorised.
        """
        from braid_gp.fitting import STEPS, fit  # gpytorch takes a while to import, and prediction does without

        data = data.to(self.device)
        x, table = measured(data, self.space)
        self.inputs.fit(data, generator, log)
        order = torch.randperm(len(x), generator=generator, device=generator.device).to(self.device)
        chosen = order[: self.spec.exact]

        def forms(index: Int[Tensor, " m"]) -> Float[Tensor, "g m d"]:
            return self.inputs(x[index]).double()

        rows = forms(chosen)
        centre = rows[0].mean(0)
        assumed = fit(self.spec.kernel, rows - centre, table.take(chosen), log)
        anchors = chosen if len(x) <= self.spec.exact else order[: self.spec.inducing]
        regression = Regression(self.spec.kernel, assumed, table, forms, centre)
        expansion, evidence = regression.condition(anchors)
        self._set(expansion, table.measurement(assumed.noise), expansion.survives_rounding())
        log.step(STEPS, STEPS, evidence=evidence / len(x))

    def _set(self, expansion: Expansion, measurement: Float[Tensor, ""], single: bool) -> None:
        self._learned = (expansion, measurement)
        self._at = {torch.float64: expansion, torch.float32: expansion.to(torch.float32) if single else expansion}

    def _fitted(self) -> tuple[Expansion, Tensor]:
        if self._learned is None:
            raise BraidError("the Gaussian process has seen no data yet", fix="call `fit` or `load_state` first")
        return self._learned

    def posterior(self, x: Float[Tensor, " b *event"]) -> GPPosterior:
        """The belief in the dtype of ``x``, float32 or float64. Raises :class:`BraidError` before ``fit``."""
        _, measurement = self._fitted()
        expansion = self._at[x.dtype]
        forms = self.inputs(x).to(expansion.rows)
        return GPPosterior(expansion, forms, expansion.cross(forms), measurement, self.c, x.dtype)

    def state(self) -> State:
        expansion, measurement = self._fitted()
        single = torch.tensor(self._at[torch.float32] is not expansion)
        tensors = {"measurement": measurement, "single": single, **expansion.tensors()}
        inputs = self.inputs.state().prefixed("inputs")
        return State({**{name: t.detach().clone() for name, t in tensors.items()}, **inputs.tensors}, inputs.meta)

    def load_state(self, state: State) -> None:
        self.inputs.load_state(State(state.under("inputs"), state.meta))
        tensors = {name: t.to(self.device) for name, t in state.tensors.items() if not name.startswith("inputs.")}
        measurement, single = tensors.pop("measurement"), bool(tensors.pop("single"))
        self._set(Expansion(self.spec.kernel, **tensors), measurement, single)
