"""From a name to a spec class, and every way in which that can fail."""

from __future__ import annotations

import sys

import pytest

from braid_core.errors import PluginError
from braid_core.registry.resolve import find, spec_class
from braid_core.registry.spec import OracleSpec
from braid_core.registry.states import without

from .conftest import ORACLE, Site


def failure(kind: str, name: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        spec_class(kind, name)
    return caught.value


def broken(site: Site, source: str, value: str = "knn_module:Spec") -> PluginError:
    """The error of a distribution ``braid-knn`` whose module has this ``source``."""
    site.install("braid-knn", {"braid.oracles": {"knn": value}}, version="1.2", modules={"knn_module": source})
    error = failure("oracle", "knn")
    assert "braid-knn 1.2" in error.what
    assert "knn_module" in str(error.where)
    return error


def test_a_name_becomes_a_class(site: Site) -> None:
    site.oracle("braid-knn", "knn")
    cls = spec_class("oracle", "knn")
    assert issubclass(cls, OracleSpec)
    assert cls is spec_class("oracle", "Braid_KNN:knn")
    assert cls.model_validate({"type": "braid-knn:knn"}).type == "braid-knn:knn"


def test_naming_a_plugin_imports_no_other(site: Site) -> None:
    named, other = site.oracle("braid-knn", "knn"), site.oracle("braid-other", "other")
    spec_class("oracle", "knn")
    assert named in sys.modules
    assert other not in sys.modules


def test_a_missing_name_comes_with_the_nearest_and_with_what_is_installed(site: Site) -> None:
    site.oracle("braid-knn", "nearest-neighbours")
    error = failure("oracle", "nearest-neighbors")
    assert error.what == "there is no oracle named 'nearest-neighbors'"
    assert "nearest-neighbours (braid-knn)" in str(error.why)
    assert "did you mean 'nearest-neighbours'?" in str(error.fix)


def test_a_missing_qualified_name_comes_with_the_nearest_qualified_one(site: Site) -> None:
    site.oracle("braid-knn", "knn")
    assert "did you mean 'braid-knn:knn'?" in str(failure("oracle", "braid-nn:knn").fix)


def test_a_name_of_another_kind_is_pointed_out(site: Site) -> None:
    site.oracle("braid-knn", "knn")
    assert "'knn' is registered as oracle by braid-knn" in str(failure("backbone", "knn").fix)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PluginError, match="did you mean 'oracle'"):
        find("oracel", "knn")


def test_a_broken_import_is_located_and_chained(site: Site) -> None:
    error = broken(site, "raise RuntimeError('no such device')")
    assert "RuntimeError: no such device" in str(error.why)
    assert isinstance(error.__cause__, RuntimeError)
    assert "braid-knn" in str(error.fix)


def test_a_syntax_error_is_a_broken_import(site: Site) -> None:
    assert "SyntaxError" in str(broken(site, "def (").why)


def test_a_missing_dependency_is_named(site: Site) -> None:
    assert "install what provides 'no_such_dependency'" in str(broken(site, "import no_such_dependency.inner").fix)


@pytest.mark.parametrize("value", ["gone_module:Spec", "gone_package.inner:Spec"])
def test_a_registration_whose_module_is_gone_asks_for_a_reinstall(site: Site, value: str) -> None:
    site.install("braid-knn", {"braid.oracles": {"knn": value}})
    error = failure("oracle", "knn")
    assert "its module is not" in str(error.why)
    assert "re-install braid-knn" in str(error.fix)


def test_a_missing_attribute_comes_with_the_nearest(site: Site) -> None:
    error = broken(site, ORACLE.format(cls="KnnSpec", name="knn"), "knn_module:KnSpec")
    assert "knn_module has no 'KnSpec'; did you mean 'KnnSpec'?" in str(error.why)


def test_a_value_that_names_nothing_is_a_broken_import(site: Site) -> None:
    site.install("braid-knn", {"braid.oracles": {"knn": ":Spec"}})
    assert "ValueError" in str(failure("oracle", "knn").why)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("class Spec: pass", "is not derived from OracleSpec"),
        ("Spec = 3", "is of type int"),
        ("from braid_core.registry.spec import BackboneSpec as Spec", "describes the kind 'backbone'"),
        ("from braid_core.registry.spec import ComponentSpec as Spec", "describes the kind 'nothing'"),
        ("from braid_core.registry.spec import OracleSpec as Spec", "is abstract"),
    ],
)
def test_what_is_not_a_concrete_spec_of_the_kind_is_refused(site: Site, source: str, why: str) -> None:
    assert why in str(broken(site, source).why)


