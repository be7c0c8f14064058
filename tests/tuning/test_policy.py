"""The policy gradient against enumerated gradients, and its clipped ratio against the formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec, UniformSpec
from braid_discrete.exact import ExactChain, optimum
from torch import Tensor

from braid_core.interfaces import Backbone, Tokens
from braid_core.tuning.estimators import Policy, rescore
from braid_core.tuning.price import FixedPrice
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import PolicySpec
from tests.checks import seeded
from tests.doubles import FormulaOracle, GaussianBackbone, GaussianChain, problem

SPACE, ALPHA = Tokens("ACG", 3), 0.4
CHAINS = {
    "one": MaskedSpec(reveal="one", network={"width": 16, "depth": 1}),
    "parallel": MaskedSpec(reveal="parallel", steps=4, network={"width": 16, "depth": 1}),
    "uniform": UniformSpec(steps=4, network={"width": 16, "depth": 1}),
}


def backbone(name: str) -> Backbone:
    model = CHAINS[name].build(SPACE, torch.device("cpu"))
    generator = seeded(1)
    with torch.no_grad():
        for p in model.net.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator))
    return model


def stepped(x: Tensor) -> Tensor:
    """A score that has no gradient: it is made of whole numbers of letters."""
    codes = x.argmax(-1)
    return 1.5 * (codes[:, 0] == codes[:, 2]).float() - (codes[:, 1] == 2).float() * (codes[:, 0] != 1).float()


def estimator(model: Backbone, batch: int, policy: PolicySpec) -> tuple[Policy, list[torch.nn.Parameter]]:
    opened = model.tunable()
    generator = seeded(2)
    with torch.no_grad():  # away from the reference, or the KL has no gradient
        for p in opened.parameters:
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    spec = BraidSpec(alpha=ALPHA, batch=batch, policy=policy)
    return Policy(spec, opened, stepped, FixedPrice(ALPHA), policy), opened.parameters


@pytest.mark.parametrize("name", CHAINS)
def test_stored_paths_are_scored_as_they_were(name: str) -> None:
    model = backbone(name)
    opened = estimator(model, 8, PolicySpec())[0].opened
    with torch.no_grad():
        path = rollout(model.process, opened.tuned.predict, 20, seeded(3), reference=opened.reference, record=True)
        ks = list(range(model.process.steps))
        fixed = torch.stack(
            [
                opened.reference(path.states[k], torch.full((20,), model.process.time(k)), None)
                for k in range(model.process.steps)
            ]
        )
        log_prob, kl = rescore(model.process, opened.tuned.predict, fixed, path.states, ks)
        part = rescore(model.process, opened.tuned.predict, fixed[1:3], path.states, ks[1:3])
    torch.testing.assert_close(log_prob, path.log_prob)
    torch.testing.assert_close(kl, path.kl)
    torch.testing.assert_close(part[0], path.log_prob[:, 1:3])
    assert float(kl.sum()) > 0.1


@pytest.mark.parametrize("name", CHAINS)
def test_its_mean_is_the_enumerated_gradient(name: str) -> None:
    """The gradient of J = E[score] − α·KL(path), by sums over all states, for a score without a gradient."""
    gradient, parameters = estimator(backbone(name), 4096, PolicySpec(updates=1))
    opened = gradient.opened
    exact = ExactChain(opened.tuned.process, opened.tuned.predict, opened.reference)
    exact.objective(stepped(exact.designs), ALPHA).backward(inputs=parameters)
    truth = torch.cat([p.grad.flatten() for p in parameters]).double()
    for p in parameters:
        p.grad = None
    generator = seeded(4)
    for _ in range(10):
        gradient.backward(generator)
    mean = -torch.cat([p.grad.flatten() for p in parameters]).double() / 10
    assert float(torch.cosine_similarity(mean, truth, dim=0)) > 0.99
    assert float(mean.norm() / truth.norm()) == pytest.approx(1, abs=0.05)


def test_the_ratio_moves_and_is_clipped() -> None:
    """Mistake 9 of public code: a ratio that is always 1. The second step's gradient is that of the formula."""
    gradient, parameters = estimator(backbone("one"), 64, PolicySpec(updates=2, ratio=0.1))
    first = gradient.backward(seeded(5))
    with torch.no_grad():
        for p in parameters:
            p.sub_(p.grad)
            p.grad = None
    second = gradient.backward(seeded(6))
    assert torch.equal(first.x, second.x)
    found = torch.cat([p.grad.flatten() for p in parameters])

    opened, ((ks, fixed),) = gradient.opened, gradient.blocks
    assert ks == [0, 1, 2]
    log_prob, kl = rescore(opened.tuned.process, opened.tuned.predict, fixed, gradient.states, ks)
    ratio = (log_prob - gradient.log_prob).exp()
    assert 0.1 < float((ratio - 1).abs().gt(0.1).float().mean()) < 0.9
    after = torch.stack([gradient.kl[:, k + 1 :].sum(1) for k in ks], 1)
    reward = stepped(first.x)[:, None] - ALPHA * after
    advantage = torch.stack([reward[i] - reward[torch.arange(64) != i].mean(0) for i in range(64)])
    gain = torch.where(advantage > 0, ratio.clamp(max=1.1), ratio.clamp(min=0.9)) * advantage
    expected = torch.autograd.grad((ALPHA * kl - gain).sum(1).mean(), parameters)
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]), rtol=1e-4, atol=1e-6)
    assert not torch.equal(gradient.backward(seeded(6)).x, first.x)


def test_blocks_of_steps_do_not_change_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(rows: int) -> Tensor:
        monkeypatch.setattr("braid_core.tuning.estimators.ROWS", rows)
        gradient, parameters = estimator(backbone("parallel"), 16, PolicySpec())
        gradient.backward(seeded(5))
        return torch.cat([p.grad.flatten() for p in parameters])

    torch.testing.assert_close(found(16), found(10_000))


def test_tuning_by_the_policy_gradient_comes_close_to_the_optimum() -> None:
    pretrained = backbone("one")
    before = ExactChain(pretrained.process, pretrained.predict)
    with torch.no_grad():
        p = before.probabilities()
    reward = stepped(before.designs)
    start, (_, best) = float(p @ reward.double()), optimum(p, reward, ALPHA)
    assert best - start > 0.5
    options: dict[str, Any] = {"alpha": ALPHA, "steps": 240, "batch": 128, "learning_rate": 5e-3}
    sampler = BraidSpec(**options, policy={}).build().fit(problem(pretrained, FormulaOracle(stepped)))
    with torch.no_grad():
        after = ExactChain(pretrained.process, sampler.tuned.predict, pretrained.predict)
        reached = float(after.objective(reward, ALPHA))
    assert 0.85 < (reached - start) / (best - start) <= 1 + 1e-6


def test_it_tunes_continuous_chains() -> None:
    """A linear reward w·x costs ‖w‖²S/(2α²) nats at its optimum, S close to 1 for data of unit variance."""
    model = GaussianBackbone(GaussianChain(2, 4), 0.0, 1.0, tuned=("shift",))
    oracle = FormulaOracle(lambda x: x.detach() @ torch.tensor([0.6, 0.8]))
    spec = BraidSpec(alpha=0.5, steps=200, batch=256, learning_rate=0.03, policy={})
    sampler = spec.build().fit(problem(model, oracle))
    assert float(sampler.sample(4000, seeded()).kl.sum(1).mean()) == pytest.approx(2.0, rel=0.2)
