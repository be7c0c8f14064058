"""What a scan sees, and what must not take it down."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from braid_core.registry.discovery import Catalogue, Plugin, normalised, scan

from .conftest import Site

KNN = {"braid.oracles": {"knn": "knn_module:Spec"}}


def plugins(site: Site, kind: str = "oracle") -> list[Plugin]:
    return [plugin for plugin in scan([str(site.folder)]).plugins if plugin.kind == kind]


def test_a_plugin_carries_its_origin(site: Site) -> None:
    info = site.install("Braid_Example.KNN", KNN, version="2.1")
    (plugin,) = plugins(site)
    assert plugin == ("oracle", "knn", "knn_module:Spec", "braid-example-knn", "2.1", 1, str(info))
    assert (plugin.qualified, plugin.module, plugin.attribute) == ("braid-example-knn:knn", "knn_module", "Spec")


def test_the_shipped_plugins_are_found_on_the_real_path() -> None:
    shipped = {plugin.name for plugin in scan().plugins if plugin.distribution == "braid-design"}
    assert {"braid", "strl", "bootstrap", "masked"} <= shipped


def test_an_extra_is_not_part_of_the_attribute(site: Site) -> None:
    site.install("a", {"braid.oracles": {"knn": "knn_module:Spec [gpu]"}})
    assert plugins(site)[0].attribute == "Spec"


@pytest.mark.parametrize("name", ["Braid_Design", "braid.design", "braid--design", "BRAID-_.design"])
def test_spellings_of_a_distribution_are_one_name(name: str) -> None:
    assert normalised(name) == "braid-design"


def test_foreign_groups_are_ignored(site: Site) -> None:
    site.install(
        "a", {"console_scripts": {"a": "a:main"}, "braid.unknown": {"x": "a:X"}, "braid.oracles.vX": {"x": "a:X"}}
    )
    assert scan([str(site.folder)]) == Catalogue((), ())


def test_a_suffix_is_an_api_version(site: Site) -> None:
    site.install("a", {"braid.oracles": {"one": "a:One"}, "braid.oracles.v2": {"two": "a:Two"}})
    assert {plugin.name: plugin.api for plugin in plugins(site)} == {"one": 1, "two": 2}


def test_a_distribution_earlier_on_the_path_hides_its_twin(site: Site, tmp_path: Path) -> None:
    site.install("knn", KNN, version="2.0")
    later = Site(tmp_path / "later")
    later.install("knn", {"braid.oracles": {"old": "knn_module:Old"}})
    catalogue = scan([str(site.folder), str(later.folder), str(site.folder)])
    assert [(plugin.name, plugin.version) for plugin in catalogue.plugins] == [("knn", "2.0")]


def test_a_newer_version_without_plugins_hides_the_older_ones(site: Site, tmp_path: Path) -> None:
    (site.folder / "knn-3.0.dist-info").mkdir()
    later = Site(tmp_path / "later")
    later.install("knn", KNN)
    assert scan([str(site.folder), str(later.folder)]) == Catalogue((), ())


def test_a_stray_egg_info_does_not_hide_the_installed_distribution(site: Site, tmp_path: Path) -> None:
    (site.folder / "knn.egg-info").mkdir()
    (site.folder / "knn.egg-info" / "entry_points.txt").write_text("[braid.oracles]\nstale = knn_module:Stale\n")
    later = Site(tmp_path / "later")
    later.install("knn", KNN)
    catalogue = scan([str(site.folder), str(later.folder)])
    assert [plugin.name for plugin in catalogue.plugins] == ["knn"]


def test_an_egg_info_counts_where_nothing_else_is_installed(site: Site) -> None:
    site.install("knn", KNN, version="1.2-py3.11", form="egg-info")
    assert [(plugin.name, plugin.version) for plugin in plugins(site)] == [("knn", "1.2")]


def test_leftovers_of_an_interrupted_uninstall_are_ignored(site: Site) -> None:
    site.install("~nn", KNN)
    assert plugins(site) == []


def test_two_versions_in_one_folder_are_warned_of(site: Site) -> None:
    site.install("knn", KNN, version="1.0")
    site.install("knn", KNN, version="2.0")
    (warning,) = scan([str(site.folder)]).warnings
    assert "knn is installed twice" in warning
    assert "uninstall it and install it again" in warning


@pytest.mark.parametrize(
    "text",
    [
        "[braid.oracles]\nknn = a:One\nknn = a:Two\n",
        "[braid.oracles]\nknn = a:One\n[braid.oracles]\nother = a:Two\n",
    ],
    ids=["duplicate key", "duplicate group"],
)
def test_a_file_that_does_not_parse_is_read_leniently_with_one_warning(site: Site, text: str) -> None:
    site.install("bad-one", text)
    site.install("good", KNN)
    catalogue = scan([str(site.folder)])
    values = {plugin.name: plugin.value for plugin in catalogue.plugins if plugin.distribution == "bad-one"}
    assert values["knn"] == "a:One"
    assert any(plugin.distribution == "good" for plugin in catalogue.plugins)
    (warning,) = catalogue.warnings
    assert "bad_one-1.0.dist-info" in warning
    assert "of bad-one does not parse" in warning


@pytest.mark.parametrize("content", [b"[braid.oracles]\nnonsense\n", b"[braid.oracles]\nknn = \xff\xfe\n"])
def test_a_file_beyond_repair_costs_only_its_own_plugins(site: Site, content: bytes) -> None:
    info = site.install("bad", KNN)
    (info / "entry_points.txt").write_bytes(content)
    site.install("good", KNN)
    catalogue = scan([str(site.folder)])
    assert [plugin.distribution for plugin in catalogue.plugins] == ["good"]
    (warning,) = catalogue.warnings
    assert "of bad does not parse" in warning
    assert "ignored" in warning


def test_a_percent_sign_is_a_character_like_any_other(site: Site) -> None:
    site.install("percent", {"braid.oracles": {"100%": "a:B", "b": "%(a)s:B"}})
    catalogue = scan([str(site.folder)])
    assert [plugin.name for plugin in catalogue.plugins] == ["100%", "b"]
    assert catalogue.warnings == ()


def test_an_unreadable_distribution_that_is_not_ours_is_never_parsed(site: Site) -> None:
    site.install("elsewhere", "[console_scripts]\na = b:c\na = b:c\n% nonsense")
    site.install("good", KNN)
    assert scan([str(site.folder)]).warnings == ()


def test_a_zip_file_on_the_path_is_read(tmp_path: Path, site: Site) -> None:
    site.install("knn", KNN)
    for name, text in {"one": "[braid.oracles]\nz = z:Z\n", "knn": "[braid.oracles]\nz = z:Z\n"}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}-1.0.dist-info/entry_points.txt", text)
    path = [str(tmp_path / "one.zip"), str(tmp_path / "knn.zip"), str(site.folder), str(tmp_path / "absent.zip")]
    found = [(plugin.distribution, plugin.name, plugin.version) for plugin in scan(path).plugins]
    assert found == [("knn", "knn", "1.0"), ("one", "z", "1.0")]


def test_a_damaged_zip_file_is_a_warning(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("bad-1.0.dist-info/entry_points.txt", "[braid.oracles]\na = z:Z\na = z:Z\n")
    catalogue = scan([str(tmp_path / "bad.zip")])
    assert catalogue.plugins == ()
    assert "bad.zip does not parse" in catalogue.warnings[0]


def test_a_path_entry_that_does_not_exist_is_no_trouble() -> None:
    assert scan(["/nowhere/at/all"]) == Catalogue((), ())
