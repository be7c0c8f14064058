"""``braid plugins``: list, check, schema."""

from __future__ import annotations

import json

import pytest

from braid_core.cli import main

from .conftest import ORACLE, Site

Captured = pytest.CaptureFixture[str]


def listed(capsys: Captured) -> dict[tuple[str, str, str], str]:
    """The state of each plugin by (kind, name, distribution)."""
    assert main(["plugins", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return {(row["kind"], row["name"], row["distribution"]): row["state"] for row in rows}


def test_list_tells_the_state_of_each(site: Site, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution, name in [("a", "knn"), ("b", "knn"), ("a2", "bootstrap"), ("c", "fine"), ("d", "off")]:
        site.oracle(f"braid-{distribution}", name)
    site.install("braid-new", {"braid.oracles.v2": {"future": "m:X"}})
    monkeypatch.setenv("BRAID_DISABLE", "off")
    states = {(name, owner): state for (_, name, owner), state in listed(capsys).items() if owner != "braid-design"}
    assert states == {
        ("knn", "braid-a"): "conflict",
        ("knn", "braid-b"): "conflict",
        ("bootstrap", "braid-a2"): "shadowed",
        ("fine", "braid-c"): "ok",
        ("off", "braid-d"): "disabled",
        ("future", "braid-new"): "too new",
    }


def test_the_table_has_a_line_for_each_and_explains_full_names(site: Site, capsys: Captured) -> None:
    site.oracle("braid-knn", "bootstrap", version="1.2")
    assert main(["plugins", "list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["KIND", "NAME", "DISTRIBUTION", "VERSION", "STATE"]
    assert ["oracle", "bootstrap", "braid-knn", "1.2", "shadowed"] in [line.split() for line in out]
    assert out[-1].endswith("DISTRIBUTION:NAME.")


def test_a_warning_goes_to_stderr_and_the_list_is_complete(site: Site, capsys: Captured) -> None:
    site.install("braid-bad", "[braid.oracles]\nknn = a:B\nknn = a:C\n")
    assert main(["plugins", "list"]) == 0
    captured = capsys.readouterr()
    assert "warning: " in captured.err
    assert "braid-bad does not parse" in captured.err
    assert "braid-design" in captured.out


def test_check_is_silent_about_nothing(site: Site, capsys: Captured) -> None:
    site.oracle("braid-good", "good")
    site.oracle("braid-twin", "bootstrap")
    site.install("braid-bad", {"braid.oracles": {"bad": "gone:Spec"}})
    site.install("braid-new", {"braid.oracles.v2": {"future": "m:X"}})
    names = ["good", "bad", "braid-twin:bootstrap", "future"]
    assert main(["plugins", "check", *names]) == 1
    out = capsys.readouterr().out
    verdicts = {line.split()[1]: line.split(maxsplit=2)[2] for line in out.splitlines() if line.startswith("oracle")}
    assert verdicts["braid-good:good"] == "ok"
    assert verdicts["braid-twin:bootstrap"] == "ok, but only by this full name (shadowed)"
    assert verdicts["braid-bad:bad"].startswith("BROKEN")
    assert "re-install braid-bad" in out
    assert "made for a newer BRAID" in verdicts["braid-new:future"]


def test_check_of_what_is_sound_succeeds(site: Site, capsys: Captured) -> None:
    site.oracle("braid-good", "good")
    hook = "from braid_core.registry.hooks import hookimpl\n@hookimpl\ndef braid_report_section(runs): ...\n"
    verb = "def add_arguments(parser): ...\ndef main(args): ...\n"
    entries = {"braid.hooks": {"note": "note_hooks"}, "braid.commands": {"note": "note_verb"}}
    site.install("braid-note", entries, modules={"note_hooks": hook, "note_verb": verb})
    site.install("braid-off", {"braid.oracles": {"off": "gone:Spec"}})
    code = main(["-p", "no:off", "plugins", "check", "good", "note", "off"])
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert {(line[1], line[2]) for line in lines if not line[0].startswith("warning")} >= {
        ("braid-good:good", "ok"),
        ("braid-note:note", "ok"),
        ("braid-off:off", "disabled by BRAID_DISABLE"),
    }
    assert code == any(line[0] == "warning:" for line in lines)  # our own editable install may be behind


def test_a_distribution_that_serves_two_apis_is_sound(site: Site, capsys: Captured) -> None:
    groups = {"braid.oracles": {"knn": "knn_m:Spec"}, "braid.oracles.v2": {"knn": "future:Spec"}}
    site.install("braid-knn", groups, modules={"knn_m": ORACLE.format(cls="Spec", name="knn")})
    main(["plugins", "check", "knn"])
    out = capsys.readouterr().out
    assert "passed over" in out
    assert "BROKEN" not in out


@pytest.mark.parametrize("declared", ['str = "other"', 'Literal["knn"] = "knn"', "str"])
def test_check_refuses_a_type_that_does_not_name_the_class(site: Site, capsys: Captured, declared: str) -> None:
    source = "from typing import Literal\n" + ORACLE.replace('str = "{name}"', declared).format(cls="Spec")
    site.install("braid-knn", {"braid.oracles": {"knn": "knn_module:Spec"}}, modules={"knn_module": source})
    assert main(["plugins", "check", "knn"]) == 1
    assert 'declare `type: str = "knn"`' in capsys.readouterr().out


def test_check_of_an_unknown_name_gets_the_nearest(site: Site, capsys: Captured) -> None:
    site.oracle("braid-knn", "knn")
    assert main(["plugins", "check", "knnn"]) == 2
    assert "did you mean 'knn'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["knn"], ["oracle", "knn"], ["braid-knn:knn"]])
def test_schema_shows_the_options(site: Site, capsys: Captured, words: list[str]) -> None:
    site.oracle("braid-knn", "knn")
    assert main(["plugins", "schema", *words]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["neighbours"]["default"] == 5


def test_schema_of_an_ambiguous_name_asks_for_the_kind(site: Site, capsys: Captured) -> None:
    site.install("braid-knn", {"braid.oracles": {"knn": "m:A"}, "braid.tasks": {"knn": "m:B"}})
    assert main(["plugins", "schema", "knn"]) == 2
    assert "`braid plugins schema oracle knn` or `braid plugins schema task knn`" in capsys.readouterr().err


def test_schema_of_the_unknown_helps(capsys: Captured) -> None:
    assert main(["plugins", "schema", "bootstrpa"]) == 2
    assert main(["plugins", "schema", "oracel", "bootstrap"]) == 2
    err = capsys.readouterr().err
    assert "did you mean 'bootstrap'?" in err
    assert "the kinds are backbone, oracle" in err
