"""A file is seen whole or not at all."""

from __future__ import annotations

import errno
import os
from fnmatch import fnmatch
from pathlib import Path

import pytest

from braid_core.errors import StoreError
from braid_core.files import TEMPORARY, make_folder, temporary_name, write_atomic, writing


def test_text_and_bytes(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "α\n")
    write_atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == "α\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_content_stays_until_the_new_is_complete(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_atomic(path, "old")

    def replace(source: Path, target: Path) -> None:
        assert Path(source).read_text() == "new"
        assert Path(target).read_text() == "old"
        raise error

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StoreError if isinstance(error, OSError) else KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "a", tmp_path / "file" / "a", tmp_path):
        with pytest.raises(StoreError, match=f"cannot write {path}"):
            write_atomic(path, "x")
    with pytest.raises(StoreError, match="cannot write"):
        make_folder(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    for text in ("old", "new"):
        write_atomic(tmp_path / "link", text)
        assert (tmp_path / "real" / "a").read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "real") == ["a"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(pipe, "designs")
    assert os.read(reader, 100) == b"designs"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left on device"):
        write_atomic(tmp_path / "full", "x")
    assert Path("/dev/full").is_char_device()


def test_a_folder_is_made_while_others_tidy_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch, probes = Path.touch, list[Path]()

    def touched(path: Path) -> None:
        touch(path)
        probes.append(path)
        path.unlink()

    monkeypatch.setattr(Path, "touch", touched)
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "a")
    assert len(set(probes)) == 2
    assert not any(fnmatch(probe.name, TEMPORARY) for probe in probes)


def test_names_of_unfinished_files_are_our_own_and_never_too_long() -> None:
    for name in ("results.csv", "x" * 255, "α" * 127):
        assert fnmatch(temporary_name(name), TEMPORARY)
        assert temporary_name(name) != temporary_name(name)
        assert len(temporary_name(name).encode()) <= 255
    assert not fnmatch(".results.csv.swp.tmp", TEMPORARY)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose a folder that you may write to"),
        (errno.EROFS, "choose a folder that you may write to"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.ENOTDIR, "a file or folder is in the way"),
        (errno.EIO, "see that the folder is there"),
    ],
)
def test_the_remedy_is_that_of_the_reason(number: int, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught, writing(tmp_path):
        raise OSError(number, os.strerror(number))
    assert remedy in str(caught.value.fix)
    assert (number == errno.ENOSPC) == ("space" in str(caught.value.fix))
