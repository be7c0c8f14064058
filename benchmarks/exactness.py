"""Does fine-tuning reach its own optimum? Everything is enumerated, so the answer is exact.

On the synthetic task `motif` with 4 letters (256 designs, 625 partial states) a backbone is pretrained, an oracle
fitted, and BRAID tuned: with every oracle one letter at a time, through the rollout and by the policy gradient, and
with the bootstrap for the chains that change several letters in a step. J(p_pre), the J that was reached and the
largest that any chain with this start could reach are sums over all paths; nothing is sampled. Beside it: how well
the surrogate gradients point along the enumerated one.

    python benchmarks/exactness.py            # prints Markdown; about twenty minutes on two cores
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from itertools import product

import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec, UniformSpec
from braid_discrete.exact import ExactChain
from braid_gp import GPSpec
from braid_rkhs import RKHSSpec
from braid_tasks import MotifSpec

from braid_core.interfaces import Backbone, LabelledDesigns, Oracle, Problem, Streams
from braid_core.nets.spec import NetworkSpec
from braid_core.registry.spec import BackboneSpec, OracleSpec
from braid_core.tuning.letters import by_substitution
from braid_core.tuning.rollout import rollout
from braid_core.tuning.spec import PolicySpec

ALPHAS = (1.0, 0.3, 0.1)
NETWORK = NetworkSpec(width=64, train_steps=600)
ORACLES: dict[str, OracleSpec] = {
    "bootstrap": BootstrapSpec(network=NETWORK),
    "gp": GPSpec(),
    "rkhs": RKHSSpec(network=NETWORK),
}
CHAINS: dict[str, BackboneSpec] = {
    "one at a time": MaskedSpec(reveal="one"),
    "parallel, 4 steps": MaskedSpec(reveal="parallel", steps=4),
    "parallel, 16 steps": MaskedSpec(reveal="parallel", steps=16),
    "uniform, 16 steps": UniformSpec(steps=16),
}
CELLS = [("one at a time", oracle, "rollout") for oracle in ORACLES]
CELLS += [("one at a time", "bootstrap", "policy")]
CELLS += [(chain, "bootstrap", "rollout") for chain in CHAINS if chain != "one at a time"]
MEASURED = ("one at a time", "parallel, 4 steps")
CPU = torch.device("cpu")


TASK = MotifSpec(length=4, n=120, cap=0.8)


def fitted(oracle: str, seed: int) -> tuple[LabelledDesigns, Oracle]:
    """Offline data and an oracle fitted to them."""
    task = TASK.build(seed)
    data, built = task.offline(), ORACLES[oracle].build(task.space, CPU)
    built.fit(data, Streams(seed).get("oracle"))
    return data, built


def pretrained(chain: str, seed: int) -> Backbone:
    """A backbone pretrained on the task's unlabelled designs."""
    task = TASK.build(seed)
    backbone = CHAINS[chain].build(task.space, CPU)
    backbone.fit(task.unlabelled(), Streams(seed).get("backbone"))
    return backbone


def cosines(problem: Problem, alpha: float, steps: int, reward: torch.Tensor) -> dict[str, float]:
    """Cosine of enumerated gradients and means of surrogate ones (40 batches of 512), after ``steps`` of tuning."""
    opened = problem.pretrained.tunable()
    if steps:
        tuned = BraidSpec(alpha=alpha, steps=steps, milestones=0).build().fit(problem)
        opened.tuned.load_state(tuned.tuned.state())
        opened.tuned.net.requires_grad_(True)
    unit, parameters, generator = problem.data.std, opened.parameters, problem.streams.get("cosine")

    def score(x: torch.Tensor) -> torch.Tensor:
        return problem.oracle.posterior(x).conservative() / unit

    def gradient(value: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(value, parameters, retain_graph=True)
        return torch.cat([part.flatten() for part in parts]).double()

    exact = ExactChain(opened.tuned.process, opened.tuned.predict, opened.reference)
    truth_reward, truth_kl = gradient(exact.probabilities() @ reward), gradient(exact.path_kl())
    sums = {"exact letters": 0.0, "relaxed": 0.0, "KL": 0.0}
    for _ in range(40):
        path = rollout(opened.tuned.process, opened.tuned.predict, 512, generator, reference=opened.reference)
        sums["exact letters"] += gradient(by_substitution(score, path.x).mean())
        sums["relaxed"] += gradient(score(path.x).mean())
        sums["KL"] += gradient(path.kl.sum(1).mean())

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(a, b, dim=0))

    return {
        "J, exact letters": cosine(sums["exact letters"] - alpha * sums["KL"], truth_reward - alpha * truth_kl),
        "J, relaxed": cosine(sums["relaxed"] - alpha * sums["KL"], truth_reward - alpha * truth_kl),
        "KL alone": cosine(sums["KL"], truth_kl) if steps else float("nan"),  # its gradient is 0 at the start
    }


def reach(problem: Problem, before: ExactChain, reward: torch.Tensor, alpha: float, method: str) -> tuple[float, ...]:
    """J at the start, reached, and at most; the path KL and the marginal KL that were paid."""
    policy = PolicySpec() if method == "policy" else None
    tuned = BraidSpec(alpha=alpha, policy=policy, milestones=0).build().fit(problem)
    with torch.no_grad():
        after = ExactChain(problem.pretrained.process, tuned.tuned.predict, tuned.reference)
        p_pre, p = before.probabilities(), after.probabilities()
    start, reached = float(p_pre @ reward), float(after.objective(reward, alpha))
    marginal = float((p * (p / p_pre).log()).sum())
    return start, reached, before.best_value(reward, alpha), float(after.path_kl()), marginal


def main(seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print(
        "| chain | oracle | gradient | seed | alpha | J(p_pre) | J reached | J at most | share | path KL | marg. KL |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    gradients = []
    for (chain, name, method), seed in product(CELLS, seeds):
        data, oracle = fitted(name, seed)
        problem = Problem(data, pretrained(chain, seed), oracle, Streams(seed))
        with torch.no_grad():
            before = ExactChain(problem.pretrained.process, problem.pretrained.predict)
            reward = oracle.posterior(before.designs).conservative().double() / data.std
        for alpha in ALPHAS:
            start, reached, best, path, marginal = reach(problem, before, reward, alpha, method)
            share = (reached - start) / (best - start)
            row = (chain, name, method, seed, alpha, f"{start:.3f}", f"{reached:.3f}", f"{best:.3f}", f"{share:.1%}")
            print("|", " | ".join(map(str, row)), f"| {path:.3f} | {marginal:.3f} |", flush=True)
        if seed == seeds[0] and chain in MEASURED and (name, method) == ("bootstrap", "rollout"):
            settings = [(alpha, steps) for alpha in (0.3, 0.1) for steps in (0, 20, 60)]
            gradients += [(chain, *setting, cosines(problem, *setting, reward)) for setting in settings]
    print("\n| reveal | alpha | tuning steps | " + " | ".join(gradients[0][3]) + " |\n|---|---|---|---|---|---|")
    for chain, alpha, steps, found in gradients:
        print(f"| {chain} | {alpha} | {steps} | " + " | ".join(f"{value:.4f}" for value in found.values()) + " |")


if __name__ == "__main__":
    main()
