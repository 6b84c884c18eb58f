"""A real HTTP server with ranges and validators, which can also misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """What is served, and how.

    Attributes:
        files: path without its slash → content.
        ranges: whether ranges are understood.
        tags: whether ETags are sent.
        weak: whether they are weak ones.
        dates: whether Last-Modified is sent.
        cuts: the next so many bodies are cut in half, then the connection breaks.
        failures: the next answers have these statuses.
        kind: the Content-Type.
        lengths: whether the length is said.
        block_s: a pause after each 64 KiB.
        asked: (path, Range, status) of every request so far.
        address: of the server.
    """

    files: dict[str, bytes]
    ranges: bool = True
    tags: bool = True
    weak: bool = False
    dates: bool = False
    cuts: int = 0
    failures: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    lengths: bool = True
    block_s: float = 0.0
    asked: list[tuple[str, str | None, int]] = field(default_factory=list)
    address: str = ""


DATE = "Mon, 06 Oct 2025 10:00:00 GMT"


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve a site on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the terminal."""

        def do_GET(self) -> None:
            _answer(self, site)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    path = handler.path.lstrip("/").split("?")[0]
    data = site.files.get(path)
    wanted = handler.headers.get("Range")
    status, first = _status(handler, site, data, wanted)
    site.asked.append((path, wanted, status))
    body = data[first:] if data is not None and status in (200, 206) else b""
    handler.send_response(status)
    for name, value in _headers(site, status, first, data).items():
        handler.send_header(name, value)
    if site.lengths:
        handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    if status in (200, 206) and site.cuts:
        site.cuts -= 1
        body = body[: len(body) // 2]
    _send(handler, site, body)


def _status(
    handler: BaseHTTPRequestHandler, site: Site, data: bytes | None, wanted: str | None
) -> tuple[int, int]:
    if site.failures:
        return site.failures.pop(0), 0
    if data is None:
        return 404, 0
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if not site.ranges or match is None:
        return 200, 0
    condition = handler.headers.get("If-Range")
    if condition is not None and condition not in (_tag(data), DATE if site.dates else None):
        return 200, 0
    first = int(match[1])
    return (206, first) if first < len(data) else (416, 0)


def _headers(site: Site, status: int, first: int, data: bytes | None) -> dict[str, str]:
    headers = {"Content-Type": site.kind}
    if data is not None and site.tags:
        headers["ETag"] = ("W/" if site.weak else "") + _tag(data)
    if site.dates:
        headers["Last-Modified"] = DATE
    if data is not None and status == 206:
        headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    if data is not None and status == 416:
        headers["Content-Range"] = f"bytes */{len(data)}"
    if status == 503:
        headers["Retry-After"] = "7"
    return headers


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _send(handler: BaseHTTPRequestHandler, site: Site, body: bytes) -> None:
    try:
        for start in range(0, len(body), 2**16):
            handler.wfile.write(body[start : start + 2**16])
            if site.block_s:
                time.sleep(site.block_s)
    except OSError:  # the client has gone
        pass
