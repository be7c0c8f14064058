"""Posteriors with fixed hyperparameters against published values, scikit-learn, gpytorch and dense inverses."""

from __future__ import annotations

import math
import warnings

import gpytorch
import pytest
import torch
from braid_gp import regression as regression_module
from braid_gp.conditioning import cholesky, log_density, sparse
from braid_gp.kernel import Hyperparameters, Kind
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern
from torch import Tensor

from braid_core.errors import BraidError
from tests.checks import seeded
from tests.gp.problems import ASSUMED, dense, kernel, points, predict, regression, table, wave

KINDS: tuple[Kind, ...] = ("rbf", "matern")
N = 60


def order(n: int) -> Tensor:
    return torch.randperm(n, generator=seeded(4))


def test_published_values() -> None:
    """RBF of length 0.25, output scale 1.3, noise 0.01: gpytorch, botorch and scikit-learn agree to 1e-14."""
    x = torch.tensor([0, 0.3, 0.7, 1], dtype=torch.float64)[:, None]
    y = torch.tensor([0, 0.8, -0.2, 0.5], dtype=torch.float64)
    expansion, evidence = regression(x, table(y), "rbf", Hyperparameters(0.25, 1.3, 0.01, 0)).condition(order(4))
    mean, variance = predict(expansion, torch.tensor([0.15, 0.5, 1.5], dtype=torch.float64)[:, None])
    assert mean.tolist() == pytest.approx([0.5191748877715163, 0.28970373956649687, 0.12477528119565374], rel=1e-12)
    assert variance.tolist() == pytest.approx([0.0758188400140, 0.1605961589540, 1.2698656448072], rel=1e-11)
    assert evidence == pytest.approx(-4.576558366380414, rel=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True], ids=["equal noise", "given variances"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_exact_posterior_is_that_of_scikit_learn(
    kind: Kind, known: bool, dtype: torch.dtype, tolerance: float
) -> None:
    x, at = points(N), points(20, seed=1)
    y = wave(x)
    variance = torch.linspace(0.01, 0.3, N, dtype=torch.float64) if known else torch.zeros(N, dtype=torch.float64)
    base = RBF(0.8) if kind == "rbf" else Matern(0.8, nu=2.5)
    reference = GaussianProcessRegressor(
        ConstantKernel(1.3) * base, alpha=(variance + ASSUMED.noise).numpy(), optimizer=None
    ).fit(x.numpy(), (y - ASSUMED.mean).numpy())
    mean, std = (torch.as_tensor(value, dtype=dtype) for value in reference.predict(at.numpy(), return_std=True))

    expansion, evidence = regression(x, table(y, known=variance), kind).condition(order(N))
    ours, latent = predict(expansion.to(dtype), at.to(dtype))
    torch.testing.assert_close(ours, mean + ASSUMED.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(latent.sqrt(), std, rtol=tolerance, atol=tolerance)
    assert evidence == pytest.approx(reference.log_marginal_likelihood_value_, rel=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_posterior_by_dense_inverses(kind: Kind) -> None:
    x, at = points(N), points(20, seed=1)
    noise = torch.full((N,), ASSUMED.noise, dtype=torch.float64)
    mean, variance, evidence = dense(kind, x, wave(x), noise, at)
    expansion, ours = regression(x, table(wave(x)), kind).condition(order(N))
    torch.testing.assert_close(predict(expansion, at), (mean, variance), rtol=1e-10, atol=1e-12)
    assert ours == pytest.approx(float(evidence), rel=1e-12)


@pytest.mark.parametrize("anchors", [7, 20], ids=["sparse", "exact"])
def test_averages_of_repeats_stand_for_all_of_them(anchors: int) -> None:
    """The same posterior as from every row by itself, an identity."""
    x, at = points(20), points(10, seed=1)
    member = torch.arange(20).repeat_interleave(torch.arange(20) % 4 + 1)
    y = wave(x[member])
    count = member.bincount().double()
    average = torch.zeros(20, dtype=torch.float64).index_add(0, member, y) / count
    index = order(20)[:anchors]
    if anchors == 20:
        noise = torch.full((len(y),), ASSUMED.noise, dtype=torch.float64)
        expected: tuple[Tensor, ...] = dense("rbf", x[member], y, noise, at)[:2]
    else:
        first = torch.tensor([int((member == i).nonzero()[0]) for i in index])
        expected = predict(regression(x[member], table(y)).condition(first)[0], at)
    expansion, _ = regression(x, table(average, share=1 / count)).condition(index)
    mean, variance = predict(expansion, at)
    tolerance = 1e-10 if anchors == 20 else 1e-7  # the jitter is relative to another scale
    torch.testing.assert_close(mean, expected[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(variance, expected[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sparse_posterior_on_all_designs_is_exact(kind: Kind) -> None:
    x, at = points(N), points(20, seed=1)
    problem = regression(x, table(wave(x)), kind)
    expansion, evidence = problem.condition(order(N))
    rows = problem._located(order(N))
    solution = sparse(kernel(kind, x[order(N)], x[order(N)]), problem._blocks(rows))
    variational = problem._expansion(rows, solution)
    torch.testing.assert_close(predict(variational, at), predict(expansion, at), rtol=1e-5, atol=1e-5)
    assert solution.evidence == pytest.approx(evidence, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sparse_posterior_by_dense_inverses(kind: Kind) -> None:
    """Titsias 2009, eq. 6, 9 and 10, not whitened: Σ = Kzz + KzxΛ⁻¹Kxz."""
    x, at = points(N), points(20, seed=1)
    y, known = wave(x), torch.linspace(0, 0.3, N, dtype=torch.float64)
    index = order(N)[:15]
    z, noise, residual = x[index], known + ASSUMED.noise, y - ASSUMED.mean
    Kzz, Kzx, Kz = kernel(kind, z, z), kernel(kind, z, x), kernel(kind, at, z)
    inverse = (Kzz + Kzx / noise @ Kzx.T).inverse()
    mean = ASSUMED.mean + Kz @ inverse @ Kzx @ (residual / noise)
    variance = ASSUMED.output - (Kz @ (Kzz.inverse() - inverse) * Kz).sum(1)
    Q = Kzx.T @ Kzz.inverse() @ Kzx
    fit = torch.distributions.MultivariateNormal(torch.zeros_like(y), Q + noise.diag()).log_prob(residual)
    bound = fit - 0.5 * ((ASSUMED.output - Q.diagonal()) / noise).sum()

    expansion, evidence = regression(x, table(y, known=known), kind).condition(index)
    torch.testing.assert_close(predict(expansion, at), (mean, variance), rtol=1e-5, atol=1e-6)
    assert evidence == pytest.approx(float(bound), rel=1e-6)


def double(value: float) -> Tensor:
    """gpytorch rounds plain numbers to single precision."""
    return torch.tensor(value, dtype=torch.float64)


class Variational(gpytorch.models.ApproximateGP):  # type: ignore[misc]
    """The same model, its variational parameters to be trained by natural gradients (Hensman et al. 2013)."""

    def __init__(self, z: Tensor) -> None:
        parameters = gpytorch.variational.NaturalVariationalDistribution(len(z))
        strategy = gpytorch.variational.VariationalStrategy(
            self, z, parameters, learn_inducing_locations=False, jitter_val=1e-9
        )
        super().__init__(strategy)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
        self.double()
        self.mean_module.constant = double(ASSUMED.mean)
        self.covar_module.outputscale = double(ASSUMED.output)
        self.covar_module.base_kernel.lengthscale = double(ASSUMED.lengthscale)

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def test_no_trained_variational_posterior_is_better() -> None:
    """gpytorch's bound rises to ours and stays there; its posterior becomes ours."""
    x, at = points(N), points(20, seed=1)
    y, index = wave(x), order(N)[:15]
    model = Variational(x[index])
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = double(ASSUMED.noise)
    bound = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=N)
    optimiser = gpytorch.optim.NGD(model.variational_parameters(), num_data=N, lr=0.5)
    expansion, evidence = regression(x, table(y)).condition(index)
    model.train()
    reached = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            optimiser.zero_grad()
            loss = -bound(model(x), y)
            loss.backward()
            optimiser.step()
            reached.append(-N * float(loss.detach()))
        model.eval()
        with torch.no_grad():
            belief = model(at)
    assert reached[0] < evidence - 10
    assert max(reached) <= evidence + 1e-6
    assert reached[-1] == pytest.approx(evidence, abs=1e-4)
    mean, variance = predict(expansion, at)
    torch.testing.assert_close(mean, belief.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(variance, belief.variance, rtol=1e-4, atol=1e-5)


def test_the_bound_is_one_and_rises_with_the_inducing_designs() -> None:
    x = points(N)
    problem = regression(x, table(wave(x)))
    bounds = [problem.condition(order(N)[:m])[1] for m in (5, 20, 40, N)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] - 10


def test_data_read_in_blocks_are_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    x, at = points(N), points(20, seed=1)
    problem = regression(x, table(wave(x)))
    whole, bound = problem.condition(order(N)[:15])
    monkeypatch.setattr(regression_module, "BLOCK", 7)
    parts, same = problem.condition(order(N)[:15])
    torch.testing.assert_close(predict(parts, at), predict(whole, at), rtol=1e-9, atol=1e-10)
    assert same == pytest.approx(bound, rel=1e-10)


def test_a_close_pair_of_inducing_designs_does_no_harm() -> None:
    """Their kernel is singular in floating point; the jitter, too small to see, carries it."""
    x, at = points(N), points(20, seed=1)
    twice = torch.cat([x, x[:1] + 1e-9])
    y = wave(twice)
    expansion, evidence = regression(twice, table(y)).condition(torch.cat([order(N)[:15], torch.tensor([0, N])]))
    single, bound = regression(twice, table(y)).condition(torch.cat([order(N)[:15], torch.tensor([0])]))
    torch.testing.assert_close(predict(expansion, at), predict(single, at), rtol=1e-3, atol=1e-4)
    assert evidence == pytest.approx(bound, abs=1e-3)


def test_far_from_the_data_there_is_the_prior() -> None:
    x = points(N)
    for index in (order(N), order(N)[:15]):
        mean, variance = predict(regression(x, table(wave(x))).condition(index)[0], torch.full_like(x[:1], 100))
        assert float(mean) == pytest.approx(ASSUMED.mean)
        assert float(variance) == pytest.approx(ASSUMED.output)


def test_more_data_leave_less_uncertainty() -> None:
    x, at = points(N), points(50, seed=1)
    spreads = [predict(regression(x[:n], table(wave(x[:n]))).condition(order(n))[0], at)[1] for n in (10, 30, N)]
    assert bool((spreads[1] <= spreads[0]).all())
    assert bool((spreads[2] <= spreads[1]).all())
    assert float((spreads[2] / spreads[0]).mean()) < 0.6


def test_the_variance_stays_positive_where_rounding_eats_it() -> None:
    """Noise of 1e-4 on 200 designs so close together that single precision sees a variance of 0 or less."""
    x = points(200) / 100
    data = table(wave(x))
    expansion, _ = regression(x, data, "rbf", Hyperparameters(1.0, 100.0, 1e-4, 0)).condition(order(200))
    at = x.float().requires_grad_()
    _, variance = predict(expansion.to(torch.float32), at)
    assert float(variance.detach().min()) > 0
    (gradient,) = torch.autograd.grad(variance.sqrt().sum(), at)
    assert bool(gradient.isfinite().all())


def test_log_density_is_that_of_torch() -> None:
    covariance = kernel("rbf", points(9), points(9)) + torch.eye(9, dtype=torch.float64)
    y = wave(points(9))
    expected = torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)
    torch.testing.assert_close(log_density(cholesky(covariance), y), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("entry", "why"), [(-1.0, "not positive definite"), (math.nan, "NaN"), (math.inf, "infinite")])
def test_a_failed_factorisation_is_said_aloud(entry: float, why: str) -> None:
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[1, 1] = entry
    with pytest.raises(BraidError, match=rf"cannot be factorised(.|\n)*3 designs(.|\n)*{why}(.|\n)*matern"):
        cholesky(matrix)
