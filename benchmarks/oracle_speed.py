"""How fast are the oracles, beside what one would write without them? Same data, same process, one thread.

bootstrap   M networks in one pass                     against training and asking them one after the other
gp          exact, and sparse in closed form           against plain gpytorch: ExactGP, and SVGP by stochastic steps
rkhs        Nyström features, ridge and bonus          against scikit-learn: Nystroem and Ridge (no bonus)

python benchmarks/oracle_speed.py      # about ten minutes; prints Markdown
"""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from braid_bootstrap import BootstrapSpec
from braid_gp import GPSpec
from braid_rkhs import RKHSSpec
from braid_tasks import TFBind8Spec, UTRSpec
from torch import Tensor

from braid_core.interfaces import LabelledDesigns, Oracle, Space, Streams
from braid_core.nets.reward import RewardModel
from braid_core.registry.spec import OracleSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import gpytorch
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

CPU, BATCH, ADAM_STEPS, SVGP_STEPS = torch.device("cpu"), 128, 100, 300  # a batch as large as those of tuning


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def pace(ask: Callable[[], object]) -> float:
    """Designs a second, the best of three half seconds."""
    ask()
    found = []
    for _ in range(3):
        start, batches = time.process_time(), 0
        while time.process_time() - start < 0.5:
            ask()
            batches += 1
        found.append(batches * BATCH / (time.process_time() - start))
    return max(found)


def row(label: str, n: int, seconds: float, forward: float, gradient: float | None) -> None:
    shown = "–" if gradient is None else f"{gradient:,.0f}"
    print(f"| {label} | {n:,} | {seconds:.2f} | {forward:,.0f} | {shown} |", flush=True)


def ours(label: str, spec: OracleSpec, space: Space, data: LabelledDesigns, x: Tensor) -> Oracle:
    """Fit and ask one of our oracles for the conservative score; with the gradient too."""
    oracle = spec.build(space, CPU)
    seconds = timed(lambda: oracle.fit(data, Streams(0).get("oracle")))
    row(label, len(data), seconds, *paces(lambda design: oracle.posterior(design).conservative(), x))
    return oracle


def paces(score: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    def plain() -> None:
        with torch.no_grad():
            score(x)

    def gradient() -> None:
        design = x.clone().requires_grad_()
        torch.autograd.grad(score(design).sum(), design)

    return pace(plain), pace(gradient)


def one_by_one(space: Space, data: LabelledDesigns, x: Tensor) -> None:
    """The same networks, resamples and training, a member at a time."""
    spec = BootstrapSpec()
    models = [RewardModel(spec.network, space, 1, CPU) for _ in range(spec.members)]

    def fit() -> None:
        for k, model in enumerate(models):
            model.fit(data, Streams(k).get("oracle"), resample=True)

    def score(design: Tensor) -> Tensor:
        return torch.cat([model.predict(design) for model in models]).amin(0)

    row("one after the other", len(data), timed(fit), *paces(score, x))


class Exact(gpytorch.models.ExactGP):  # type: ignore[misc]
    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class Sparse(gpytorch.models.ApproximateGP):  # type: ignore[misc]
    def __init__(self, points: Tensor) -> None:
        posterior = gpytorch.variational.CholeskyVariationalDistribution(len(points))
        super().__init__(gpytorch.variational.VariationalStrategy(self, points, posterior))
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def plain_gpytorch(data: LabelledDesigns, x: Tensor) -> None:
    """As in gpytorch's examples: Adam on the marginal likelihood, or on the bound in batches, cut off far too early."""
    flat, y = data.x.flatten(1), (data.y - data.y.mean()) / data.std
    exact = len(data) <= GPSpec().exact
    model = Exact(flat, y) if exact else Sparse(flat[torch.randperm(len(flat))[: GPSpec().inducing]].clone())
    likelihood = model.likelihood if exact else gpytorch.likelihoods.GaussianLikelihood()
    parameters = {id(p): p for p in [*model.parameters(), *likelihood.parameters()]}.values()
    adam = torch.optim.Adam(parameters, lr=0.1 if exact else 0.01)
    evidence = (
        gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        if exact
        else gpytorch.mlls.VariationalELBO(likelihood, model, len(y))
    )

    def fit() -> None:
        model.train()
        for _ in range(ADAM_STEPS if exact else SVGP_STEPS):
            rows = slice(None) if exact else torch.randint(len(y), (256,))
            adam.zero_grad()
            (-evidence(model(flat[rows]), y[rows])).backward()
            adam.step()

    def score(design: Tensor) -> Tensor:
        belief = model(design.flatten(1))
        value: Tensor = belief.mean - belief.variance.sqrt()
        return value

    with gpytorch.settings.max_cholesky_size(10_000):
        seconds = timed(fit)
        model.eval()
        for parameter in parameters:
            parameter.requires_grad_(False)
        row("plain gpytorch, " + ("exact" if exact else "SVGP"), len(data), seconds, *paces(score, x))


def scikit_learn(data: LabelledDesigns, x: Tensor) -> None:
    """The prediction alone: scikit-learn has no bonus and no gradient."""
    flat, y = data.x.flatten(1).numpy(), data.y.numpy()
    gamma = 1 / torch.pdist(data.x[:1000].flatten(1)).median().square().item() / 2
    pipeline = make_pipeline(Nystroem(gamma=gamma, n_components=512, random_state=0), Ridge(1.0))
    seconds = timed(lambda: pipeline.fit(flat, y))
    asked = x.flatten(1).numpy()
    row("scikit-learn, mean only", len(data), seconds, pace(lambda: pipeline.predict(asked)), None)


def warm_up() -> None:
    """What the first training of a process pays once (torch imports its compiler then) is nobody's merit or fault."""
    task = TFBind8Spec(n=50).build(0)
    RewardModel(BootstrapSpec().network, task.space, 1, CPU).fit(task.offline(), Streams(0).get("oracle"))


def main() -> None:
    """One table for each set of designs."""
    torch.set_num_threads(1)
    warm_up()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "gpytorch", "scikit-learn"))
    print(f"{libraries}, Python {platform.python_version()}, {platform.machine()}, one thread, {datetime.now(UTC):%F}")
    for name, spec in {"TF-Bind-8 (both strands)": TFBind8Spec(cap=1), "UTR": UTRSpec(cap=1)}.items():
        task = spec.build(0)
        every = task.offline()
        x = task.space.random(BATCH, Streams(0).get("x"))
        print(f"\n### {name}\n\n| | n | fit, CPU s | designs/s | with gradient |\n|---|---|---|---|---|")
        for n in sorted({min(n, len(every)) for n in (1_000, 10_000, len(every))}):
            data = every.split(n / len(every), Streams(0).get("size"))[1] if n < len(every) else every
            measure(task.space, data, x)


def measure(space: Space, data: LabelledDesigns, x: Tensor) -> None:
    ours("**bootstrap**", BootstrapSpec(), space, data, x)
    one_by_one(space, data, x)
    ours("**gp**", GPSpec(), space, data, x)
    plain_gpytorch(data, x)
    rkhs = ours("**rkhs**, Nyström", RKHSSpec(features="nystroem", bandwidth=1.0), space, data, x)
    with torch.no_grad():
        alone = pace(lambda: rkhs.posterior(x).mean)
    print(f"| **rkhs**, mean only | {len(data):,} | – | {alone:,.0f} | – |")
    scikit_learn(data, x)


if __name__ == "__main__":
    main()
