"""Does fine-tuning reach its own optimum? Everything is enumerated, so the answer is exact.

On the synthetic task `motif` with 4 letters (256 designs, 625 partial states) a masked backbone is pretrained, a
bootstrap ensemble fitted, and BRAID tuned. J(p*), J(p_pre) and the J that was reached are sums over all paths; nothing
is sampled. Beside it: how well the surrogate gradients point along the enumerated one.

    python benchmarks/exactness.py            # prints Markdown; about ten minutes on two cores
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch
from braid_bootstrap import BootstrapSpec
from braid_conservative import BraidSpec
from braid_discrete import MaskedSpec
from braid_discrete.exact import ExactChain, optimum
from braid_tasks import MotifSpec

from braid_core.interfaces import Backbone, LabelledDesigns, Oracle, Problem, Streams
from braid_core.nets.spec import NetworkSpec
from braid_core.tuning.letters import by_substitution
from braid_core.tuning.rollout import rollout

ALPHAS = (1.0, 0.3, 0.1)
MODES = {
    "one at a time": MaskedSpec(reveal="one"),
    "parallel, 4 steps": MaskedSpec(reveal="parallel", steps=4),
    "parallel, 16 steps": MaskedSpec(reveal="parallel", steps=16),
}
MEASURED = ("one at a time", "parallel, 4 steps")
CPU = torch.device("cpu")


TASK = MotifSpec(length=4, n=120, cap=0.8)


def setting(seed: int) -> tuple[LabelledDesigns, Oracle, torch.Tensor]:
    """Offline data, an oracle fitted to them, and the designs to pretrain on."""
    task = TASK.build(seed)
    data = task.offline()
    oracle = BootstrapSpec(network=NetworkSpec(width=64, train_steps=600)).build(task.space, CPU)
    oracle.fit(data, Streams(seed).get("oracle"))
    return data, oracle, task.unlabelled()


def pretrain(spec: MaskedSpec, designs: torch.Tensor, seed: int) -> Backbone:
    """A backbone of the given reveal mode."""
    backbone = spec.build(TASK.build(seed).space, CPU)
    backbone.fit(designs, Streams(seed).get("backbone"))
    return backbone


@torch.no_grad()
def frequencies(backbone: Backbone, exact: ExactChain, n: int, seed: int) -> float:
    """Total variation between the exact probabilities and the frequencies of ``n`` samples."""
    x = rollout(backbone.process, backbone.predict, n, Streams(seed).get("frequencies")).x
    counts = (x.flatten(1) @ exact.designs.flatten(1).T).argmax(1).bincount(minlength=len(exact.designs))
    return float((counts / n - exact.probabilities()).abs().sum() / 2)


def cosines(problem: Problem, alpha: float, steps: int, reward: torch.Tensor) -> dict[str, float]:
    """Cosine of enumerated gradients and means of surrogate ones (40 batches of 512), after ``steps`` of tuning."""
    opened = problem.pretrained.tunable()
    if steps:
        opened.tuned.load_state(BraidSpec(alpha=alpha, steps=steps).build().fit(problem).state())
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


def main(seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| reveal | seed | alpha | J(p_pre) | J reached | J(p*) | share of the way | path KL | marginal KL | TV |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    gradients = []
    for seed in seeds:
        data, oracle, designs = setting(seed)
        for mode, spec in MODES.items():
            backbone = pretrain(spec, designs, seed)
            problem = Problem(data, backbone, oracle, Streams(seed))
            with torch.no_grad():
                before = ExactChain(backbone.process, backbone.predict)
                p_pre = before.probabilities()
                reward = oracle.posterior(before.designs).conservative().double() / data.std
            deviation = frequencies(backbone, before, 100_000, seed)
            for alpha in ALPHAS:
                tuned = BraidSpec(alpha=alpha).build().fit(problem)
                with torch.no_grad():
                    after = ExactChain(backbone.process, tuned.tuned.predict, tuned.reference)
                    p, reached, path = after.probabilities(), after.objective(reward, alpha), after.path_kl()
                start, (_, best) = float(p_pre @ reward), optimum(p_pre, reward, alpha)
                marginal = float((p * (p / p_pre).log()).sum())
                share = (float(reached) - start) / (best - start)
                row = (mode, seed, alpha, f"{start:.3f}", f"{reached:.3f}", f"{best:.3f}", f"{share:.1%}")
                print("|", " | ".join(map(str, row)), f"| {path:.3f} | {marginal:.3f} | {deviation:.4f} |", flush=True)
            if seed == seeds[0] and mode in MEASURED:
                settings = [(alpha, steps) for alpha in (0.3, 0.1) for steps in (0, 20, 60)]
                gradients += [(mode, *setting, cosines(problem, *setting, reward)) for setting in settings]
    print("\n| reveal | alpha | tuning steps | " + " | ".join(gradients[0][3]) + " |\n|---|---|---|---|---|---|")
    for mode, alpha, steps, found in gradients:
        print(f"| {mode} | {alpha} | {steps} | " + " | ".join(f"{value:.4f}" for value in found.values()) + " |")


if __name__ == "__main__":
    main()
