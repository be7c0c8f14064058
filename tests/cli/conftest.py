from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from braid_core.cli import main
from tests.experiment.tiny import spec_file

Braid = Callable[..., tuple[int, str, str]]


@pytest.fixture
def braid(capsys: pytest.CaptureFixture[str]) -> Braid:
    """Calls the command line; returns the exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, made by ``braid run``: to be read, never changed."""
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", str(spec_file(folder, name="run.toml")), "--out", str(folder)]) == 0
    return next(folder.glob("motif-braid-bootstrap-seed0-*"))
