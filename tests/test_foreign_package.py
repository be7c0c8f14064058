"""A stranger's package: built to a wheel, installed beside BRAID's wheel in a fresh environment, used, and removed."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "third_party"


class Environment:
    """A virtual environment that borrows the dependencies of this one, but not its BRAID."""

    def __init__(self, folder: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        self.folder = folder
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        own = run(str(self.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        # Path entries are appended, so what is installed here comes first; a .pth inside the borrowed folder (such
        # as that of an editable install) is not followed.
        (Path(own) / "borrowed.pth").write_text("\n".join(site.getsitepackages()))

    def pip(self, *arguments: str) -> None:
        run(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", str(self.python), *arguments)

    def call(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(str(self.python), *arguments, code=code, cwd=self.folder)

    def braid(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(str(self.python.with_name("braid")), *arguments, code=code, cwd=self.folder)

    def foreign(self) -> list[dict[str, str]]:
        """What ``braid plugins list`` shows of distributions other than BRAID."""
        rows: list[dict[str, str]] = json.loads(self.braid("plugins", "list", "--json").stdout)
        return [row for row in rows if row["distribution"] != "braid-design"]


def run(*command: str, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "BRAID_"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """BRAID and the example, each from its wheel."""
    folder = tmp_path_factory.mktemp("foreign")
    for source in (ROOT, EXAMPLE):
        run(sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "--outdir", str(folder), str(source))
    environment = Environment(folder / "environment")
    environment.pip("install", "--no-deps", "--no-index", *map(str, sorted(folder.glob("*.whl"))))
    return environment


def test_braid_comes_from_its_wheel(environment: Environment) -> None:
    code = "import braid_core, braid_tasks; print(braid_core.__file__); print(braid_tasks.__file__)"
    for place in environment.call("-c", code).stdout.split():
        assert Path(place).is_relative_to(environment.folder)


def test_the_wheels_hold_no_strangers(environment: Environment) -> None:
    environment.call("-c", "import tests", code=1)
    environment.call("-c", "import docs", code=1)


def test_the_example_is_listed_sound_and_documented(environment: Environment) -> None:
    (row,) = environment.foreign()
    assert (row["kind"], row["name"], row["distribution"], row["state"]) == ("oracle", "knn", "braid-example-knn", "ok")
    assert "ok" in environment.braid("plugins", "check").stdout
    schema = json.loads(environment.braid("plugins", "schema", "knn").stdout)
    assert schema["properties"]["neighbours"]["default"] == 10


def test_a_run_uses_the_example_by_its_name(environment: Environment) -> None:
    environment.braid("run", str(EXAMPLE / "run.toml"), "--out", "runs")
    run_folder = environment.folder / "runs" / "knn-demo"
    used = json.loads((run_folder / "manifest.json").read_text())["plugins"]
    assert {"kind": "oracle", "type": "knn", "distribution": "braid-example-knn", "version": "0.1.0"} in used
    assert (run_folder / "report.html").is_file()


def test_the_example_passes_its_own_tests(environment: Environment) -> None:
    environment.call("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), str(EXAMPLE / "tests"))


def test_uninstalled_it_is_gone_with_a_helpful_error(environment: Environment) -> None:
    """Comes last: it ends what the other tests of this module look at."""
    environment.pip("uninstall", "-y", "braid-example-knn")
    assert environment.foreign() == []
    error = environment.braid("run", str(EXAMPLE / "run.toml"), "--out", "runs", code=2).stderr
    assert "there is no oracle named 'knn'" in error
    assert "install the package that provides it" in error
