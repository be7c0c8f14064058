"""Fine-tuning the Gaussian backbone: the closed-form optimum, in real units, through the shared loop."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

import pytest
import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from braid_continuous import GaussianSpec
from braid_continuous.backbone import GaussianBackbone
from braid_continuous.process import GaussianProcess
from braid_continuous.scaling import Scaling
from torch import Tensor, nn

from braid_core.errors import UnsupportedError
from braid_core.interfaces import Condition, Images, LabelledDesigns, Problem, Silent, Streams, Vectors
from braid_core.tuning.finetune import FineTuned
from braid_core.tuning.rollout import rollout
from tests.checks import flat, seeded, slopes
from tests.continuous.exact import DOUBLE, ExactNetwork, affine, process
from tests.doubles import FormulaOracle, problem

CPU = torch.device("cpu")
MEAN = torch.tensor([0.3, -0.2], dtype=DOUBLE)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=DOUBLE)
UNITS = Scaling(torch.tensor([40.0, -5.0], dtype=DOUBLE), torch.tensor([7.0, 0.5], dtype=DOUBLE))


class Shifted(nn.Module):
    """A perfect network, and a shift per step that fine-tuning may move."""

    def __init__(self, chain: GaussianProcess) -> None:
        super().__init__()
        self.chain, self.exact = chain, ExactNetwork(chain, MEAN, COVARIANCE)
        self.shift = nn.Parameter(torch.zeros(chain.steps, 2, dtype=DOUBLE))

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        k = round((1 - float(t[0])) * self.chain.steps)
        return self.exact(x, t) + self.shift[k]


class ExactBackbone(GaussianBackbone):
    """Knows the data's law instead of learning it."""

    def __init__(self, chain: GaussianProcess) -> None:
        super().__init__(chain, GaussianSpec(network={"width": 4}), CPU)
        self.net, self.scaling = Shifted(chain), UNITS

    def _copy(self) -> Self:
        twin = type(self)(self.process)
        twin.net = deepcopy(self.net)
        return twin


def value(backbone: ExactBackbone, shift: Tensor, c: Tensor, alpha: float) -> Tensor:
    """What ``shift`` gains in J = E[c·z] − α·path KL over no shift, exactly: every step is affine in the state."""
    chain, network = backbone.process, backbone.net.exact
    moved, cost = torch.zeros(2, dtype=DOUBLE), torch.zeros((), dtype=DOUBLE)
    x = torch.zeros(1, 2, dtype=DOUBLE)
    for k in range(chain.steps):
        carry, _, sigma = affine(chain, network, k)
        by = (chain.transition(shift[k : k + 1], x, k).mean - chain.transition(0 * x, x, k).mean)[0]
        moved, cost = carry @ moved + by, cost + by.square().sum() / (2 * sigma**2)
    return c @ moved - alpha * cost


def best(backbone: ExactBackbone, c: Tensor, alpha: float) -> float:
    """Of E[c·z] − α·KL over shifts of all steps: Σ_k σ_k²‖R_kᵀc‖²/(2α), R_k what later steps make of a move at k."""
    chain, total, reach = backbone.process, 0.0, torch.eye(2, dtype=DOUBLE)
    for k in reversed(range(chain.steps)):
        carry, _, sigma = affine(chain, backbone.net.exact, k)
        total += sigma**2 * float((reach.T @ c).square().sum()) / (2 * alpha)
        reach = reach @ carry
    return total


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 10},
        {"steps": 10, "prediction": "epsilon", "schedule": "linear", "variance": "large", "last_noise": 1.0},
        {"steps": 6, "prediction": "x0", "eta": 0.5},
    ],
)
def test_tuning_reaches_the_optimum_of_a_linear_reward(options: dict[str, Any]) -> None:
    """r = w·x in design units, alpha in standard deviations of the rewards: 98 % of what the best shifts gain."""
    alpha, unit, w = 0.5, 3.0, torch.tensor([0.5, -4.0], dtype=DOUBLE)
    backbone = ExactBackbone(process(**options))
    oracle = FormulaOracle(lambda x: x @ w)
    spec = BraidSpec(alpha=alpha, steps=200, batch=8, learning_rate=0.1, clip=1000.0)
    sampler = spec.build().fit(problem(backbone, oracle, unit))
    assert isinstance(sampler, FineTuned)

    c = w * UNITS.scale / unit
    optimum, shift = best(backbone, c, alpha), sampler.tuned.net.shift.detach()
    reached = float(value(backbone, shift, c, alpha))
    assert optimum > 0.2
    assert 0.98 * optimum <= reached <= optimum * (1 + 1e-9)

    path, before = (s.sample(20_000, seeded()) for s in (sampler, spec.build().sampler(backbone, oracle)))
    gained = (path.x - before.x) @ w / unit - alpha * path.kl.sum(1)
    assert float(gained.mean()) == pytest.approx(reached, rel=1e-3)


