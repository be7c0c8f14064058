"""Downloading a measured table once: resumed after a cut, checked against a hash, kept for all runs."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from braid_core.errors import DataError
from braid_core.experiment.locks import alone
from braid_core.files import make_folder, write_atomic, writing

CHUNK, TIMEOUT = 2**20, 60
REMEDY = "try again (it continues where it stopped), or download it by other means and give its path"


def cache_folder() -> Path:
    """Where downloads are kept: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "braid-design"


def local_file(path: str, sha256: str | None = None) -> Path:
    """``path``, or, if it is an http(s) address, the downloaded file. Raises :class:`DataError` for another hash."""
    if urlsplit(path).scheme in ("http", "https"):
        return fetch(path, sha256)
    file = Path(path).expanduser()
    if sha256 is not None and file.is_file():
        _check(_hash(file), sha256, path, "give the file that the hash belongs to, or the right hash")
    return file


def fetch(url: str, sha256: str | None = None, folder: Path | None = None) -> Path:
    """The file at ``url``, downloaded unless it is in ``folder`` already.

    Without a ``sha256`` the first download is trusted: its hash is written beside the file, and from then on another
    content is refused, as damage. Raises :class:`DataError` without a network and for another hash than expected.
    """
    folder = cache_folder() if folder is None else folder
    name = Path(urlsplit(url).path).name or "download"
    file = folder / hashlib.sha256(url.encode()).hexdigest()[:12] / name
    pin = file.with_name(f"{name}.sha256")
    make_folder(file.parent)
    with alone(folder / ".locks" / file.parent.name):
        if file.is_file() and (pinned := _pinned(pin)):
            _check(_hash(file), pinned, str(file), f"remove {file.parent} to download it again")
        else:
            part = file.with_name(f"{name}.part")
            _download(url, part)
            found = _hash(part)
            if sha256 not in (None, found):
                part.unlink()  # or every later try would continue it
            _check(found, sha256, url, "give the right hash, or leave it out to trust the first download")
            with writing(file):
                os.replace(part, file)
            write_atomic(pin, f"{found}  {name}\n")
        wanted = f"leave the hash out, or remove {file.parent} to download again what it is of"
        _check(_pinned(pin), sha256, url, wanted)
    return file


def _download(url: str, part: Path) -> None:
    """Complete ``part``; what is there is kept if the server says that the file is still the same."""
    version = part.with_name(f"{part.name}.version")
    have = part.stat().st_size if part.is_file() and version.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": version.read_text()} if have else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            resumed = answer.status == 206
            total = int(answer.headers.get("Content-Length", -1))
            validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if validator and not validator.startswith("W/"):  # a weak one does not promise equal bytes
                write_atomic(version, validator)
            else:
                version.unlink(missing_ok=True)
            got = 0
            with _open(part, "ab" if resumed else "wb") as out:
                while block := answer.read(CHUNK):  # not within `writing`: what fails here is the network
                    with writing(part):
                        got += out.write(block)
    except HTTPError as error:
        if error.code == 416 and have:  # there is nothing behind what we have, which may be a file of other content
            part.unlink()
            return _download(url, part)
        raise DataError(f"{url} cannot be downloaded", why=f"{error.code} {error.reason}", fix=REMEDY) from error
    except (HTTPException, OSError) as error:
        why = f"{getattr(error, 'reason', error)}: is there a network?"
        raise DataError(f"{url} cannot be downloaded", why=why, fix=REMEDY) from error
    if total not in (-1, got):
        why = f"the connection was cut after {got:,} of {total:,} bytes"
        raise DataError(f"{url} was not downloaded to its end", why=why, fix=REMEDY)
    version.unlink(missing_ok=True)
    return None


def _open(part: Path, mode: Literal["ab", "wb"]) -> BinaryIO:
    with writing(part):
        return part.open(mode)


def _hash(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read", why=error.strerror, fix="see that you may read it") from error


def _pinned(pin: Path) -> str:
    """The hash that was written beside a download; empty where there is none, or half a file."""
    return (pin.read_text().split() or [""])[0] if pin.is_file() else ""


def _check(found: str, expected: str | None, where: str, fix: str) -> None:
    if expected is not None and found != expected.lower():
        raise DataError("the file has another content", where=where, why=f"sha256 {found}, not {expected}", fix=fix)
