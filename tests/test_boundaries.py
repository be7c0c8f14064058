"""The direction of imports: who may know whom, read from the syntax tree and tried out in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").is_file())

# What a module of each part of the core may import from the core, beside its own part. `TYPE_CHECKING` imports are
# free: annotations bind nothing together at run time.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "registry": {"errors"},
    "interfaces": {"errors"},
    "nets": {"errors", "interfaces", "registry"},
    "tuning": {"errors", "interfaces", "nets", "registry"},
    "experiment": {"errors", "files", "interfaces", "nets", "registry", "tuning"},
    "report": {"errors", "files", "interfaces", "registry", "experiment"},
    "testing": {"errors", "interfaces", "nets", "registry", "tuning"},
    "cli": {"errors", "files", "interfaces", "registry", "tuning", "experiment", "report", "testing"},
}
BESIDE_INTERFACES = {"torch", "jaxtyping", "braid_core"}  # … and the standard library


def files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The absolute names that ``path`` imports at run time, wherever in the file."""
    for node in _runtime(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING:``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield from _runtime(child)


def test_the_core_imports_no_plugin() -> None:
    offenders = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files("braid_core")
        for name in imported(path)
        if name.partition(".")[0] in PLUGINS
    }
    assert not offenders


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_no_other(plugin: str) -> None:
    others = set(PLUGINS) - {plugin}
    offenders = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(f"plugins/{plugin}")
        for name in imported(path)
        if name.partition(".")[0] in others
    }
    assert not offenders


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_in_the_core_point_one_way(part: str) -> None:
    sources = files(f"braid_core/{part}") or [ROOT / "braid_core" / f"{part}.py"]
    offenders = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources
        for name in imported(path)
        if name.startswith("braid_core.") and name.split(".")[1] not in ALLOWED[part] | {part}
    }
    assert not offenders


def test_every_part_of_the_core_has_its_rule() -> None:
    inside = (ROOT / "braid_core").iterdir()
    parts = {path.stem for path in inside if (path.suffix == ".py" or path.is_dir()) and path.name[:2] != "__"}
    assert parts - set(ALLOWED) == set()


def test_the_interfaces_know_only_torch_and_each_other() -> None:
    offenders = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files("braid_core/interfaces")
        for name in imported(path)
        if name.partition(".")[0] not in BESIDE_INTERFACES | sys.stdlib_module_names
    }
    assert not offenders


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_works_where_every_other_is_blocked(plugin: str) -> None:
    """Imports all of its modules in a process in which importing another plugin fails."""
    code = (
        "import sys, importlib, pkgutil\n"
        f"sys.modules.update(dict.fromkeys({[name for name in PLUGINS if name != plugin]}))\n"
        f"package = importlib.import_module({plugin!r})\n"
        f"for found in pkgutil.walk_packages(package.__path__, {plugin + '.'!r}):\n"
        "    importlib.import_module(found.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
