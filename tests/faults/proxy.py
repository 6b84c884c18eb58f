"""A bad line to a good RTSP server: it damages, delays, throttles, holds back and cuts."""

from __future__ import annotations

import queue
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from typing_extensions import Self

_RTP_HEADER_BYTES = 12
_QUEUED = 512
"""Pieces that wait at most; then the server is no longer read, as on a full line."""


@dataclass(slots=True)
class Line:
    """How bad the line is; may be changed at any time, and counts what passes.

    Attributes:
        corrupt: share of RTP packets in which some bytes of the payload are changed.
        delay_s: what each piece comes late.
        bytes_per_s: what passes at most; None for all.
        replies: RTSP replies that each connection gets before silence; None for all.
        packets: RTP packets that came by.
        hits: those of them that were damaged.
    """

    corrupt: float = 0.0
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    replies: int | None = None
    packets: int = 0
    hits: int = 0


@dataclass(eq=False)
class Proxy:
    """Passes connections on to an RTSP server whose video goes over the same connection.

    The frames around the packets (RFC 2326, section 10.12) stay whole, so that what is damaged is
    the picture and nothing else. A context manager.

    Args:
        upstream: port of the server.
        seed: of what is damaged.
        line: how bad it is.

    Attributes:
        port: where it listens.
        accepted: connections so far.
    """

    upstream: int
    seed: int = 0
    line: Line = field(default_factory=Line)

    def __post_init__(self) -> None:
        self.accepted = 0
        self._random = random.Random(self.seed)
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Self:
        _start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self.resume()

    def stall(self) -> None:
        """Let nothing through to the client; connections stay, and new ones are accepted."""
        self._flows.clear()

    def resume(self) -> None:
        """Let everything through again, also what was held back."""
        self._flows.set()

    def cut(self) -> None:
        """Reset every connection there is."""
        while self._sockets:
            with suppress(KeyError):
                _reset(self._sockets.pop())

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:
                _reset(client)
                continue
            self._sockets |= {client, server}
            held: queue.Queue[tuple[float, bytes] | None] = queue.Queue(_QUEUED)
            _start(self._up, client, server)
            _start(self._read, server, held)
            _start(self._down, client, server, held)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _shut(client, server)

    def _read(self, server: socket.socket, held: queue.Queue[tuple[float, bytes] | None]) -> None:
        with suppress(OSError, ValueError), server.makefile("rb") as stream:
            for piece in self._pieces(stream):
                held.put((time.monotonic() + self.line.delay_s, piece))
        held.put(None)

    def _down(
        self,
        client: socket.socket,
        server: socket.socket,
        held: queue.Queue[tuple[float, bytes] | None],
    ) -> None:
        sends = True
        while (item := held.get()) is not None:
            due_s, piece = item
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._flows.wait()
            if self.line.bytes_per_s:
                time.sleep(len(piece) / self.line.bytes_per_s)
            try:
                if sends:
                    client.sendall(piece)
            except OSError:  # what the reader still puts is taken, or it would wait for ever
                sends = False
                _shut(client, server)
        _shut(client, server)
        for end in (client, server):
            self._sockets.discard(end)
            end.close()

    def _pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        """What the server says, one packet or reply at a time, as the line makes it."""
        replies = 0
        while first := stream.read(1):
            if first == b"$":
                head = stream.read(3)
                channel, length = struct.unpack(">BH", head)
                packet = stream.read(length)
                if channel % 2 == 0:
                    packet = self._damaged(packet)
                yield first + head + packet
                continue
            reply = _reply(first, stream)
            replies += 1
            if self.line.replies is None or replies <= self.line.replies:
                yield reply

    def _damaged(self, packet: bytes) -> bytes:
        self.line.packets += 1
        if len(packet) <= _RTP_HEADER_BYTES or self._random.random() >= self.line.corrupt:
            return packet
        self.line.hits += 1
        damaged = bytearray(packet)
        for _ in range(1 + len(packet) // 200):
            place = self._random.randrange(_RTP_HEADER_BYTES, len(packet))
            damaged[place] ^= self._random.randrange(1, 256)
        return bytes(damaged)


def _reply(first: bytes, stream: BinaryIO) -> bytes:
    reply = first
    while line := stream.readline():
        reply += line
        if line == b"\r\n":
            break
    length = re.search(rb"(?im)^content-length: *(\d+)", reply)
    return reply + stream.read(int(length[1]) if length else 0)


def _start(target: object, *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()  # type: ignore[arg-type]


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _shut(end)
    end.close()
