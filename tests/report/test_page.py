"""The page: self-contained, safe with hostile input, honest about what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pluggy
import pytest

from braid_core.cli import main
from braid_core.errors import StoreError
from braid_core.registry.hooks import empty_manager, hookimpl
from braid_core.report import Run, plugin_sections, read_runs, write_report

from .fabricate import edit, set_row

Make = Callable[..., Path]
VOID = {"meta", "path", "br", "use", "link", "img", "hr", "rect", "image"}


class Tags(HTMLParser):
    """Collects tags and fails on one that is closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_the_page_is_whole_and_needs_no_network(make: Make, tmp_path: Path) -> None:
    page = write_report([make(seed=0), make(seed=1), make(label="STRL")], tmp_path / "out" / "page.html")
    text = page.read_text()
    tags = parse(text)
    names = [tag for tag, _ in tags.seen]
    assert not {"script", "link", "img", "iframe"} & set(names)
    addresses = [value for _, attrs in tags.seen for name, value in attrs.items() if name.endswith(("href", "src"))]
    assert all(value and value.startswith("#") for value in addresses)
    assert names.count("svg") == 6
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text


def test_every_table_scrolls_within_its_own_box(make: Make, tmp_path: Path) -> None:
    text = write_report([make()], tmp_path / "page.html").read_text()
    assert text.count("<table") == len(
        re.findall(r'<div class="scroll" tabindex="0" role="region" aria-label="table"><table', text)
    )


def test_ids_are_unique(make: Make, tmp_path: Path) -> None:
    tags = parse(write_report([make(), make(task="motif")], tmp_path / "page.html").read_text())
    ids = [attrs["id"] for _, attrs in tags.seen if "id" in attrs]
    assert len(ids) == len(set(ids))


HOSTILE = "<script>alert(1)</script>"


def test_hostile_input_is_shown_and_not_run(make: Make, tmp_path: Path) -> None:
    folder = make(
        designs=(HOSTILE, "<img src=x onerror=alert(1)>"),
        notes=(HOSTILE,),
        label=HOSTILE,
        task=HOSTILE,
        unit=HOSTILE,
        options={HOSTILE: HOSTILE},
    )
    text = write_report([folder, make(task=HOSTILE, label="STRL")], tmp_path / "page.html").read_text()
    names = {tag for tag, _ in parse(text).seen}
    assert not {"script", "img"} & names
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_plots_and_table_lie_beside_the_page(make: Make, tmp_path: Path) -> None:
    page = write_report([make()], tmp_path / "mine.html")
    beside = {path.name for path in (tmp_path / "mine_files").iterdir()}
    plots = ("boxes", "logo", "predicted-vs-true", "frontier", "tuning-1")
    assert beside == {"summary.csv", *(f"tf-bind-8-{plot}.{kind}" for plot in plots for kind in ("png", "svg"))}
    assert set(pd.read_csv(tmp_path / "mine_files" / "summary.csv")["method"]) >= {"Random", "BRAID-bootstrap"}
    assert "mine_files/" in page.read_text()


def test_published_numbers_and_the_caveat_stand_only_beside_tf_bind_8(make: Make, tmp_path: Path) -> None:
    text = write_report([make()], tmp_path / "a.html").read_text()
    assert "BootGen (own paper)" in text
    assert ".938±.038" in text
    assert '<tr class="ours"><td>BRAID-bootstrap, selected</td>' in text
    other = write_report([make(task="motif")], tmp_path / "b.html").read_text()
    assert "BootGen" not in other
    assert "Beware of the maximum" not in other


def test_a_handful_of_designs_does_not_lead_the_published_table(make: Make, tmp_path: Path) -> None:
    folder = make()
    edit(folder / "results.json", lambda results: results["rows"][-1].update(n=2, shortfall=62))
    edit(folder / "results.json", lambda results: results["rows"][-1]["normalised"].update(q50=0.99))
    text = write_report([folder], tmp_path / "a.html").read_text()
    own, published = (text.index(name) for name in ("BRAID-bootstrap, selected", "BONET"))
    assert own > published
    assert text.count("2 of 64") >= 2


def test_without_a_truth_there_is_no_evidence_and_no_column_of_truth(make: Make, tmp_path: Path) -> None:
    text = write_report([make(truth=False)], tmp_path / "page.html").read_text()
    assert "not evidence" in text
    assert "no design has been measured" in text
    assert '<th class="n">true</th>' not in text
    assert '<th class="n">median</th>' not in text


