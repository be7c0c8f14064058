"""Hyperparameters by the exact marginal likelihood, with gpytorch; imported by ``fit`` alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from braid_core.interfaces import Log
from braid_gp.conditioning import cholesky, log_density
from braid_gp.kernel import Hyperparameters, Kind, profile, squared_distances
from braid_gp.measurements import LEAST_NOISE, Measurements

with warnings.catch_warnings():  # linear_operator compiles with torch.jit, which torch deprecates
    warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
    import gpytorch
    from gpytorch.constraints import Positive
    from gpytorch.priors import NormalPrior
    from linear_operator.operators import DiagLinearOperator

WARM = 400
"""With more designs, the search starts where the first ``WARM`` end: an evaluation costs n³."""
ITERATIONS = 60
"""Of L-BFGS-B, at most, in each of the two searches; ten to thirty are needed."""
STEPS = 2 * ITERATIONS
STARTS = 0.03, 0.1, 0.3, 1.0, 3.0
"""Lengthscales to choose the start from, in median distances."""
WIDTH = 2.0
"""Standard deviation of the priors of the logarithms."""
NOISE = LEAST_NOISE, 10.0
OUTPUT = 1e-2, 1e2
LENGTHS = 1e-2, 1e2
"""Limits of σ² and the output scale in variances of y, and of the lengthscale in median distances."""


Loss = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


def _log_scale() -> Positive:
    return Positive(transform=torch.exp, inv_transform=torch.log)


class _Rows(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """The kernel between rows whose distances are known: only the lengthscale moves. The inputs are row numbers."""

    has_lengthscale = True

    def __init__(self, kind: Kind, squared: Float[Tensor, "g n n"]) -> None:
        super().__init__(lengthscale_constraint=_log_scale())
        self.kind, self.squared = kind, squared

    def forward(self, a: Tensor, b: Tensor, diag: bool = False, **_: Any) -> Tensor:
        value: Tensor = profile(self.kind, self.squared * self.lengthscale.pow(-2)).mean(0)
        return value.diagonal() if diag else value


class _Noise(gpytorch.likelihoods.GaussianLikelihood):  # type: ignore[misc]
    """σ² on each row's share, beside the variance that is known."""

    def __init__(self, data: Measurements) -> None:
        super().__init__(noise_constraint=_log_scale())
        self.data = data

    def _shaped_noise_covar(self, base_shape: torch.Size, *_: Any, **__: Any) -> DiagLinearOperator:
        return DiagLinearOperator(self.noise * self.data.share + self.data.known)


class _LogDensity(torch.autograd.Function):
    """log N(r; 0, K) with its closed-form gradient, ½(ααᵀ − K⁻¹), α = K⁻¹r (Rasmussen & Williams 2006, eq. 5.9).

    Four times as fast as differentiating through the factorisation.
    """

    @staticmethod
    def forward(ctx: Any, residual: Tensor, covariance: Tensor) -> Tensor:
        factor = cholesky(covariance)
        inverse = torch.cholesky_inverse(factor)
        ctx.save_for_backward(inverse @ residual, inverse)
        return log_density(factor, residual)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        alpha, inverse = ctx.saved_tensors
        return -gradient * alpha, 0.5 * gradient * (torch.outer(alpha, alpha) - inverse)


class _Normal(gpytorch.distributions.MultivariateNormal):  # type: ignore[misc]
    """A normal distribution whose density is exact at every size and never takes jitter."""

    def log_prob(self, value: Tensor) -> Tensor:
        density: Tensor = _LogDensity.apply(  # type: ignore[no-untyped-call]
            value - self.mean, self.lazy_covariance_matrix.to_dense()
        )
        return density


class _Repeats(gpytorch.mlls.AddedLossTerm):  # type: ignore[misc]
    """What repeats of a design say of σ²: the factor that the likelihood of all rows has over that of the averages."""

    def __init__(self, likelihood: _Noise) -> None:
        self.likelihood = likelihood

    def loss(self, *_: Any) -> Tensor:
        noise, data = self.likelihood.noise, self.likelihood.data
        value: Tensor = -0.5 * (data.extra * (2 * math.pi * noise).log() + data.within / noise)
        return value.squeeze() + 0.5 * data.share.log().sum()


