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
        cuts: the next so many bodies are cut in half, then the connection breaks.
        failures: the next answers have these statuses.
        kind: the Content-Type.
        block_s: a pause after each 64 KiB.
        asked: (path, Range, status) of every request so far.
        address: of the server.
    """

    files: dict[str, bytes]
    ranges: bool = True
    cuts: int = 0
    failures: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    block_s: float = 0.0
    asked: list[tuple[str, str | None, int]] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve a site on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
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


def tag(data: bytes) -> str:
    """The ETag of a file."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    path = handler.path.lstrip("/").split("?")[0]
    data = site.files.get(path, b"")
    wanted = handler.headers.get("Range")
    status, first = _status(handler, site, data, wanted)
    site.asked.append((path, wanted, status))
    body = data[first:] if status in (200, 206) else b""
    handler.send_response(status)
    handler.send_header("Content-Type", site.kind)
    handler.send_header("ETag", tag(data))
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if body and site.cuts:
        site.cuts -= 1
        body = body[: len(body) // 2]
    try:
        for start in range(0, len(body), 2**16):
            handler.wfile.write(body[start : start + 2**16])
            time.sleep(site.block_s)
    except OSError:  # the client has gone
        pass


def _status(
    handler: BaseHTTPRequestHandler, site: Site, data: bytes, wanted: str | None
) -> tuple[int, int]:
    if site.failures:
        return site.failures.pop(0), 0
    if not data:
        return 404, 0
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if not site.ranges or match is None or handler.headers.get("If-Range") != tag(data):
        return 200, 0
    first = int(match[1])
    return (206, first) if first < len(data) else (416, 0)
