"""The report of a bench: from the small files alone, finished or not, under the bench's own labels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes

from braid_core.cli import main
from braid_core.errors import StoreError
from braid_core.experiment.compare import compare
from braid_core.report import read_bench, write_bench_report
from braid_core.report.bench_answer import answers, comparisons, medians, titles
from braid_core.report.bench_reading import BenchResults
from braid_core.report.figures import differences, plots
from braid_core.report.figures.promise import promise
from braid_core.report.records import BenchManifest

from .fabricate import Fake
from .test_page import HOSTILE, parse

STD = 0.1 * 0.5
"""Of the offline rewards, in :class:`Fake`."""
OBJECTIVES = {"Best-of-N": "best-of-n", "STRL": "strl", "BRAID-Boot": "braid", "Zeta": "other", "Alpha": "other"}


class Made:
    """A bench's folder, cell by cell."""

    def __init__(self, folder: Path, methods: Sequence[str] = ("Best-of-N", "STRL", "BRAID-Boot")) -> None:
        self.folder, self.methods = folder, methods
        self.cells: dict[str, str] = {}
        (folder / "cells").mkdir(parents=True)

    def add(self, task: str, method: str, seed: int, median: float | None = None, **rows: Any) -> str:
        """A finished cell whose selected designs have this median true reward, in the task's units."""
        name = self._name(task, method, seed)
        fake = Fake(label=f"{OBJECTIVES[method]}-own", task=task, seed=seed, options={"steps": 400})
        run = fake.write(self.folder / "runs" / name)
        manifest, results = (json.loads((run / f"{file}.json").read_text()) for file in ("manifest", "results"))
        for row in [*results["rows"], *results["history"]]:
            row["method"] = method if row["method"] == results["label"] else row["method"]
            row |= {"slack": 0.05, "pinball": 0.011, "pinball_offset": 0.013}
        results["label"] = method
        row = next(row for row in results["rows"] if (row["method"], row["column"]) == (method, "selected"))
        if median is not None:
            row["truth"]["q50"] = row["normalised"]["q50"] = median
        row |= rows
        self._write(name, (task, method, seed), {"error": None, "memory": {"oracle": 321.0}, **manifest, **results})
        return name

    def fail(self, task: str, method: str, seed: int, what: str) -> str:
        name = self._name(task, method, seed)
        error = {"what": what, "where": "here", "why": "because", "fix": "do this"}
        self._write(name, (task, method, seed), {"error": error, "rows": [], "history": [], "seconds": {}})
        return name

    def _name(self, task: str, method: str, seed: int) -> str:
        return f"{task}--masked--{method}--seed{seed}"

    def _write(self, name: str, labels: tuple[str, str, int], content: dict[str, Any]) -> None:
        cell = {**dict(zip(("task", "method", "seed"), labels, strict=True)), "backbone": "masked"}
        (self.folder / "cells" / f"{name}.json").write_text(json.dumps({"cell": cell, "key": "k", **content}))
        self.cells[name] = "k"

    def done(self) -> Path:
        spec = {"methods": {label: {"objective": {"type": OBJECTIVES[label]}} for label in self.methods}}
        facts = {"versions": {"torch": "2.13.0"}, "hardware": {"processor": "two cores", "jobs": 2}}
        content = {"spec": spec, "cells": self.cells, "command": "braid bench quick.toml --out it", **facts}
        (self.folder / "bench.json").write_text(json.dumps(content))
        return self.folder


def whole(folder: Path, seeds: int = 2) -> Path:
    made = Made(folder)
    for method in made.methods:
        for seed in range(seeds):
            made.add("tf-bind-8", method, seed)
    return made.done()


