"""The page about benches names what exists, as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import braid_core
from braid_core.experiment.bench_spec import BenchSpec, parse_bench
from braid_core.experiment.bench_table import FIGURES, LABELS, NUMBERS, SPREADS
from braid_core.experiment.compare import FEWEST, MARGIN

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> set[str]:
    """The names in the first column of the table under ``heading``."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_examples_are_benches() -> None:
    whole, tasks = (tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    assert len(parse_bench(whole).cells) == 2 * 4 * 8
    assert list(parse_bench({**whole, **tasks}).tasks) == ["few", "many"]
    assert parse_bench({**whole, "tasks": ["tf-bind-8", "utr"], "seeds": {"tf-bind-8": 8, "utr": 5}}).seeds_of("utr")
    for name in re.findall(r"from braid_core import (.*)", PAGE)[0].split(", "):
        assert name in braid_core.__all__
        assert callable(getattr(braid_core, name))


def test_every_field_is_described() -> None:
    assert first_cells("| field | default |") == set(BenchSpec.model_fields)


def test_every_column_is_described() -> None:
    described = first_cells("| columns of `results.csv` |")
    spreads = {name.removesuffix("_…") for name in described if name.endswith("_…")}
    assert spreads == {*SPREADS, "offline"}
    assert {name for name in described if not name.endswith("_…")} == {*NUMBERS, *FIGURES, "error"}
    assert all(label in PAGE for label in LABELS)


def test_the_rules_are_those_of_the_code() -> None:
    assert f"at least −{MARGIN}" in PAGE
    assert FEWEST == 8
    assert "at least eight seeds" in PAGE
