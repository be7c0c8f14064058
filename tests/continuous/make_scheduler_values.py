"""Writes ``scheduler_values.json``: what the schedulers of `diffusers` answer, for the tests to compare with.

Kept as data because diffusers brings about 100 MB with it. To make it again, in an environment of its own with
torch and diffusers: `python tests/continuous/make_scheduler_values.py`.
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.schedulers import DDIMScheduler, DDPMScheduler

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
COMMON: dict[str, Any] = {"clip_sample": False, "timestep_spacing": "trailing"}
INDICES = [0, 1, 10, 100, 500, 900, 990, 999]
SPACED = [1, 2, 3, 7, 10, 30, 50, 99, 128, 250, 333]


def inputs() -> dict[str, torch.Tensor]:
    """A state, a network output and a noise, one design of two numbers each, in float32."""
    return {name: torch.randn(1, 2, generator=drawing(seed)) for seed, name in enumerate(("noise", "x", "out"))}


def drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bar(t: float) -> float:
    """What diffusers accumulates for its cosine schedule, before it rounds to float32."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def exact(scheduler: Any) -> Any:
    """The same scheduler with its table of ᾱ in double precision."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    if scheduler.config.beta_schedule != "linear":
        betas = [min(1 - bar((i + 1) / 1000) / bar(i / 1000), 0.999) for i in range(1000)]
        betas = torch.tensor(betas, dtype=torch.float64)
        assert torch.allclose(betas.float(), scheduler.betas, rtol=1e-6)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    return scheduler


def step(scheduler: Any, steps: int, k: int, dtype: torch.dtype, eta: float | None) -> tuple[list[Any], list[Any]]:
    """(x_s, x̂0) of step ``k``; without ``eta`` the scheduler is DDPM's."""
    scheduler.set_timesteps(steps)
    given = {name: value.to(dtype) for name, value in inputs().items()}
    arguments = (given["out"], scheduler.timesteps[k], given["x"])
    if eta is not None:
        found = scheduler.step(*arguments, eta=eta, variance_noise=given["noise"] if eta else None)
    elif dtype == torch.float64:
        # its generator draws other numbers in double precision: mean, then mean + σ·noise
        t = int(scheduler.timesteps[k])
        found = scheduler.step(*arguments, generator=drawing(0))
        drawn = torch.randn(1, 2, generator=drawing(0), dtype=dtype)
        sigma = scheduler._get_variance(t).sqrt() if t > 0 else 0.0
        return (found.prev_sample + sigma * (given["noise"] - drawn)).tolist(), found.pred_original_sample.tolist()
    else:
        found = scheduler.step(*arguments, generator=drawing(0))
    return found.prev_sample.tolist(), found.pred_original_sample.tolist()


def cases() -> list[dict[str, Any]]:
    """All combinations; ``double`` marks those from double-precision tables."""
    found = []
    for prediction, schedule, steps in product(PREDICTIONS, SCHEDULES, (10, 50, 1000)):
        options = {**COMMON, "beta_schedule": SCHEDULES[schedule], "prediction_type": PREDICTIONS[prediction]}
        for eta, variance, double in product((None, 0.0, 0.5, 1.0), ("small", "large"), (False, True)):
            if (eta is not None and variance == "large") or (not double and steps != 50):
                continue
            for k in (0, steps // 2, steps - 2, steps - 1):
                ddpm = eta is None
                made = DDPMScheduler(variance_type=f"fixed_{variance}", **options) if ddpm else DDIMScheduler(**options)
                made = exact(made) if double else made
                values = step(made, steps, k, torch.float64 if double else torch.float32, eta)
                case = {"prediction": prediction, "schedule": schedule, "steps": steps, "k": k, "eta": eta}
                found.append({**case, "variance": variance, "double": double, "next": values[0], "x0": values[1]})
    return found


def spacing() -> dict[str, list[int]]:
    """The training times (from 0) of the steps, for several numbers of steps."""
    scheduler = DDPMScheduler(**COMMON)
    found = {}
    for steps in SPACED:
        scheduler.set_timesteps(steps)
        found[str(steps)] = scheduler.timesteps.tolist()
    return found


def main() -> None:
    tables = {name: DDPMScheduler(beta_schedule=value).alphas_cumprod.tolist() for name, value in SCHEDULES.items()}
    content = {
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__},
        "inputs": {name: value.tolist() for name, value in inputs().items()},
        "signals": {name: [table[i] for i in INDICES] for name, table in tables.items()},
        "indices": INDICES,
        "spacing": spacing(),
        "cases": cases(),
    }
    path = Path(__file__).with_name("scheduler_values.json")
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