def test_a_spec_of_the_wrong_kind_is_told_its_group(site: Site) -> None:
    error = broken(site, "from braid_core.registry.spec import BackboneSpec as Spec")
    assert "register it in braid.backbones" in str(error.fix)


def test_two_foreign_plugins_of_one_name_have_to_be_told_apart(site: Site) -> None:
    one, two = site.oracle("braid-one", "knn"), site.oracle("braid-two", "knn")
    error = failure("oracle", "knn")
    assert "'braid-one:knn' or 'braid-two:knn'" in str(error.fix)
    assert one not in sys.modules
    assert spec_class("oracle", "braid-two:knn").__module__ == two


def test_disabling_one_of_two_ends_the_conflict(site: Site) -> None:
    _, two = site.oracle("braid-one", "knn"), site.oracle("braid-two", "knn")
    with without(["braid-one:knn"]):
        assert spec_class("oracle", "knn").__module__ == two


def test_a_shipped_name_is_reserved(site: Site) -> None:
    module = site.oracle("braid-twin", "bootstrap")
    assert find("oracle", "bootstrap").distribution == "braid-design"
    assert spec_class("oracle", "braid-twin:bootstrap").__module__ == module


def test_a_shipped_name_stays_reserved_when_it_is_disabled(site: Site) -> None:
    site.oracle("braid-twin", "bootstrap")
    with without(["braid-design:bootstrap"]):
        assert "is disabled" in failure("oracle", "bootstrap").what


@pytest.mark.parametrize("name", ["knn", "oracle:knn", "Braid_KNN:knn", " other , knn "])
def test_a_disabled_plugin_says_who_disabled_it(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    site.oracle("braid-knn", "knn")
    monkeypatch.setenv("BRAID_DISABLE", name)
    for asked in ("knn", "braid-knn:knn"):
        error = failure("oracle", asked)
        assert "BRAID_DISABLE" in str(error.why)
        assert "take it off BRAID_DISABLE" in str(error.fix)


@pytest.mark.parametrize("allowed", ["", "other"])
def test_what_is_not_allowed_is_disabled_unless_it_is_shipped(
    site: Site, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    site.oracle("braid-knn", "knn")
    monkeypatch.setenv("BRAID_ALLOW", allowed)
    assert "add braid-knn:knn to BRAID_ALLOW" in str(failure("oracle", "knn").fix)
    assert find("oracle", "bootstrap").distribution == "braid-design"


def test_what_is_allowed_can_be_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.oracle("braid-knn", "knn")
    monkeypatch.setenv("BRAID_ALLOW", "other,braid-knn:knn")
    assert find("oracle", "knn").distribution == "braid-knn"


def test_a_plugin_for_a_newer_api_is_refused_when_named(site: Site) -> None:
    site.install("braid-knn", {"braid.oracles.v2": {"knn": "knn_module:Spec"}})
    error = failure("oracle", "knn")
    assert "made for a newer BRAID" in error.what
    assert "braid.oracles.v2" in str(error.why)
    assert "pip install -U braid-design" in str(error.fix)


def test_a_distribution_may_serve_two_apis(site: Site) -> None:
    groups = {"braid.oracles.v2": {"knn": "future:Spec"}, "braid.oracles": {"knn": "knn_module:Spec"}}
    site.install("braid-knn", groups, modules={"knn_module": ORACLE.format(cls="Spec", name="knn")})
    assert spec_class("oracle", "knn").__module__ == "knn_module"


@pytest.mark.parametrize("requirement", ["braid-design>=99,<100", "Braid_Design<0.0.1"])
def test_a_plugin_that_requires_another_version_is_refused_before_it_is_imported(site: Site, requirement: str) -> None:
    module = site.oracle("braid-knn", "knn", requires=["numpy", requirement])
    error = failure("oracle", "knn")
    assert "is installed" in str(error.why)
    assert module not in sys.modules


@pytest.mark.parametrize("requirement", ["braid-design>=0.0.1", 'braid-design>=99; extra == "future"', "braid-design"])
def test_a_requirement_that_is_met_is_no_obstacle(site: Site, requirement: str) -> None:
    module = site.oracle("braid-knn", "knn", requires=[requirement])
    assert spec_class("oracle", "knn").__module__ == module


def test_a_requirement_that_cannot_be_read_is_located(site: Site) -> None:
    site.oracle("braid-knn", "knn", requires=["braid-design >> 1"])
    assert "its metadata requires 'braid-design >> 1'" in str(failure("oracle", "knn").why)
