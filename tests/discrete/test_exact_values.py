"""The best that any chain with a given start can reach, by backward recursion, against other ways to the number."""

from __future__ import annotations

import pytest
import torch
from braid_discrete.exact import ExactChain, optimum
from braid_discrete.masked import OneByOne, Parallel
from braid_discrete.uniform import Uniform
from torch import Tensor

from braid_core.interfaces import CategoricalTransition, Process, Tokens
from tests.checks import seeded
from tests.discrete.uniform_tables import correlated, exact_network, looked_up, random_table

ALPHA = 0.4
SPACE = Tokens("ABC", 2)
REWARD = torch.randn(9, generator=seeded(3), dtype=torch.float64)


class Free(Uniform):
    """A chain whose steps are whatever the table says, so that one letter can follow any law."""

    def transition(self, out: Tensor, x: Tensor, k: int) -> CategoricalTransition:
        return CategoricalTransition(out.log_softmax(-1), x, torch.ones(x.shape[:-1], dtype=torch.bool))


def reached(process: Uniform, pretrained: Tensor, reward: Tensor, iterations: int = 60) -> float:
    """J after maximising it exactly over all entries of a table, from the pretrained one."""
    table = pretrained.clone().requires_grad_()
    search = torch.optim.LBFGS([table], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        search.zero_grad()
        tuned = ExactChain(process, looked_up(process, table), looked_up(process, pretrained))
        value = -tuned.objective(reward, ALPHA)
        value.backward()
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return -float(loss().detach())


def test_brute_force_reaches_the_best_value_of_an_informative_start() -> None:
    """And the optimum over designs alone is out of reach, since the start may not change."""
    process = Free(Tokens("ABC", 1), 2)
    pretrained, reward = random_table(process, strength=3.0), 2 * REWARD[:3]
    chain = ExactChain(process, looked_up(process, pretrained))
    best, unbound = chain.best_value(reward, ALPHA), optimum(chain.probabilities(), reward, ALPHA)[1]
    value = reached(process, pretrained, reward)
    assert best - 1e-4 < value <= best + 1e-9
    assert best < unbound - 0.01


@pytest.mark.parametrize("process", [OneByOne(SPACE), Parallel(SPACE, 3)], ids=["one", "parallel"])
def test_from_a_constant_start_it_is_the_optimum_over_designs(process: Process) -> None:
    opinion = torch.randn(8, 6, generator=seeded(1), dtype=torch.float64)

    def predict(x: Tensor, t: Tensor, condition: object) -> Tensor:
        return (x.double().flatten(1) @ opinion).reshape(-1, 2, 3)

    chain = ExactChain(process, predict)
    assert chain.best_value(REWARD, ALPHA) == pytest.approx(optimum(chain.probabilities(), REWARD, ALPHA)[1])


def test_an_exact_uniform_chain_forgets_its_start_and_a_factorised_one_falls_short_of_the_best() -> None:
    """Share of the way from the pretrained value to the best: 81 % in 2 steps, 94 % in 8, 97 % in 16."""
    law, shares = correlated(SPACE, strength=1.0), []
    for steps in (2, 8):
        process = Uniform(SPACE, steps)
        pretrained = exact_network(process, law)
        chain = ExactChain(process, looked_up(process, pretrained))
        start, best = float(chain.probabilities() @ REWARD), chain.best_value(REWARD, ALPHA)
        assert best == pytest.approx(optimum(chain.probabilities(), REWARD, ALPHA)[1])
        shares.append((reached(process, pretrained, REWARD) - start) / (best - start))
    assert shares == pytest.approx([0.811, 0.941], abs=0.005)


def test_one_letter_reaches_the_best_in_any_number_of_steps() -> None:
    process = Uniform(Tokens("ABC", 1), 3)
    pretrained = exact_network(process, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    best = ExactChain(process, looked_up(process, pretrained)).best_value(REWARD[:3], ALPHA)
    assert reached(process, pretrained, REWARD[:3]) == pytest.approx(best, abs=1e-6)