def test_the_value_of_the_optimum_is_that_of_the_closed_form() -> None:
    """With many steps E_pre[r] + (1/2α)·Var_pre[r] = α·log E_pre[exp(r/α)] for Gaussian data (Uehara et al. 2024)."""
    c, alpha = torch.tensor([1.0, -0.5], dtype=DOUBLE), 0.5
    backbone = ExactBackbone(process(1000, schedule="linear"))
    assert best(backbone, c, alpha) == pytest.approx(float(c @ COVARIANCE @ c) / (2 * alpha), rel=0.02)


def test_a_trained_network_is_tuned_in_real_units() -> None:
    """Defaults of the chain, data around 40 ± 7: α·log E_pre[exp(r/α)] − E_pre[r] is reached, as far as 5,000 draws
    can tell."""
    z = torch.randn(2000, 2, generator=seeded())
    z = torch.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1]], 1)
    designs = UNITS.decode(z.double()).float()
    model = GaussianSpec(steps=12, train_steps=400, learning_rate=5e-3, network={"width": 32}).build(Vectors(2), CPU)
    model.fit(designs, seeded())
    w, alpha, unit = torch.tensor([0.1, 0.5]), 1.0, 0.5
    oracle = FormulaOracle(lambda x: x @ w)
    spec = BraidSpec(alpha=alpha, steps=150, batch=64, learning_rate=5e-3)
    tuned = spec.build().fit(problem(model, oracle, unit)).sample(5000, seeded(1))
    plain = spec.build().sampler(model, oracle).sample(5000, seeded(1))
    rewards = plain.x @ w / unit
    optimum = alpha * float(torch.logsumexp(rewards.double() / alpha, 0) - torch.tensor(5000.0).log() - rewards.mean())
    gained = float((tuned.x @ w / unit).mean() - rewards.mean() - alpha * tuned.kl.sum(1).mean())
    assert 0.9 * optimum < gained < 1.1 * optimum


def test_gradients_are_those_of_finite_differences() -> None:
    """Plain, checkpointed and truncated to all steps; for given noise they are exact."""
    backbone = ExactBackbone(process(4, last_noise=0.3))
    opened = backbone.tunable()
    with torch.no_grad():
        opened.parameters[0].add_(0.3 * torch.randn(4, 2, generator=seeded(2), dtype=DOUBLE))

    def loss(**options: Any) -> Tensor:
        path = rollout(backbone.process, opened.tuned.predict, 5, seeded(), reference=opened.reference, **options)
        return path.kl.sum() + opened.tuned.decode(path.x).square().sum() / 100

    expected = flat(slopes(loss, opened.parameters))
    for options in ({}, {"checkpoint": True}, {"truncate": 4}):
        found = flat(torch.autograd.grad(loss(**options), opened.parameters))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{"eta": 0.0}, {"last_noise": 0.0}])
def test_a_chain_without_noise_is_refused(options: dict[str, float]) -> None:
    model = GaussianSpec(steps=3, network={"width": 4}, **options).build(Vectors(2), CPU)
    with pytest.raises(UnsupportedError, match=r"no noise(.|\n)*eta > 0"):
        BraidSpec(steps=1).build().fit(problem(model, FormulaOracle(lambda x: x.sum(1))))


def test_images_from_designs_to_better_designs() -> None:
    """Pretraining, an oracle, fine-tuning and sampling of 1×8×8 grey images, 0 to 255: brighter is better."""
    space, streams = Images(1, 8, 8), Streams(0)
    designs = 255 * torch.rand(64, 1, 8, 8, generator=seeded()).square()
    data = LabelledDesigns(designs, designs.flatten(1).mean(1) / 255)
    network = {"width": 8, "train_steps": 30}
    model = GaussianSpec(steps=5, train_steps=60, batch=32, network={"width": 8}).build(space, CPU)
    model.fit(designs, seeded())
    oracle = BootstrapSpec(members=2, network=network).build(space, CPU)
    oracle.fit(data, seeded())
    spec = BraidSpec(alpha=0.01, steps=10, batch=16, learning_rate=3e-3)
    sampler = spec.build().fit(Problem(data, model, oracle, streams, Silent()))
    tuned, plain = (s.sample(64, seeded(1)) for s in (sampler, spec.build().sampler(model, oracle)))
    assert tuned.x.shape == (64, 1, 8, 8)
    assert float(oracle.posterior(tuned.x).conservative().mean()) > float(
        oracle.posterior(plain.x).conservative().mean()
    )
    reopened = spec.build().sampler(model, oracle)
    reopened.load_state(sampler.state())
    assert torch.equal(reopened.sample(8, seeded(1)).x, sampler.sample(8, seeded(1)).x)
