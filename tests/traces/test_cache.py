import hashlib
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleetgym.traces import cache, catalog
from fleetgym.traces.errors import TraceError

BODY = bytes(range(256)) * 700
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY with faults; stops answering after 50 requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []  # the Range header of each request
        self.faults = []  # one taken by each request, none: it answers well
        self.body = BODY
        self.url = f"http://127.0.0.1:{self.server_port}/trace.csv"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if len(self.server.ranges) > 50:
            self.send_error(410)
            return
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if fault == "ignores range":
            start = 0
        if start >= len(self.server.body):
            self.send_error(416)
            return
        body = self.server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if fault == "other place" else start
            last = len(self.server.body)
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{last}")
        lengths = {"says shorter": 10, "says longer": len(body) + 1000, "odd length": "many"}
        if fault != "no length":
            self.send_header("Content-Length", str(lengths.get(fault, len(body))))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "breaks off" else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(cache, "PAUSE_S", 0.0)
    monkeypatch.setattr(cache, "TIMEOUT_S", 5.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A catalogue of one trace, "t", whose published file is BODY, and one without a checksum."""
    shape = replace(catalog.entry("huawei-east1"), url="http://127.0.0.1:9/", file="t.csv")
    known = replace(shape, name="t", sha256=SHA256, bytes=len(BODY))
    entries = {"t": known, "unknown": replace(shape, name="unknown")}
    monkeypatch.setattr(catalog, "entries", lambda: entries)
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    monkeypatch.delenv("FLEETGYM_DATA", raising=False)
    return tmp_path / "t" / "t.csv"


def test_fetch(server, trace):
    seen = []
    assert cache.fetch("t", url=server.url, progress=lambda *at: seen.append(at)) == trace
    assert trace.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert catalog.find("t") == trace
    assert [path.name for path in trace.parent.iterdir()] == ["t.csv"]
    assert cache.fetch("t", url=server.url) == trace
    assert server.ranges == [None]
    cache.fetch("t", url=server.url, force=True)
    assert server.ranges == [None, None]


def test_resumes_what_broke_off(server, trace):
    server.faults = ["breaks off", "breaks off"]
    assert cache.fetch("t", url=server.url).read_bytes() == BODY
    half = len(BODY) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_later_call_resumes(server, trace):
    server.faults = ["breaks off", 503, 503, 503, 503]
    with pytest.raises(TraceError, match=r"failed 5 times.*503.*fetch again"):
        cache.fetch("t", url=server.url)
    assert not trace.exists()
    assert cache.fetch("t", url=server.url).read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={len(BODY) // 2}-"


def test_force_starts_anew(server, trace):
    trace.parent.mkdir()
    trace.with_name("t.csv.part").write_bytes(BODY[:100])
    assert cache.fetch("t", url=server.url, force=True).read_bytes() == BODY
    assert server.ranges == [None]


@pytest.mark.parametrize("fault", ["ignores range", "other place"])
def test_range_not_honoured(server, trace, fault):
    server.faults = ["breaks off", fault, fault, fault, fault]
    assert cache.fetch("t", url=server.url).read_bytes() == BODY


@pytest.mark.parametrize("fault", ["no length", "odd length", "says longer", "says shorter"])
def test_lies_about_the_length(server, trace, fault):
    server.faults = [fault]
    assert cache.fetch("t", url=server.url).read_bytes() == BODY


def test_bounded_tries(server, trace):
    server.faults = [500] * 99
    with pytest.raises(TraceError, match="failed 5 times, the last time because HTTP 500"):
        cache.fetch("t", url=server.url)
    assert len(server.ranges) == 5


@pytest.mark.parametrize("code", [403, 404])
def test_no_second_try(server, trace, code):
    server.faults = [code]
    with pytest.raises(TraceError, match=f"HTTP {code}"):
        cache.fetch("t", url=server.url)
    assert len(server.ranges) == 1


def test_wrong_file(server, trace):
    server.body = BODY[::-1]
    with pytest.raises(TraceError, match=r"wrong file.*it was deleted"):
        cache.fetch("t", url=server.url)
    assert list(trace.parent.iterdir()) == []


def test_too_long_a_file(server, trace):
    server.body = BODY + b"more"
    with pytest.raises(TraceError, match=f"more than the {len(BODY)} bytes"):
        cache.fetch("t", url=server.url)
    assert list(trace.parent.iterdir()) == []


def test_too_short_a_file(server, trace):
    server.body = BODY[:-1]
    with pytest.raises(TraceError, match="failed 5 times"):
        cache.fetch("t", url=server.url)
    assert not trace.exists()
    assert len(server.ranges) == 5


@pytest.mark.parametrize("size", [len(BODY), len(BODY) + 5])
def test_stale_part(server, trace, size):
    trace.parent.mkdir()
    trace.with_name("t.csv.part").write_bytes(b"x" * size)
    if size == len(BODY):
        with pytest.raises(TraceError, match="wrong file"):
            cache.fetch("t", url=server.url)
    assert cache.fetch("t", url=server.url).read_bytes() == BODY


def test_no_server(trace, monkeypatch):
    monkeypatch.setattr(cache, "PAUSE_S", 0.0)
    with Server() as gone:
        url = gone.url
    with pytest.raises(TraceError, match="failed 5 times"):
        cache.fetch("t", url=url)


def test_no_published_checksum(server, trace):
    with pytest.raises(TraceError, match="--sha256"):
        cache.fetch("unknown", url=server.url)
    assert server.ranges == []
    with pytest.raises(TraceError, match="wrong file"):
        cache.fetch("unknown", url=server.url, sha256="0" * 64)
    path = cache.fetch("unknown", url=server.url, sha256=SHA256.upper())
    assert path.read_bytes() == BODY
    cache.fetch("unknown", url=server.url, sha256="unverified", force=True)


def test_unverified_is_whole_and_bounded(server, trace, monkeypatch):
    server.faults = ["breaks off"]
    path = cache.fetch("unknown", url=server.url, sha256="unverified")
    assert path.read_bytes() == BODY
    assert len(server.ranges) == 2
    monkeypatch.setattr(cache, "MAX_BYTES", 1000)
    server.faults = ["no length"]
    with pytest.raises(TraceError, match="more than the 1000 bytes"):
        cache.fetch("unknown", url=server.url, sha256="unverified", force=True)


def test_another_checksum_than_the_published(server, trace):
    with pytest.raises(TraceError, match="its SHA-256 is"):
        cache.fetch("t", url=server.url, sha256="0" * 64)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "nowhere"])
def test_only_http(trace, url):
    with pytest.raises(TraceError, match="not an http"):
        cache.fetch("t", url=url)


def test_unwritable_cache(server, trace):
    trace.parent.write_text("a file where the folder should be")
    with pytest.raises(TraceError, match="cannot be written"):
        cache.fetch("t", url=server.url)
