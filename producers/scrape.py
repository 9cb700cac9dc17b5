"""Getting a page of metrics, by HTTP or from a file, within a time and a size."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from producers.host import now_ms
from producers.source import SourceError
from schemas.sources import EXPORTER_DOWN, HUNG

PAGE_BYTES_MAX = 64 * 1024 * 1024
CHUNK_BYTES = 65_536
SOON_S = 0.001  # the shortest wait: none at all would mean another mode of the socket
DEFAULT_PATH = "/metrics"


class Fetched(NamedTuple):
    """A page: its whole lines, when it was got or written, and why it is known to lack some ("" = it is not)."""

    text: str
    ts: int
    cut: str = ""


def parse_url(text: str) -> SplitResult:
    """Raises SourceError for what is no address of a page."""
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return url if url.path else url._replace(path=DEFAULT_PATH)
    except ValueError:
        pass
    raise SourceError(f"{text!r} is no address; one is written http://HOST:9400/metrics")


def fetch(url: SplitResult, timeout_s: float) -> Fetched:
    """The page at `url`. Raises SourceError if there is none after `timeout_s`, all in all."""
    deadline = time.monotonic() + timeout_s
    where = url.geturl()
    try:
        with closing(_connection(url, timeout_s)) as connection:
            connection.connect()
            sock = connection.sock
            connection.request(
                "GET",
                f"{url.path}?{url.query}" if url.query else url.path,
                headers={"Accept": "text/plain", "Connection": "close"},
            )
            sock.settimeout(max(deadline - time.monotonic(), SOON_S))
            with closing(connection.getresponse()) as response:
                if response.status != 200:
                    moved = response.getheader("Location")
                    reason = f"HTTP {response.status} {response.reason}" + (f", moved to {moved}" if moved else "")
                    raise SourceError(f"{where}: {reason}")
                body, cut = _body(response, sock, deadline)
                html = response.headers.get_content_type() == "text/html" or body.lstrip().startswith(b"<")
    except TimeoutError as error:
        raise SourceError(f"{where}: no answer within {timeout_s:g} s", cause=HUNG) from error
    except ConnectionRefusedError as error:
        why = "connection refused; is the exporter running there?"
        raise SourceError(f"{where}: {why}", cause=EXPORTER_DOWN) from error
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(f"{where}: {_words(error)}", cause=EXPORTER_DOWN) from error
    if html:
        raise SourceError(f"{where}: answered with HTML, not with metrics; their path is usually {DEFAULT_PATH}")
    if len(body) > PAGE_BYTES_MAX:
        raise SourceError(f"{where}: more than {PAGE_BYTES_MAX} bytes, which is no page of metrics")
    return _whole_lines(body, now_ms(), cut)


def read_file(path: Path) -> Fetched:
    """The page in a file, as of the time it was written. Raises SourceError."""
    try:
        with path.open("rb") as file:
            body = file.read(PAGE_BYTES_MAX + 1)
        written_ms = path.stat().st_mtime_ns // 1_000_000
    except OSError as error:
        raise SourceError(f"{path}: cannot read the page: {error.strerror}") from error
    if len(body) > PAGE_BYTES_MAX:
        raise SourceError(f"{path}: more than {PAGE_BYTES_MAX} bytes, which is no page of metrics")
    return _whole_lines(body, written_ms, "")


def _connection(url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    assert url.hostname is not None
    if url.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=timeout_s)


def _body(response: http.client.HTTPResponse, sock: socket.socket, deadline: float) -> tuple[bytes, str]:
    """The body as far as it comes before the deadline, and why it is cut, if it is."""
    length = response.getheader("Content-Length")
    missing = int(length) if length and length.isdecimal() and "chunked" not in _encoding(response) else None
    body = bytearray()
    try:
        while missing != 0 and len(body) <= PAGE_BYTES_MAX:
            sock.settimeout(max(deadline - time.monotonic(), SOON_S))
            chunk = response.read1(CHUNK_BYTES if missing is None else min(missing, CHUNK_BYTES))
            if not chunk:
                break
            body += chunk
            missing = None if missing is None else missing - len(chunk)
    except TimeoutError:
        return bytes(body), "the page stopped coming in the middle"
    except (OSError, http.client.HTTPException):
        return bytes(body), "the connection broke in the middle of the page"
    return bytes(body), f"the page lacks {missing} of its bytes" if missing else ""


def _encoding(response: http.client.HTTPResponse) -> str:
    return response.getheader("Transfer-Encoding", "").lower()


def _whole_lines(body: bytes, ts: int, cut: str) -> Fetched:
    """A line without its end may lack the end of its number: it is no line."""
    end = body.rfind(b"\n") + 1
    if end < len(body):
        cut = cut or "the page ends in the middle of a line"
    return Fetched(body[:end].decode("utf-8", "backslashreplace"), ts, cut)


def _words(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return repr(text)[1:-1] if not text.isprintable() else text