def test_candidates_are_ranked_once_each_and_at_most_twenty(make: Make, tmp_path: Path) -> None:
    text = write_report([make(designs=("TTTTTTTT", "TTTTTTTT", "CCCCCCCC"))], tmp_path / "page.html").read_text()
    own = text.split("<details open><summary>BRAID-bootstrap</summary>")[1].split("</details>")[0]
    designs = re.findall(r'<td class="design">(\w+)</td>', own)
    assert designs[:2] == ["TTTTTTTT", "CCCCCCCC"]
    assert len(designs) == len(set(designs)) == 20


def test_a_method_that_collapsed_comes_last_among_the_candidates(make: Make, tmp_path: Path) -> None:
    high = {"truth": {"q50": 0.9}, "normalised": {"q50": 0.9}}
    narrow = set_row(make(label="STRL"), "STRL", "selected", n=2, shortfall=62, **high)
    text = write_report([narrow, make()], tmp_path / "page.html").read_text()
    assert text.index("<summary>BRAID-bootstrap</summary>") < text.index("<summary>STRL</summary>")


def test_each_task_has_its_section_and_its_answer(make: Make, tmp_path: Path) -> None:
    text = write_report([make(), make(task="motif", truth=False)], tmp_path / "page.html").read_text()
    assert text.count('<p class="answer">') == 2
    assert '<article id="tf-bind-8">' in text
    assert '<article id="motif">' in text


def test_how_to_reproduce(make: Make, tmp_path: Path) -> None:
    text = write_report([make(seed=0), make(seed=5)], tmp_path / "page.html").read_text()
    for fact in ("braid run braid-bootstrap.toml --seed 5", "2.13.0", "5:12 min", "braid-design 0.1.0", "2 cores"):
        assert fact in text
    assert text.count("every default resolved") == 1


def test_skipped_runs_are_named(make: Make, tmp_path: Path) -> None:
    text = write_report([make(), tmp_path / "gone"], tmp_path / "page.html", skip_broken=True).read_text()
    assert "gone: there is no such run folder" in text


def test_a_report_is_reproducible(make: Make, tmp_path: Path) -> None:
    folder = make()
    pages = [write_report([folder], tmp_path / name / "page.html").read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_a_page_that_cannot_be_written_leaves_nothing_half_done(make: Make, tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    page = write_report([make()], tmp_path / "page.html")
    assert page == tmp_path / "page.html" / "report.html"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        write_report([make()], tmp_path / "file" / "page.html")
    assert not list(tmp_path.rglob("*.tmp"))


class Adds:
    @hookimpl
    def braid_report_section(self, runs: list[Any]) -> str | None:
        return f"<h3>{len(runs)} run(s)</h3>" if runs else None


class Fails:
    @hookimpl
    def braid_report_section(self) -> str | None:
        raise ValueError("<oops>")


def manager(*plugins: object) -> pluggy.PluginManager:
    found = empty_manager()
    for plugin in plugins:
        found.register(plugin, name=type(plugin).__name__)
    return found


def test_plugins_add_sections(make: Make, tmp_path: Path) -> None:
    runs: list[Run] = read_runs([make()])[0]
    sections = plugin_sections(manager(Adds()), runs)
    assert sections == ["<h3>1 run(s)</h3>"]
    assert "<h3>1 run(s)</h3>" in write_report([make()], tmp_path / "page.html", sections).read_text()


def test_a_failing_plugin_costs_its_section_and_not_the_report(make: Make) -> None:
    failure, section = plugin_sections(manager(Fails(), Adds()), read_runs([make()])[0])
    assert "plugin Fails" in failure
    assert "ValueError: &lt;oops&gt;" in failure
    assert section == "<h3>1 run(s)</h3>"


def test_the_verb_prints_the_table_and_where_the_page_is(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make()
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tf-bind-8: seed 0\n")
    assert out.endswith(f"report: {folder / 'report.html'}\n")
    assert (folder / "report.html").is_file()


def test_the_verb_reports_several_runs_and_skips_on_request(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [str(make(seed=seed)) for seed in (0, 1)]
    assert main(["report", *folders, "absent"]) == 2
    assert "no such run folder" in capsys.readouterr().err
    assert main(["report", *folders, "absent", "--skip-broken"]) == 0
    assert "warning: left out absent" in capsys.readouterr().err
    assert (tmp_path / "report.html").is_file()
    assert main(["report", *folders, "-o", "x/y.html"]) == 0
    assert (tmp_path / "x" / "y.html").is_file()
