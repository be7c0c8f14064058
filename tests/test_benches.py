"""The benches that come with the project are what their heads say; nothing is computed."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from braid_core.experiment.bench_spec import BenchSpec, load_bench

ROOT = Path(__file__).parents[1]
BUDGET = 4.0
PAPER = ["Best-of-N", "DDOM", "Guidance", "STRL", "BRAID-Boot", "BRAID-Bonus"]
EXACT = {"tf-bind-8", "shine-dalgarno", "motif", "rna-binding", "ehrlich", "manifold"}


def bench(name: str) -> BenchSpec:
    return load_bench(ROOT / "benches" / f"{name}.toml")


@pytest.mark.parametrize(
    ("name", "n", "budget"),
    [
        ("quick", 3, BUDGET),
        ("full", 3, BUDGET),
        ("vectors", 3, BUDGET),
        ("regimes", 4, BUDGET),
        ("images", 4, 20.0),
        ("images_far", 2, 200.0),
    ],
)
def test_methods_are_compared_at_equal_path_kl_and_equal_steps(name: str, n: int, budget: float) -> None:
    tuned = [m.objective for m in bench(name).methods.values() if m.objective.type in ("strl", "braid")]
    settings = {tuple(sorted(one.model_dump(exclude={"type"}).items(), key=str)) for one in tuned}
    assert len(tuned) == n
    assert len({str(setting) for setting in settings}) == 1
    assert {one.model_dump()["kl_budget"] for one in tuned} == {budget}


def test_checkpoints_of_images_are_judged_by_as_many_draws_as_in_the_paper() -> None:
    near, far = bench("images"), bench("images_far")
    assert near.designs == far.designs == 400
    assert (near.tasks, near.backbones) == (far.tasks, far.backbones)


@pytest.mark.parametrize("name", ["quick", "full", "vectors"])
def test_the_methods_are_the_papers(name: str) -> None:
    assert list(bench(name).methods) == PAPER


def test_exact_truths_have_eight_seeds_and_learned_ones_five() -> None:
    for spec in (bench("full"), bench("vectors")):
        for task in spec.tasks:
            assert len(spec.seeds_of(task)) == (8 if task in EXACT else 5)


def test_the_regimes_are_all_combinations_and_their_labels_are_true() -> None:
    spec = bench("regimes")
    found = set()
    for label, task in spec.tasks.items():
        parts = re.fullmatch(r"(.+)-n(\d+)-cap(\d+)-noise(\d)", label)
        assert parts
        options = task.model_dump()
        said = (parts[1], int(parts[2]), int(parts[3]) / 100, float(parts[4]))
        assert said == (task.type, options["n"], options["cap"], options["noise"])
        found.add(said)
    tasks = ("tf-bind-8", "shine-dalgarno", "motif")
    assert found == set(product(tasks, (300, 1000, 5000), (0.6, 0.95), (0.0, 1.0)))
    assert len(spec.cells) == len(found) * len(spec.methods) * 3


def test_make_names_benches_that_exist() -> None:
    named = re.findall(r"benches/(\w+)\.toml", (ROOT / "Makefile").read_text())
    assert set(named) == {"quick", "vectors", "full"}
    assert all((ROOT / "benches" / f"{name}.toml").is_file() for name in named)
