"""Real servers for tests: RTSP, HTTP files, HTTP motion JPEG, and one that never answers."""

from __future__ import annotations

import functools
import http.server
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0')"
_BOUNDARY = "frame"


@functools.cache
def _lacks_rtsp() -> str | None:
    """Why no RTSP server can be started; None where it can."""
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, check=False)
    except OSError as error:
        return f"needs {SYSTEM_PYTHON} ({error.strerror})"
    if done.returncode:
        return "needs the system packages python3-gi and gir1.2-gst-rtsp-server-1.0"
    return None


@contextmanager
def rtsp_server(clip: Path, *, once: bool = False, credentials: str = "") -> Iterator[str]:
    """Serve an H.264 mp4 over RTSP; skips the test where GStreamer's server is absent.

    Args:
        clip: the file.
        once: end the stream after the clip, instead of starting over.
        credentials: user:password that a client must give; none if empty.

    Yields:
        Its address, without credentials.
    """
    reason = _lacks_rtsp()
    if reason:
        pytest.skip(reason)
    command = [SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py")), str(clip)]
    command += ["--once"] * once + (["--credentials", credentials] if credentials else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdigit(), "the RTSP server did not start"
            yield f"rtsp://127.0.0.1:{port}/clip"
        finally:
            process.kill()


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the terminal."""


@contextmanager
def _serve(handler: type[_Quiet]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def http_files(folder: Path, *, break_after: int | None = None) -> Iterator[str]:
    """Serve the files of a folder with byte ranges, which FFmpeg seeks with.

    Args:
        folder: what is served.
        break_after: close the connection after so many bytes of each file; never if None.

    Yields:
        The address of the folder, without a slash at its end.
    """

    class Handler(_Quiet):
        def do_GET(self) -> None:
            path = folder / unquote(self.path.split("?")[0]).lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            first, last = _byte_range(self.headers.get("Range", ""), len(data))
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Connection", "close")  # else FFmpeg asks again on this connection
            self.end_headers()
            end = last + 1 if break_after is None else min(last + 1, break_after)
            _send(self, data[first:end])

    with _serve(Handler) as address:
        yield address


@contextmanager
def motion_jpeg(
    pictures: Sequence[bytes], *, fps: float = 25.0, loop: bool = True, then_stall: bool = False
) -> Iterator[str]:
    """Serve a camera's stream of JPEG pictures (multipart/x-mixed-replace).

    Args:
        pictures: encoded JPEG.
        fps: pictures per second.
        loop: start over at the end; else the stream ends.
        then_stall: at the end keep the connection open and send nothing.

    Yields:
        The address of the stream.
    """
    stopped = threading.Event()

    class Handler(_Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace;boundary={_BOUNDARY}")
            self.send_header("Connection", "close")
            self.end_headers()
            for picture in _repeat(pictures, loop and not then_stall):
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(picture)}\r\n\r\n"
                if stopped.is_set() or not _send(self, head.encode() + picture + b"\r\n"):
                    break
                time.sleep(1 / fps)
            if then_stall:
                stopped.wait()

    with _serve(Handler) as address:
        try:
            yield f"{address}/stream.mjpg"
        finally:
            stopped.set()


@contextmanager
def mute_server() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _byte_range(header: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if match is None:
        return 0, size - 1
    return int(match[1]), int(match[2] or size - 1)


def _repeat(pictures: Sequence[bytes], loop: bool) -> Iterator[bytes]:
    yield from pictures
    while loop:
        yield from pictures


def _send(handler: _Quiet, data: bytes) -> bool:
    try:
        handler.wfile.write(data)
    except OSError:  # the client has gone
        return False
    return True
