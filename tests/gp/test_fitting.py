"""Hyperparameters: the objective against gpytorch's own, the optimum against scikit-learn's and Adam's."""

from __future__ import annotations

import math

import gpytorch
import numpy as np
import pytest
import torch
from braid_gp import fitting
from braid_gp.kernel import Hyperparameters, Kind, squared_distances
from braid_gp.measurements import LEAST_NOISE, Measurements
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from torch import Tensor

from braid_core.errors import BraidError
from braid_core.interfaces import Silent
from tests.doubles import Heard
from tests.gp.problems import ASSUMED, kernel, points, table, wave

KINDS: tuple[Kind, ...] = ("rbf", "matern")
N = 60


def standard(y: Tensor) -> Tensor:
    return (y - y.mean()) / y.std()


def objective(kind: Kind, x: Tensor, data: Measurements) -> tuple[fitting.Loss, Hyperparameters]:
    squared = squared_distances(x, x[None])
    typical = fitting.typical(squared)
    return fitting.objective(kind, squared, data, typical), typical


def prior(logs: list[float], typical: Hyperparameters) -> float:
    """log density of three log-normals of width 2 and a standard normal."""
    widths = (fitting.WIDTH, fitting.WIDTH, fitting.WIDTH, 1.0)
    return float(
        sum(
            torch.distributions.Normal(center, width).log_prob(torch.tensor(value, dtype=torch.float64))
            for value, center, width in zip(logs, typical.logs(), widths, strict=True)
        )
    )


def evidence(found: Hyperparameters, x: Tensor, y: Tensor, kind: Kind = "rbf") -> float:
    covariance = kernel(kind, x, x, found) + found.noise * torch.eye(len(x), dtype=torch.float64)
    center = torch.full_like(y, found.mean)
    return float(torch.distributions.MultivariateNormal(center, covariance).log_prob(y))


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_is_the_log_posterior_of_the_hyperparameters(kind: Kind) -> None:
    x = points(N)
    data = table(standard(wave(x)))
    loss, typical = objective(kind, x, data)
    value, _ = loss(np.array(ASSUMED.logs()))
    expected = evidence(ASSUMED, x, data.y, kind) + prior(ASSUMED.logs(), typical)
    assert -N * value == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_agrees_with_finite_differences(kind: Kind) -> None:
    x = points(N)
    data = table(standard(wave(x)), torch.rand(N).double() + 0.1, torch.rand(N).double() / 9, extra=20, within=3.0)
    loss, _ = objective(kind, x, data)
    at = np.array(ASSUMED.logs())
    _, gradient = loss(at)
    for i, step in enumerate(1e-5 * np.eye(4)):
        slope = (loss(at + step)[0] - loss(at - step)[0]) / 2e-5
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_its_gradient_is_that_of_gpytorch() -> None:
    """Through gpytorch's own kernel, likelihood and factorisation."""
    x = points(N)
    data = table(standard(wave(x)))
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = _Plain(x, data.y, likelihood).double()
    model.set(ASSUMED)
    output = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)(model(x), data.y)
    parameters = model.logs()
    gradients = torch.autograd.grad(output, [raw for raw, _ in parameters])
    reference = [float(g.detach()) / slope for g, (_, slope) in zip(gradients, parameters, strict=True)]

    loss, typical = objective("rbf", x, data)
    _, gradient = loss(np.array(ASSUMED.logs()))
    widths = np.array([fitting.WIDTH] * 3 + [1.0])
    pulls = (np.array(ASSUMED.logs()) - np.array(typical.logs())) / widths**2 / N
    assert (pulls - gradient).tolist() == pytest.approx(reference, rel=1e-6)


class _Plain(gpytorch.models.ExactGP):  # type: ignore[misc]
    """The model as gpytorch's documentation writes it."""

    def __init__(self, x: Tensor, y: Tensor, likelihood: gpytorch.likelihoods.GaussianLikelihood) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    def set(self, to: Hyperparameters) -> None:
        values = torch.tensor([to.lengthscale, to.output, to.noise, to.mean], dtype=torch.float64)
        self.covar_module.base_kernel.lengthscale, self.covar_module.outputscale = values[0], values[1]
        self.likelihood.noise, self.mean_module.constant = values[2], values[3]

    def logs(self) -> list[tuple[Tensor, float]]:
        """Raw parameters, and d log(value) / d raw of each."""
        inner = self.covar_module.base_kernel
        noise = self.likelihood.noise_covar
        pairs = [
            (inner.raw_lengthscale, inner.raw_lengthscale_constraint),
            (self.covar_module.raw_outputscale, self.covar_module.raw_outputscale_constraint),
            (noise.raw_noise, noise.raw_noise_constraint),
        ]
        slopes = []
        for raw, constraint in pairs:
            here = raw.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(constraint.transform(here).log().sum(), here)
            slopes.append((raw, float(slope)))
        return [*slopes, (self.mean_module.raw_constant, 1.0)]

    def current(self) -> Hyperparameters:
        return Hyperparameters(
            float(self.covar_module.base_kernel.lengthscale.detach()),
            float(self.covar_module.outputscale.detach()),
            float(self.likelihood.noise.detach()),
            float(self.mean_module.constant.detach()),
        )


