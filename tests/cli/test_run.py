"""``braid run``: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.experiment.tiny import STAGES, read, spec_file, stored, tiny, unfinished
from tests.experiment.tiny_bench import FAILING

from .conftest import Braid

QUICK = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Tiny networks on several threads mostly wait for each other."""
METHODS = ("Random", "Offline", "Pretrained", "BRAID-bootstrap")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "braid_core.cli", *map(str, arguments)]


def test_a_run_prints_its_table_and_where_the_report_is(braid: Braid, tmp_path: Path) -> None:
    code, out, err = braid("run", spec_file(tmp_path), "--out", tmp_path / "out")
    folder = tmp_path / "out" / tiny().folder_name
    assert code == 0
    assert all(method in out for method in METHODS)
    assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert f"run folder: {folder}" in err
    assert f"finished: {folder}" in err
    assert [stage in err for stage in ("backbone 20/20", "oracle 20/20", "objective 10/10")] == [True] * 3


def test_a_repeated_run_reuses_everything(braid: Braid, tmp_path: Path) -> None:
    spec = spec_file(tmp_path)
    first = braid("run", spec, "--out", tmp_path / "out")
    again = braid("run", spec, "--out", tmp_path / "out")
    assert again[:2] == first[:2]
    assert "backbone" not in again[2]


def test_several_specs_make_one_report(braid: Braid, tmp_path: Path) -> None:
    specs = [spec_file(tmp_path, f"{name}.toml", objective={"type": name}) for name in ("braid", "strl")]
    specs.append(spec_file(tmp_path, "other.json.toml", seed=1))
    code, out, _ = braid("run", *specs, "--out", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert all(method in out for method in (*METHODS, "STRL-bootstrap"))
    assert "2 seeds" in out
    assert len(stored(tmp_path / "out", "backbone")) == 2  # one a seed


def test_the_manifest_holds_the_command(braid: Braid, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    braid("run", spec_file(folder), "--out", folder)
    assert (
        read(folder / tiny().folder_name, "manifest.json")["command"]
        == f"braid run '{folder}/run.toml' --out '{folder}'"
    )


def test_specs_that_would_write_one_folder(braid: Braid, tmp_path: Path) -> None:
    specs = [spec_file(tmp_path, f"{k}.toml", objective={"alpha": k}) for k in (1, 2)]
    for spec in specs:
        spec.write_text('name = "one"\n' + spec.read_text())
    code, _, err = braid("run", *specs, "--out", tmp_path / "out")
    assert code == 2
    assert "2 specs would write the same run folder" in err
    assert "1.toml" in err
    assert "give each its own `name`" in err
    assert not (tmp_path / "out").exists()


def test_all_specs_are_read_before_the_first_is_run(braid: Braid, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('task = "motif"\nseeed = 1\n')
    assert braid("run", spec_file(tmp_path), bad, "--out", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()


def test_all_tasks_are_built_before_the_first_run(braid: Braid, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(f'[task]\ntype = "table"\npath = "{tmp_path}/none.csv"\n')
    code, _, err = braid("run", spec_file(tmp_path), bad, "--out", tmp_path / "out")
    assert code == 2
    assert f"where: {bad}: " in err
    assert not (tmp_path / "out").exists()


def test_a_later_spec_that_fails_leaves_the_report_of_those_before(braid: Braid, tmp_path: Path) -> None:
    specs = [spec_file(tmp_path, "good.toml"), spec_file(tmp_path, "bad.toml", oracle=FAILING["oracle"])]
    code, out, err = braid("run", *specs, "--out", tmp_path / "out")
    assert code == 2
    assert "BRAID-bootstrap" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'out' / tiny().folder_name / 'report.html'}"
    assert f"where: {specs[1]}" in err
    assert "labelled designs are fewer" in err


def test_a_damaged_stage_is_one_readable_line(braid: Braid, tmp_path: Path) -> None:
    spec, out = spec_file(tmp_path), tmp_path / "out"
    table = braid("run", spec, "--out", out)[1]
    (oracle,) = stored(out, "oracle")
    (oracle / "state.safetensors").write_bytes(b"nonsense")
    code, again, err = braid("run", spec, "--out", out)
    assert (code, again) == (0, table)
    warned = [line for line in err.splitlines() if "is damaged" in line]
    assert warned == [
        f"warning: the stored stage {oracle} is damaged (state.safetensors does not have the hash in SHA256SUMS): "
        "computing it again"
    ]
    assert "store.py" not in err
    assert "warnings.warn" not in err


def test_no_spec_is_a_usage_error(braid: Braid) -> None:
    code, _, err = braid("run")
    assert code == 2
    assert "SPEC" in err


def slow_spec(folder: Path) -> Path:
    return spec_file(folder, objective={"steps": 100_000})


def wait_for(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the objective has logged its first figures."""
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in (out / ".stages").glob(".objective-*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        command("run", slow_spec(tmp_path), "--out", out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=QUICK,
    ) as process:
        wait_for(out, process)
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert err.splitlines()[-1].startswith("error: stopped; finished stages are kept")
    assert "Traceback" not in err
    assert [len(stored(out, kind)) for kind in STAGES[:4]] == [1, 1, 1, 0]  # nothing after what was stopped
    assert unfinished(out) == []


def test_a_real_process_from_spec_to_samples(tmp_path: Path) -> None:
    spec = tmp_path / "run.json"
    spec.write_text(json.dumps({**tiny().to_dict(), "name": "mine"}))
    script: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120, "env": QUICK}
    made = subprocess.run(command("run", "run.json"), **script)
    assert (made.returncode, made.stdout.splitlines()[-1]) == (0, "report: runs/mine/report.html"), made.stderr
    drawn = subprocess.run(command("sample", "runs/mine", "-n", 3), **script)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert len(drawn.stdout.splitlines()) == 4


@pytest.mark.parametrize("verb", ["run", "sample"])
def test_help(verb: str, braid: Braid) -> None:
    code, out, _ = braid(verb, "--help")
    assert code == 0
    assert f"usage: braid {verb}" in out
