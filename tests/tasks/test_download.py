"""Downloads from a server on this machine: cut and resumed, changed on the way, refused, not there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from braid_tasks import UTRSpec
from braid_tasks.download import cache_folder, fetch, local_file

from braid_core.errors import DataError

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves ``content``; breaks off after ``cut`` bytes, and notes which ranges it was asked for."""

    content = CONTENT
    etag: str | None = '"one"'
    ranges = True
    cut: int | None = None
    asked: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data/table.csv.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quietly."""

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        start = 0
        if not self.path.startswith("/data/"):
            return self.send_error(404)
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(server.content):
                return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    file = fetch(server.url, folder=tmp_path)
    assert file.name == "table.csv.gz"
    assert file.read_bytes() == CONTENT
    assert fetch(server.url, folder=tmp_path) == file
    assert fetch(server.url, sha(CONTENT), tmp_path) == file
    assert server.asked == [None]
    assert (file.parent / "table.csv.gz.sha256").read_text() == f"{sha(CONTENT)}  table.csv.gz\n"
    assert sorted(path.name for path in file.parent.iterdir()) == ["table.csv.gz", "table.csv.gz.sha256"]


def test_a_cut_download_is_continued(server: Server, tmp_path: Path) -> None:
    server.cut = 2_000_000
    with pytest.raises(DataError, match=r"not downloaded to its end[\s\S]*2,000,000 of 3,000,000[\s\S]*continues"):
        fetch(server.url, folder=tmp_path)
    server.cut = 500_000
    with pytest.raises(DataError, match=r"500,000 of 1,000,000"):
        fetch(server.url, folder=tmp_path)
    server.cut = None
    assert fetch(server.url, sha(CONTENT), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-", "bytes=2500000-"]


@pytest.mark.parametrize("reason", ["changed", "no ranges", "no version"])
def test_a_part_of_another_file_is_not_continued(server: Server, tmp_path: Path, reason: str) -> None:
    server.etag = None if reason == "no version" else server.etag
    server.cut = 2_000_000
    with pytest.raises(DataError):
        fetch(server.url, folder=tmp_path)
    server.cut, server.ranges = None, reason != "no ranges"
    if reason == "changed":
        server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(server.url, folder=tmp_path).read_bytes() == server.content


def test_a_part_that_is_complete_already(server: Server, tmp_path: Path) -> None:
    """The process ended between the last byte and the renaming: the server has nothing behind it."""
    part = fetch(server.url, folder=tmp_path).rename(tmp_path / "moved")
    folder = next(path for path in tmp_path.iterdir() if path.is_dir() and not path.name.startswith("."))
    part.rename(folder / "table.csv.gz.part")
    (folder / "table.csv.gz.part.version").write_text('"one"')
    assert fetch(server.url, folder=tmp_path).read_bytes() == CONTENT
    assert server.asked[1:] == ["bytes=3000000-", None]


def test_another_hash_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"another content[\s\S]*sha256 {sha(CONTENT)}, not {'0' * 64}"):
        fetch(server.url, "0" * 64, tmp_path)
    assert not list(tmp_path.rglob("table*"))
    fetch(server.url, folder=tmp_path)
    with pytest.raises(DataError, match="another content"):
        fetch(server.url, "0" * 64, tmp_path)


def test_a_file_that_was_damaged_later_is_refused(server: Server, tmp_path: Path) -> None:
    file = fetch(server.url, folder=tmp_path)
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"another content[\s\S]*remove .* to download it again"):
        fetch(server.url, folder=tmp_path)


def test_an_empty_hash_file_is_no_hash(server: Server, tmp_path: Path) -> None:
    file = fetch(server.url, folder=tmp_path)
    pin = file.with_name(f"{file.name}.sha256")
    pin.write_text("")
    assert fetch(server.url, folder=tmp_path).read_bytes() == CONTENT
    assert pin.read_text().startswith(hashlib.sha256(CONTENT).hexdigest())


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").write_text("x")

    def refused(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match=r"table.csv cannot be read.*\n.*Permission denied"):
        local_file(str(tmp_path / "table.csv"), "0" * 64)


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded[\s\S]*is there a network\?[\s\S]*give its path"):
        fetch("http://127.0.0.1:9/table.csv", folder=tmp_path)  # nobody listens there


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/my file.csv", "http://127.0.0.1:port/table.csv"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch(url, folder=tmp_path)


def test_an_address_that_is_wrong(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded[\s\S]*404"):
        fetch(server.url.replace("/data/", "/other/"), folder=tmp_path)


def test_downloads_are_kept_where_the_user_keeps_caches(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "braid-design"
    assert local_file(server.url).is_relative_to(cache_folder())
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "braid-design"


def test_a_task_from_an_address(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = [f"{''.join(generator.choice(list('ACGT'), 50))},{k}" for k in range(40)]
    server.content = "\n".join(["utr,rl", *rows, ""]).encode()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    address = server.url.removesuffix(".gz")
    one = UTRSpec(path=address, sha256=sha(server.content)).build(0)
    assert "40 UTRs" in one.notes[0]
    (tmp_path / "t.csv").write_bytes(server.content)
    assert UTRSpec(path=str(tmp_path / "t.csv")).build(0).fingerprint() == one.fingerprint()
    assert server.asked == [None]