class _Model(gpytorch.models.ExactGP):  # type: ignore[misc]
    """A constant mean and a scaled kernel, with weak log-normal priors around ``typical``."""

    def __init__(
        self, kind: Kind, squared: Float[Tensor, "g n n"], data: Measurements, typical: Hyperparameters
    ) -> None:
        likelihood = _Noise(data)
        super().__init__(torch.arange(len(data), device=data.y.device)[:, None], data.y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean(constant_prior=NormalPrior(typical.mean, 1.0))
        rows = _Rows(kind, squared)
        self.covar_module = gpytorch.kernels.ScaleKernel(rows, outputscale_constraint=_log_scale())
        self.register_added_loss_term("repeats")
        self.update_added_loss_term("repeats", _Repeats(likelihood))
        for module, name, log in (
            (rows, "raw_lengthscale", typical.logs()[0]),
            (self.covar_module, "raw_outputscale", typical.logs()[1]),
            (likelihood.noise_covar, "raw_noise", typical.logs()[2]),
        ):
            module.register_prior(f"{name}_prior", NormalPrior(log, WIDTH), name)
        self.to(data.y)

    def searched(self) -> list[torch.nn.Parameter]:
        """The parameters, in the order of :meth:`Hyperparameters.logs`."""
        noise = self.likelihood.noise_covar.raw_noise
        lengthscale = self.covar_module.base_kernel.raw_lengthscale
        return [lengthscale, self.covar_module.raw_outputscale, noise, self.mean_module.raw_constant]

    def forward(self, rows: Tensor) -> _Normal:
        return _Normal(self.mean_module(rows), self.covar_module(rows))


def objective(kind: Kind, squared: Float[Tensor, "g n n"], data: Measurements, typical: Hyperparameters) -> Loss:
    """Minus the log posterior density of :meth:`Hyperparameters.logs` for each design, with its gradient."""
    model = _Model(kind, squared, data, typical)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    parameters = model.searched()

    def value(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.no_grad():
            vector_to_parameters(torch.as_tensor(logs).to(data.y), parameters)
        loss = -evidence(model(*model.train_inputs), data.y)
        gradients = torch.autograd.grad(loss, parameters)
        return float(loss.detach()), parameters_to_vector(gradients).cpu().numpy()

    return value


def typical(squared: Float[Tensor, "g n n"]) -> Hyperparameters:
    """Where a search starts: the median distance as lengthscale, a tenth of the variance noise."""
    nearest = squared.amin(0)
    apart = nearest[nearest > 0]
    return Hyperparameters(float(apart.median().sqrt()) if len(apart) else 1.0, 1.0, 0.1, 0.0)


def fit(kind: Kind, forms: Float[Tensor, "g n d"], data: Measurements, log: Log) -> Hyperparameters:
    """The most probable hyperparameters by L-BFGS-B, for kernel inputs ``forms`` in random order (all forms of each).

    Memory: a few n×n matrices. Raises :class:`BraidError` if a covariance matrix cannot be factorised.
    """
    squared = squared_distances(forms[0], forms)
    expected = typical(squared)
    start, sizes = expected, [n for n in (WARM,) if n < len(data)] + [len(data)]
    steps = count(1)

    def note(intermediate_result: OptimizeResult) -> None:
        log.step(next(steps), STEPS, loss=float(intermediate_result.fun))

    for n in sizes:
        loss = objective(kind, squared[:, :n, :n], data.take(slice(n)), expected)
        if n == sizes[0]:
            start = _first(loss, expected)
        start = _search(loss, start, expected.lengthscale, note)
    return start


def _first(loss: Loss, expected: Hyperparameters) -> Hyperparameters:
    """The best of a few lengthscales: from one that is far too long, all of the data look like noise."""
    starts = [replace(expected, lengthscale=expected.lengthscale * factor) for factor in STARTS]
    return min(starts, key=lambda start: loss(np.array(start.logs()))[0])


def _search(loss: Loss, start: Hyperparameters, unit: float, note: Callable[..., None]) -> Hyperparameters:
    limits = [(unit * LENGTHS[0], unit * LENGTHS[1]), OUTPUT, NOISE]
    bounds = [(math.log(low), math.log(high)) for low, high in limits] + [(-3.0, 3.0)]
    options = {"maxiter": ITERATIONS, "gtol": 1e-5, "ftol": 1e-7}
    found = minimize(
        loss, start.logs(), jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=note
    ).x.tolist()
    lengthscale, output, noise = (math.exp(log) for log in found[:3])
    return Hyperparameters(lengthscale, output, noise, found[3])
