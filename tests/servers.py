"""Real servers for tests: RTSP, HTTP files, HTTP motion JPEG, and one that never answers.

Damage on the way is in `tests/faults/proxy.py`.
"""

from __future__ import annotations

import base64
import functools
import http.server
import random
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typing_extensions import Self

SYSTEM_PYTHON = "/usr/bin/python3"
_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0')"
_BOUNDARY = "frame"
_STREAM = "/stream.mjpg"


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


class KillableRtsp:
    """GStreamer's RTSP server in a process of its own, on one port from start to start.

    Skips the test where that server is absent. A context manager that starts it, and kills it.

    Args:
        clips: H.264 mp4 files, which are shown one after the other, over and over. Different sizes
            make a stream that changes its size.
        once: end the stream after the clips, instead of starting over.
        credentials: user:password that a client must give; may be changed before the next start.
        path: of the stream on the server; likewise.
    """

    def __init__(
        self, *clips: Path, once: bool = False, credentials: str = "", path: str = "/clip"
    ) -> None:
        reason = _lacks_rtsp()
        if reason:
            pytest.skip(reason)
        self.port = steady_port()
        self.credentials = credentials
        self.path = path
        self._clips = clips
        self._once = once
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """Of the stream, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        assert self._process is None, "the RTSP server runs already"
        command = [SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py"))]
        command += [str(clip) for clip in self._clips] + ["--once"] * self._once
        command += ["--port", str(self.port), "--path", self.path]
        command += ["--credentials", self.credentials] if self.credentials else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._process = process
        assert process.stdout is not None
        told = process.stdout.readline().strip()
        assert told == str(self.port), "the RTSP server did not start"

    def kill(self) -> None:
        """End it as `kill -9` does: its connections are reset, and its port is refused."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    def freeze(self) -> None:
        """Stop it where it stands: it holds its connections, and its port accepts new ones."""
        assert self._process is not None, "the RTSP server does not run"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None, "the RTSP server does not run"
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def rtsp_server(clip: Path, *, once: bool = False, credentials: str = "") -> Iterator[str]:
    """A `KillableRtsp` of one clip; yields its address."""
    with KillableRtsp(clip, once=once, credentials=credentials) as server:
        yield server.address


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the terminal."""


@contextmanager
def _serve(handler: type[_Quiet], port: int = 0) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
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

    With `break_after` the connection is closed after so many bytes of each file. Yields the address
    of the folder, without a slash at its end.
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
    pictures: Sequence[bytes],
    *,
    fps: float = 25.0,
    loop: bool = True,
    credentials: str = "",
    port: int = 0,
) -> Iterator[str]:
    """Serve a camera's stream of JPEG pictures (multipart/x-mixed-replace).

    Yields the address, without the credentials (user:password) that a client must give; every other
    path of the server is a 404.
    """
    stopped = threading.Event()
    wanted = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else ""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            known = not wanted or self.headers.get("Authorization") == wanted
            if self.path != _STREAM or not known:
                self.send_response(401 if self.path == _STREAM else 404)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace;boundary={_BOUNDARY}")
            self.send_header("Connection", "close")
            self.end_headers()
            for picture in cycle(pictures) if loop else pictures:
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(picture)}\r\n\r\n"
                if stopped.is_set() or not _send(self, head.encode() + picture + b"\r\n"):
                    break
                stopped.wait(1 / fps)

    with _serve(Handler, port) as address:
        try:
            yield address + _STREAM
        finally:
            stopped.set()


@contextmanager
def tcp_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give each connection to `talk`, on a thread of its own; yields the port."""
    threads: list[threading.Thread] = []

    def talk_and_close(client: socket.socket) -> None:
        with client, suppress(OSError):
            talk(client)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):  # shut down
            while True:
                client, _ = server.accept()
                threads.append(threading.Thread(target=talk_and_close, args=(client,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        threads.append(threading.Thread(target=serve, args=(server,), daemon=True))
        threads[0].start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


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


def steady_port() -> int:
    """A port that stays free between two starts of a server, and that nobody listens on.

    It is not one of those that outgoing connections get: no other program takes it meanwhile, and a
    client that tries again and again never meets itself on it.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(low // 2, low), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def _byte_range(header: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if match is None:
        return 0, size - 1
    return int(match[1]), int(match[2] or size - 1)


def _send(handler: _Quiet, data: bytes) -> bool:
    try:
        handler.wfile.write(data)
    except OSError:  # the client has gone
        return False
    return True


class Gate:
    """A web server that holds back one file until it is opened; a context manager.

    Attributes:
        address: without a slash at its end; every path gives the file.
        asked: how often it was asked for the file.
    """

    def __init__(self, data: bytes) -> None:
        gate, self._open, self.asked = self, threading.Event(), 0

        class Handler(_Quiet):
            def do_HEAD(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()

            def do_GET(self) -> None:
                gate.asked += 1
                gate._open.wait()
                self.do_HEAD()
                _send(self, data)

        self._served = _serve(Handler)

    def __enter__(self) -> Self:
        self.address = self._served.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._served.__exit__(None, None, None)

    def open(self) -> None:
        """Give the file to all who wait, and to all who come."""
        self._open.set()
