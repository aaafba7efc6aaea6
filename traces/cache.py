"""Downloading the traces: resumed where it broke off, verified before it counts."""

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from fleetgym.traces.catalog import cached, entry
from fleetgym.traces.errors import TraceError

UNVERIFIED = "unverified"  # in place of a checksum: take what comes
MAX_BYTES = 8 << 30  # of a download whose size nobody published
TRIES = 5
TIMEOUT_S = 30.0
PAUSE_S = 1.0  # before the second try, doubled before each further one
_CHUNK = 1 << 16

Progress = Callable[[int, int], None]  # bytes so far, bytes in all or 0 where unknown


@dataclass(frozen=True)
class _Source:
    url: str
    size: int  # bytes, or 0 where nobody published it
    progress: Progress | None


class _BrokenOffError(Exception):
    """The server stopped early, or was not there; another try may go on."""


def fetch(
    name: str,
    *,
    url: str | None = None,
    sha256: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Downloads a trace into the cache, unless it is there.

    A download that breaks off is resumed, by this call or a later one. The file appears under its
    name only once its length and SHA-256 are those of the catalogue.

    Args:
        name: of the catalogue.
        url: a mirror, in place of the catalogue's address.
        sha256: the checksum, for a trace of which nobody published one (hexadecimal, or
            ``"unverified"`` to do without).
        force: download it even if it is there.
        progress: called with the bytes so far and the bytes in all (0: unknown).

    Returns:
        The file.

    Raises:
        TraceError: unknown name, no checksum, server or disk failure, or a wrong file.
    """
    wanted = entry(name)
    expected = (wanted.sha256 or sha256 or "").lower()
    if not expected:
        raise TraceError(
            f"{name}: nobody published a checksum of {wanted.url}; pass its SHA-256 with "
            f"--sha256 HEX, or --sha256 {UNVERIFIED} to take what comes"
        )
    if wanted.sha256 and sha256 and sha256.lower() != expected:
        raise TraceError(f"{name}: its SHA-256 is {expected}, not {sha256}")
    path = cached(name)
    if path.is_file() and not force:
        return path
    source = _Source(url or wanted.url, wanted.bytes, progress)
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise TraceError(f"{name}: {source.url} is not an http or https address")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            part.unlink(missing_ok=True)
        _download(name, source, part)
        _verify(name, source, part, expected)
        part.replace(path)
    except OSError as error:
        raise TraceError(f"{name}: {path.parent} cannot be written ({error})") from error
    return path


def _download(name: str, source: _Source, part: Path) -> None:
    """Tries until the part is whole, a bounded number of times."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _try(source, part)
            return
        except _BrokenOffError as error:
            problem = error
    raise TraceError(
        f"{name}: {source.url} failed {TRIES} times, the last time because {problem}; "
        "what came is kept: fetch again to go on"
    )


def _try(source: _Source, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if source.size and have == source.size:
        return
    headers = {"User-Agent": "fleetgym", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(source.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            _receive(source, response, part, have)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # the part is longer than the file
                part.unlink(missing_ok=True)
                raise _BrokenOffError("the server refused to resume") from error
            if error.code < 500 and error.code != 429:
                raise TraceError(f"{source.url}: HTTP {error.code} {error.reason}") from error
            raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


def _receive(source: _Source, response: HTTPResponse, part: Path, have: int) -> None:
    """Appends to the part, or starts it anew where the server ignored the range."""
    resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    start = have if response.status == 206 and resumed else 0
    if response.status == 206 and not resumed:
        part.unlink(missing_ok=True)
        raise _BrokenOffError("the server resumed at another place")
    promised = response.length or 0
    total = source.size or (start + promised if promised else 0)
    done = start
    with part.open("ab" if start else "wb") as file:
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if done > (total or MAX_BYTES):
                break
            file.write(chunk)
            if source.progress:
                source.progress(done, total)
    if done > (total or MAX_BYTES):
        part.unlink()
        raise TraceError(f"{source.url}: sends more than the {total or MAX_BYTES} bytes expected")
    if done < total:
        raise _BrokenOffError(f"it broke off after {done} of {total} bytes")


def _verify(name: str, source: _Source, part: Path, expected: str) -> None:
    if expected == UNVERIFIED:
        return
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        size = part.stat().st_size
        part.unlink()
        raise TraceError(
            f"{name}: {source.url} gave a wrong file: {size} bytes with SHA-256 {actual}, "
            f"expected {expected}; it was deleted"
        )
