"""Downloads from a real HTTP server that answers as the Hub does."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vividface_core.errors import MissingWeights, UnsupportedCheckpoint
from vividface_core.io.hub import HubFile, fetch

CONTENT = bytes(range(256)) * 40_000
"""10 MB: more than one of the client's pieces."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves one file; ``breaks_at`` ends the next body early, as a lost connection does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.breaks_at: int | None = None
        self.etag = hashlib.sha256(CONTENT).hexdigest()
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is part of these tests."""


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        span = self.headers.get("Range")
        self.server.asked.append((self.command, span))
        if not self.path.endswith("/lab/model/resolve/main/folder/weights.safetensors"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.match(r"bytes=(\d+)-", span)[1]) if span else 0
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("ETag", f'"{self.server.etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Connection", "close")
        self.end_headers()
        if body:
            stop, self.server.breaks_at = self.server.breaks_at or len(CONTENT), None
            self.wfile.write(CONTENT[start:stop])


@pytest.fixture
def hub(monkeypatch):
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    server.server_close()


FILE = HubFile("lab/model", "folder/weights.safetensors")


def test_a_file_comes_whole_checked_and_with_progress(hub, tmp_path):
    shares = []
    path = fetch(FILE, tmp_path, shares.append)
    assert path == tmp_path / "folder" / "weights.safetensors"
    assert path.read_bytes() == CONTENT
    assert shares and shares[-1] == 1.0 and shares == sorted(shares)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    asked = len(hub.asked)
    assert fetch(FILE, tmp_path) == path and len(hub.asked) == asked, "what is there isn't fetched again"


def ranges(hub) -> list[str | None]:
    return [span for command, span in hub.asked if command == "GET"]


def test_a_stopped_download_goes_on_where_it_stopped(hub, tmp_path):
    def stop(share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, tmp_path, stop)
    assert not (tmp_path / FILE.path).exists()
    shares = []
    path = fetch(FILE, tmp_path, shares.append)
    assert path.read_bytes() == CONTENT and shares[0] > 0.3
    assert ranges(hub)[0] is None and int(ranges(hub)[1].removeprefix("bytes=").rstrip("-")) > 0.3 * len(CONTENT)


def test_a_broken_connection_is_taken_up_again(hub, tmp_path):
    hub.breaks_at = 5_000_000
    path = fetch(FILE, tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges(hub) == [None, "bytes=5000000-"]


def test_pieces_of_another_version_are_not_joined(hub, tmp_path):
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    hub.etag = "a" * 64
    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, tmp_path, stop)
    hub.etag = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(FILE, tmp_path).read_bytes() == CONTENT
    assert ranges(hub) == [None, None]


def test_other_content_than_promised_is_refused_and_deleted(hub, tmp_path):
    wrong = HubFile(FILE.repo, FILE.path, sha256="0" * 64)
    with pytest.raises(UnsupportedCheckpoint, match="SHA-256"):
        fetch(wrong, tmp_path)
    assert not (tmp_path / FILE.path).exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_hubs_own_checksum_counts_where_none_is_known(hub, tmp_path):
    hub.etag = "f" * 64
    with pytest.raises(UnsupportedCheckpoint, match="f{64}"):
        fetch(FILE, tmp_path)


def test_what_cannot_be_fetched_says_file_folder_and_address(hub, tmp_path, monkeypatch):
    missing = HubFile("lab/model", "other.bin")
    with pytest.raises(MissingWeights, match=r"other\.bin.*127\.0\.0\.1.*lab/model") as raised:
        fetch(missing, tmp_path)
    assert str(tmp_path) in str(raised.value)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(MissingWeights, match=r"weights\.safetensors could not be downloaded"):
        fetch(FILE, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeights, match="HF_HUB_OFFLINE"):
        fetch(FILE, tmp_path)
