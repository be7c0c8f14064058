"""An editable install whose pyproject.toml has moved on is noticed and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from braid_core.cli import main
from braid_core.errors import PluginError
from braid_core.registry.editable import stale_installs
from braid_core.registry.resolve import find

from .conftest import Site


@pytest.fixture
def source(site: Site, tmp_path: Path) -> Path:
    """The source folder of an editable install of ``braid-knn`` that has registered one oracle since."""
    folder = tmp_path / "my source"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "braid-knn"\n[project.entry-points."braid.oracles"]\nfresh = "m:Fresh"\n'
        '[project.entry-points."other.group"]\nx = "m:X"\n'
    )
    info = site.install("braid-knn", {"braid.oracles": {"removed": "m:Removed"}})
    url = folder.as_uri()
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": url}))
    return folder


def test_the_difference_is_found(source: Path) -> None:
    (stale,) = [stale for stale in stale_installs() if stale.distribution == "braid-knn"]
    assert stale.folder == source
    assert stale.missing == {("braid.oracles", "fresh", "m:Fresh")}
    assert stale.leftover == {("braid.oracles", "removed", "m:Removed")}


def test_naming_what_is_registered_since_asks_for_a_reinstall(source: Path) -> None:
    with pytest.raises(PluginError) as caught:
        find("oracle", "fresh")
    assert f"pip install -e {source}" in str(caught.value.fix)


def test_check_says_so(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "masked"]) == 1
    out = capsys.readouterr().out
    assert "braid-knn was installed: + fresh (braid.oracles), - removed (braid.oracles)" in out
    assert "re-install it: pip install -e" in out


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pyproject.toml", "[project"),
        ("pyproject.toml", "project = 3"),
        ("direct_url.json", "{"),
        ("direct_url.json", "[]"),
        ("direct_url.json", '{"dir_info": {"editable": true}}'),
    ],
)
def test_what_cannot_be_read_is_said_by_the_check_and_hides_no_typo(
    file: str, text: str, source: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = source if file == "pyproject.toml" else next(site.folder.glob("braid_knn*"))
    (folder / file).write_text(text)
    with pytest.raises(PluginError, match="did you mean 'bootstrap'"):
        find("oracle", "bootstrp")
    assert main(["plugins", "check", "masked"]) == 1
    out = capsys.readouterr().out
    assert "the editable install braid-knn cannot be compared" in out
    assert file in out


def test_an_install_that_is_not_editable_is_left_alone(site: Site) -> None:
    site.oracle("braid-knn", "knn")
    assert not [stale for stale in stale_installs() if stale.distribution == "braid-knn"]


def test_an_editable_install_that_is_hidden_by_another_is_left_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Site(tmp_path / "first")
    first.install("braid-knn", {})
    monkeypatch.syspath_prepend(str(first.folder))
    assert not [stale for stale in stale_installs() if stale.distribution == "braid-knn"]


def test_a_stray_egg_info_does_not_hide_an_editable_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    egg = tmp_path / "checkout" / "braid_knn.egg-info"
    egg.mkdir(parents=True)
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: braid-knn\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(egg.parent))
    assert [stale for stale in stale_installs() if stale.distribution == "braid-knn"]
