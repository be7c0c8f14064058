"""Run folders are read with care, and refused with a reason."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from braid_core.errors import StoreError
from braid_core.report import read_run, read_runs, write_report

from .fabricate import edit

Make = Callable[..., Path]


def test_a_finished_run_is_read(make: Make) -> None:
    run = read_run(make(seed=3))
    assert (run.results.label, run.results.seed) == ("BRAID-bootstrap", 3)
    assert run.results.task.offline.n == 32898
    assert {row.method for row in run.results.rows} == {"Random", "Offline", "Pretrained", "BRAID-bootstrap"}
    assert set(run.metrics["stage"]) == {"backbone", "objective"}
    assert run.designs["valid"].all()
    assert run.notes == ()


def test_reading_and_writing_a_report_does_not_import_torch(make: Make, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from braid_core.report import write_report;"
        "write_report([Path(sys.argv[1])], Path(sys.argv[2])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(make()), str(tmp_path / "page.html")], check=True)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such run folder"):
        read_run(tmp_path / "absent")


def test_a_folder_that_is_no_run_points_to_the_runs_inside(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(StoreError, match=r"(?s)no run.*no manifest\.json.*holds 1 run folders"):
        read_run(tmp_path)


def test_an_unfinished_run(make: Make) -> None:
    folder = make()
    (folder / "results.json").unlink()
    with pytest.raises(StoreError, match=r"(?s)not finished.*results\.json.*continues"):
        read_run(folder)


def test_results_of_an_earlier_run_under_the_same_name_are_not_believed(make: Make) -> None:
    folder = make()
    edit(folder / "manifest.json", lambda manifest: manifest.update(seconds={}))
    with pytest.raises(StoreError, match="not finished"):
        read_run(folder)


@pytest.mark.parametrize("name", ["manifest.json", "results.json"])
@pytest.mark.parametrize("content", [b'{"rows": [', b"", b"\xff\xfe\x00"])
def test_damaged_json(make: Make, name: str, content: bytes) -> None:
    folder = make()
    (folder / name).write_bytes(content)
    with pytest.raises(StoreError, match=rf"(?s){name} of this run is damaged.*where: .*why: "):
        read_run(folder)


def test_a_wrong_field_is_named(make: Make) -> None:
    folder = make()
    edit(folder / "results.json", lambda results: results["rows"][1].update(gap="much"))
    with pytest.raises(StoreError, match=r"rows\.1\.gap"):
        read_run(folder)


def test_nan_and_infinity_are_unknown(make: Make) -> None:
    folder = make()
    edit(folder / "results.json", lambda results: results["rows"][0].update(gap=math.nan, kl=math.inf))
    row = read_run(folder).results.rows[0]
    assert (row.gap, row.kl) == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "reason"), [("predicted", "guess", "'predicted' is missing"), (",True,", ",True,high", "'promised'")]
)
def test_a_damaged_table_of_designs(make: Make, old: str, new: str, reason: str) -> None:
    path = make() / "designs.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(StoreError, match=rf"(?s)designs\.csv of this run is damaged.*{reason}"):
        read_run(path.parent)


def test_a_missing_table_of_designs(make: Make) -> None:
    folder = make()
    (folder / "designs.csv").unlink()
    with pytest.raises(StoreError, match=r"designs\.csv"):
        read_run(folder)


def test_designs_that_look_like_missing_values_stay_designs(make: Make) -> None:
    run = read_run(make(designs=("NA", "nan", "", "1e5")))
    own = run.designs[run.designs["method"] == "BRAID-bootstrap"]
    assert own["design"].tolist()[:4] == ["NA", "nan", "", "1e5"]


def test_a_line_cut_off_by_a_killed_process_is_left_out_and_counted(make: Make) -> None:
    folder = make()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "objective", "step": 400, "mean": 7.5}\n{"stage": "objec')
    run = read_run(folder)
    assert run.notes == ("1 unreadable line(s) of metrics.jsonl were left out",)
    last = run.metrics[(run.metrics["stage"] == "objective") & (run.metrics["step"] == 400)]
    assert last["mean"].tolist() == [7.5]  # a continued run writes a step again: the last counts


def test_a_run_without_curves(make: Make) -> None:
    folder = make()
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).metrics.empty


def test_the_files_of_an_earlier_page_are_no_broken_run(make: Make) -> None:
    folder = make()
    page = write_report([folder], folder.parent / "report.html")
    found, left_out = read_runs(sorted(path for path in page.parent.iterdir() if path.is_dir()))
    assert [run.folder for run in found] == [folder.resolve()]
    assert left_out == []


@pytest.mark.parametrize("name", ["history", "regret", "selection"])
def test_a_wrong_record_of_tuning_is_refused(make: Make, name: str) -> None:
    folder = make(chosen=4.0)
    edit(folder / "results.json", lambda results: results.update({name: "much"}))
    with pytest.raises(StoreError, match=rf"(?s)damaged.*{name}"):
        read_run(folder)


def test_broken_runs_are_skipped_only_when_asked(make: Make, tmp_path: Path) -> None:
    good, absent = make(), tmp_path / "absent"
    with pytest.raises(StoreError):
        read_runs([good, absent])
    runs, left_out = read_runs([good, absent, good], skip_broken=True)
    assert [run.folder for run in runs] == [good.resolve()]
    assert left_out == ["absent: there is no such run folder"]
    with pytest.raises(StoreError, match="no finished run"):
        read_runs([absent], skip_broken=True)