def test_repeats_count_as_in_the_likelihood_of_every_row() -> None:
    """Averages, their counts and the scatter around them are sufficient: the identity holds for every σ²."""
    x = points(20)
    member = torch.arange(20).repeat_interleave(torch.arange(20) % 3 + 1)
    y = wave(x[member])
    count = member.bincount().double()
    average = torch.zeros(20, dtype=torch.float64).index_add(0, member, y) / count
    within = float((y - average[member]).square().sum())
    loss, typical = objective("rbf", x, table(average, 1 / count, extra=len(y) - 20, within=within))
    for noise in (0.01, 0.3):
        assumed = Hyperparameters(0.8, 1.3, noise, 0.2)
        expected = evidence(assumed, x[member], y) + prior(assumed.logs(), typical)
        assert -20 * loss(np.array(assumed.logs()))[0] == pytest.approx(expected, rel=1e-6)


def fit(x: Tensor, y: Tensor, kind: Kind = "rbf") -> Hyperparameters:
    return fitting.fit(kind, x[None], table(standard(y)), Silent())


def test_the_optimum_is_at_least_that_of_scikit_learn_and_of_adam() -> None:
    x = points(N)
    y = standard(wave(x))
    found = fit(x, wave(x))
    reference = GaussianProcessRegressor(
        ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.1), n_restarts_optimizer=5, random_state=0
    ).fit(x.numpy(), y.numpy())
    typical = fitting.typical(squared_distances(x, x[None]))
    theirs = [float(value) for value in reference.kernel_.theta]
    others = [Hyperparameters(math.exp(theirs[1]), math.exp(theirs[0]), math.exp(theirs[2]), 0.0), adam(x, y)]
    for other in others:
        assert evidence(found, x, y) > evidence(other, x, y) - 0.1
        ours = evidence(found, x, y) + prior(found.logs(), typical)
        assert ours >= evidence(other, x, y) + prior(other.logs(), typical) - 1e-3


def adam(x: Tensor, y: Tensor) -> Hyperparameters:
    """The recipe of gpytorch's documentation, without priors."""
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = _Plain(x, y, likelihood).double()
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (-evidence(model(x), y)).backward()
        optimiser.step()
    return model.current()


def test_the_truth_is_found() -> None:
    """A sample of a known process; about 300 designs settle its parameters to a quarter or so."""
    x = points(300)
    truth = Hyperparameters(0.7, 1.0, 0.04, 0.0)
    covariance = kernel("rbf", x, x, truth) + truth.noise * torch.eye(300, dtype=torch.float64)
    draw = torch.randn(300, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.linalg.cholesky(covariance) @ draw
    found = fit(x, y)
    assert found.lengthscale == pytest.approx(truth.lengthscale, rel=0.25)
    assert found.noise * float(y.var()) == pytest.approx(truth.noise, rel=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_from_a_part_ends_where_that_from_all_does(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    x = points(200)
    warm = fit(x, wave(x), kind)
    monkeypatch.setattr(fitting, "WARM", 50)
    assert fit(x, wave(x), kind).logs() == pytest.approx(warm.logs(), abs=0.02)


def test_fast_waves_are_not_taken_for_noise() -> None:
    """A wavelength of a tenth of the range: seen from the median distance it is noise."""
    x = torch.linspace(0, 1, 100, dtype=torch.float64)[:, None]
    found = fit(x, (60 * x[:, 0]).sin())
    assert found.noise < 0.01
    assert found.lengthscale < 0.1


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([0.0, 1.0]),
        torch.tensor([0.0, 1e-30, 1.0]),
        torch.tensor([0.0] * 30 + [1e6]),
        torch.linspace(0, 1, 50),
        torch.randn(50, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["two", "three", "outlier", "linear, without noise", "noise alone"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_few_and_odd_data_end_within_the_limits(y: Tensor, kind: Kind) -> None:
    x = torch.linspace(0, 1, len(y), dtype=torch.float64)[:, None]
    found = fit(x, y.double(), kind)
    typical = fitting.typical(squared_distances(x, x[None])).lengthscale
    slack = 1 + 1e-9
    assert LEAST_NOISE / slack <= found.noise <= fitting.NOISE[1] * slack
    assert fitting.OUTPUT[0] / slack <= found.output <= fitting.OUTPUT[1] * slack
    assert fitting.LENGTHS[0] / slack <= found.lengthscale / typical <= fitting.LENGTHS[1] * slack
    assert abs(found.mean) <= 3


def test_designs_that_look_alike_have_some_lengthscale() -> None:
    """As when a network has learned nothing: all features are equal."""
    found = fit(torch.zeros(20, 3, dtype=torch.float64), torch.arange(20).double())
    assert all(math.isfinite(value) for value in found.logs())


def test_infinite_designs_are_refused() -> None:
    with pytest.raises(BraidError, match="cannot be factorised"):
        fit(torch.full((5, 2), torch.inf, dtype=torch.float64), torch.arange(5).double())


def test_progress_is_reported() -> None:
    heard, x = Heard(), points(N)
    fitting.fit("rbf", x[None], table(standard(wave(x))), heard)
    done = [step for step, _, _ in heard.steps]
    assert done == list(range(1, len(done) + 1))
    losses = [figures["loss"] for _, _, figures in heard.steps]
    assert losses[-1] < losses[0]
    assert {total for _, total, _ in heard.steps} == {fitting.STEPS}
