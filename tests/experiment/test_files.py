"""A file is seen whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from braid_core.errors import StoreError
from braid_core.files import make_folder, write_atomic


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