def test_the_answer_from_numbers_made_by_hand(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for seed in range(8):
        made.add("a", "STRL", seed, median=0.70)
        made.add("a", "BRAID-Boot", seed, median=0.70 + 2 * STD, coverage=0.91, pinball=0.001)
        made.add("b", "STRL", seed, median=0.30, pinball_offset=0.002)
        made.add("b", "BRAID-Boot", seed, median=0.30, coverage=0.99, pinball=0.003)
    bench = read_bench(made.done())
    found = comparisons(bench)
    text = " ".join(answers(bench, found))
    assert "on a BRAID-Boot (0.800), then STRL (0.700); on b STRL (0.300), then BRAID-Boot (0.300), " in text
    assert "none above Pretrained." in text
    # Eight differences of one sign: p = 2/2^8, doubled by Holm for two tasks; eight zeros: p = 1.
    assert "better on a (+2.00, 95\u00a0% +2.00 to +2.00, p = 0.016)" in text
    assert "not worse on b (0.00, 95\u00a0% 0.00 to 0.00, p = 1.000)" in text
    assert (
        "91\u00a0% to 99\u00a0% did. Between 85\u00a0% and 97\u00a0%, which is as it should be: 1 of 2 tasks." in text
    )
    assert "Pinball loss below that of STRL's prediction less the best constant: 1 of 2 tasks." in text
    assert "observation" not in text


def test_the_headline_compares_on_seeds_that_all_have_and_names_ties(tmp_path: Path) -> None:
    made = Made(tmp_path, ["STRL", "BRAID-Boot"])
    for k in range(7):  # of so many tasks they are counted
        made.add(f"t{k}", "STRL", 0, median=0.5)
        made.add(f"t{k}", "STRL", 1, median=0.9)  # a seed that the other method has not finished
        made.add(f"t{k}", "BRAID-Boot", 0, median=0.5 if k < 3 else 0.6)
    bench = read_bench(made.done())
    table = medians(bench.groups)
    assert table["seeds"].tolist() == ["1"] * 7
    assert table["STRL"].tolist() == ["0.500"] * 7
    assert "BRAID-Boot on 4 of 7 tasks; STRL and BRAID-Boot on 3 of 7 tasks." in answers(bench, [])[0]


def test_a_task_on_which_nothing_can_be_judged_is_said(tmp_path: Path) -> None:
    made = Made(tmp_path, ["STRL"])
    made.add("a", "STRL", 0)
    made.add("b", "STRL", 0, n=2, shortfall=62)
    made.add("c", "STRL", 0, truth=None, normalised=None, n=0, shortfall=64)
    text = answers(read_bench(made.done()), [])[0]
    assert text.endswith(". No method delivered enough designs to be judged on b and c.")


def test_few_seeds_are_said(tmp_path: Path) -> None:
    bench = read_bench(whole(tmp_path, seeds=1))
    text = " ".join(answers(bench, comparisons(bench)))
    assert "too few seeds to say on tf-bind-8" in text
    assert "here down to one seed, is an observation." in text


def test_with_many_tasks_the_answer_counts(tmp_path: Path) -> None:
    made = Made(tmp_path, ["STRL", "BRAID-Boot"])
    for task in "abcdefg":
        made.add(task, "STRL", 0, median=0.2)
        made.add(task, "BRAID-Boot", 0, median=0.1 if task < "f" else 0.3)
    text = answers(read_bench(made.done()), [])[0]
    assert "STRL on 5 of 7 tasks; BRAID-Boot on 2 of 7 tasks." in text


def test_the_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    page = write_bench_report(whole(tmp_path / "quick"))
    assert page == tmp_path / "quick" / "report.html"
    text = page.read_text()
    tags = parse(text)
    names = [tag for tag, _ in tags.seen]
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert all(attrs["href"].startswith("#") for _, attrs in tags.seen if attrs.get("href"))  # type: ignore[union-attr]
    ids = [attrs["id"] for _, attrs in tags.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    for fact in (
        "braid bench quick.toml --out it",
        "two cores",
        "2.13.0",
        "6 of 6 cells are finished.",
        "321",
        "5:12 min",
    ):
        assert fact in text


def test_what_lies_beside_the_page(tmp_path: Path) -> None:
    write_bench_report(whole(tmp_path))
    beside = {path.name for path in (tmp_path / "report_files").iterdir()}
    figures = ("boxes", "predicted-vs-true", "frontier", "promise", "tuning-1")
    assert beside >= {f"tf-bind-8-{name}.{kind}" for name in figures for kind in ("png", "svg")}
    assert beside >= {"differences.png", "differences.svg", "summary.csv", "comparisons.csv"}
    table = pd.read_csv(tmp_path / "report_files" / "summary.csv")
    row = table[(table["method"] == "STRL") & (table["column"] == "selected")].iloc[0]
    assert row[["median_truth_low", "median_truth_high"]].isna().all()  # two seeds have no interval
    assert row["pinball_mean"] == pytest.approx(0.011)
    assert pd.read_csv(tmp_path / "report_files" / "comparisons.csv")["a"].tolist() == ["BRAID-Boot"]


def test_the_comparisons_are_those_of_the_results_table(tmp_path: Path) -> None:
    bench = read_bench(whole(tmp_path))
    medians = {
        (method, seed): next(e.row.truth.q50 for e in bench.groups[0].judged(method) if e.seed == seed and e.row.truth)
        for method in ("STRL", "BRAID-Boot")
        for seed in (0, 1)
    }
    expected = [(medians["BRAID-Boot", seed] - medians["STRL", seed]) / STD for seed in (0, 1)]  # type: ignore[operator]
    (found,) = comparisons(bench)
    assert found.differences == pytest.approx(expected)
    assert compare(bench.table(), "Best-of-N", "STRL")[0].seeds == (0, 1)


def test_labels_stand_in_the_papers_order_and_unknown_ones_in_the_specs(tmp_path: Path) -> None:
    made = Made(tmp_path, ["Zeta", "BRAID-Boot", "Alpha", "STRL"])
    for method in made.methods:
        made.add("a", method, 0)
    group = read_bench(made.done()).groups[0]
    assert group.methods == ["Random", "Offline", "Pretrained", "STRL", "BRAID-Boot", "Zeta", "Alpha"]
    assert {member.method for member in group.members} == set(made.methods)
    assert set(group.designs()["method"]) == {"Random", "Pretrained", *made.methods}


def test_without_run_folders_everything_but_single_designs_is_there(tmp_path: Path) -> None:
    folder = whole(tmp_path)
    with_runs = {plot.name for plot in plots(read_bench(folder).groups[0])}
    shutil.rmtree(folder / "runs")
    bench = read_bench(folder)
    assert with_runs - {plot.name for plot in plots(bench.groups[0])} == {"logo", "predicted-vs-true"}
    text = write_bench_report(folder).read_text()
    assert "No run folder is here: figures of single designs" in text
    assert "<h3>Candidates</h3>" not in text
    assert "<h3>Costs</h3>" in text


def test_some_run_folders_are_missing_or_of_another_run(tmp_path: Path) -> None:
    folder = whole(tmp_path)
    first, second, *_ = sorted((folder / "runs").iterdir())
    shutil.rmtree(first)
    manifest = json.loads((second / "manifest.json").read_text())
    (second / "manifest.json").write_text(json.dumps({**manifest, "created": "later"}))
    text = write_bench_report(folder).read_text()
    assert "2 have no run folder here" in text
    assert f"{second.name}: its run folder is left out, because another run lies in it" in text


def test_an_unfinished_bench_says_what_is_missing(tmp_path: Path) -> None:
    made = Made(tmp_path)
    names = [made.add("a", method, seed) for method in ("STRL", "BRAID-Boot") for seed in (0, 1)]
    failed = made.fail("a", "Best-of-N", 0, f"it broke: {HOSTILE}")
    folder = made.done()
    (folder / "cells" / f"{names[0]}.json").unlink()
    (folder / "cells" / f"{names[1]}.json").write_text("{")
    made.cells[names[2]] = "another key"
    made.done()
    bench = read_bench(folder)
    assert len(bench.runs) == 1
    assert [why.partition(":")[0].partition(" (")[0] for why in bench.missing] == [
        "Not computed yet",
        "Unreadable",
        "Outdated, because the spec, the data or the code has changed since",
    ]
    text = write_bench_report(folder).read_text()
    assert not {"script"} & {tag for tag, _ in parse(text).seen}
    assert "1 of 5 cells are finished, 1 failed." in text
    assert "a, masked, Best-of-N, seed 0: it broke: &lt;script&gt;alert(1)&lt;/script&gt;" in text
    for fact in (*names[:3], "fix: do this", "BRAID-Boot and STRL share no task and seed"):
        assert fact in text
    assert failed not in " ".join(bench.missing)


def test_a_bench_of_which_nothing_has_finished(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.fail("a", "STRL", 0, "no luck")
    text = write_bench_report(made.done()).read_text()
    parse(text)
    assert "nothing to tell" in text
    assert "no luck" in text


def test_hostile_labels_and_units_are_shown_and_not_run(tmp_path: Path) -> None:
    folder = whole(tmp_path)
    for path in (folder / "cells").iterdir():
        content = json.loads(path.read_text())
        content["cell"]["task"] = content["task"]["unit"] = content["task"]["notes"][0] = HOSTILE
        path.write_text(json.dumps(content))
    manifest = json.loads((folder / "bench.json").read_text())
    (folder / "bench.json").write_text(json.dumps({**manifest, "command": HOSTILE}))
    names = {tag for tag, _ in parse(write_bench_report(folder).read_text()).seen}
    assert not {"script", "img"} & names


def dots_of(axes: Axes) -> set[tuple[float, float]]:
    """(row, value) of every dot."""
    dots = (line for line in axes.lines if line.get_marker() == "o")
    return {(float(line.get_ydata()[0]), round(float(line.get_xdata()[0]), 6)) for line in dots}  # type: ignore[index, arg-type]


def test_the_figures_show_the_figures(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for seed in range(2):
        made.add("a", "STRL", seed, median=0.2, coverage=0.5, pinball=0.04, pinball_offset=0.01)
        made.add("a", "BRAID-Boot", seed, median=0.25, coverage=0.9, pinball=0.02, pinball_offset=0.03)
    bench = read_bench(made.done())
    plot = differences(comparisons(bench), titles(bench))
    assert plot
    assert {x for _, x in dots_of(plot.figure.axes[0])} == {round(0.05 / STD, 6)}
    shown = promise(bench.groups[0])
    assert shown
    coverage, _, loss = shown.figure.axes
    rows = [label.get_text() for label in coverage.get_yticklabels()]
    at = {method: rows.index(method) for method in ("STRL", "BRAID-Boot")}
    assert {(at["STRL"], 0.5), (at["BRAID-Boot"], 0.9)} <= dots_of(coverage)
    expected = {(at["STRL"], 0.04), (at["STRL"], 0.01), (at["BRAID-Boot"], 0.02), (at["BRAID-Boot"], 0.03)}
    assert expected <= dots_of(loss)


def test_many_tasks_are_reported_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid_core.report.bench_page.BRIEF", 3)
    made = Made(tmp_path, ["STRL"])
    for k in range(4):
        made.add(f"task{k}", "STRL", 0)
    text = write_bench_report(made.done()).read_text()
    assert "With so many tasks" in text
    assert "predicted-vs-true" not in text
    assert text.count("<details><summary>Figures and tables of task") == 4


def test_reporting_a_bench_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from braid_core.report import write_bench_report; "
        "write_bench_report(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(whole(tmp_path, seeds=1))], check=False).returncode == 0


def test_the_verb_takes_benches_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = whole(tmp_path / "bench", seeds=1)
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tf-bind-8: seed 0\n")
    assert out.endswith(f"report: {folder / 'report.html'}\n")
    run = Fake().write(tmp_path / "run")
    assert main(["report", str(run), str(folder)]) == 0
    assert capsys.readouterr().out.count("report: ") == 2
    assert main(["report", str(run), str(folder), "-o", str(tmp_path / "x.html")]) == 2
    assert "each bench has its own" in capsys.readouterr().err
    assert main(["report", str(folder), "-o", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").is_file()


@pytest.mark.parametrize("content", ["{", "{}", '{"spec": {}, "cells": {}}'])
def test_a_damaged_manifest_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(StoreError, match=r"bench\.json .*is damaged"):
        read_bench(tmp_path)
    with pytest.raises(StoreError, match="no bench"):
        read_bench(tmp_path / "absent")


def test_pessimism_is_compared_with_the_same_oracle_where_there_is_such_a_method(tmp_path: Path) -> None:
    methods = {
        "STRL-A": ("strl", "bootstrap"),
        "STRL-B": ("strl", "rkhs"),
        "BRAID-B": ("braid", "rkhs"),
        "BRAID-C": ("braid", "mine:rkhs"),  # another one of the same name
    }
    spec = {"methods": {m: {"objective": {"type": o}, "oracle": {"type": p}} for m, (o, p) in methods.items()}}
    manifest = BenchManifest(spec=spec, cells={"a": "k"})
    bench = BenchResults(tmp_path, manifest, (), (), (), 0)
    assert bench.pairs == [("BRAID-B", "STRL-B"), ("BRAID-C", "STRL-A"), ("BRAID-C", "STRL-B")]


def test_of_many_tasks_and_cells_the_answer_counts(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for k in range(9):
        for seed in range(5):
            made.add(f"t{k}", "STRL", seed, median=0.5)
            made.add(f"t{k}", "BRAID-Boot", seed, median=0.5 + STD * (k == 0))
        for seed in range(2):
            made.cells[f"absent-{k}-{seed}"] = "k"
    bench = read_bench(made.done())
    text = " ".join(answers(bench, comparisons(bench)))
    assert "BRAID-Boot against STRL, by that median in sd of the offline rewards, +0.11 on average: " in text
    assert "not worse on 9 of 9 tasks." in text
    (missing,) = bench.missing
    assert missing.endswith("absent-2-1 and 12 more")
