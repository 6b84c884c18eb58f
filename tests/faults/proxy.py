"""A bad line to a good RTSP server: it damages packets, and falls silent."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from typing_extensions import Self

_RTP_HEADER_BYTES = 12


@dataclass(slots=True)
class Line:
    """How bad the line is; may be changed at any time, and counts what passes.

    Attributes:
        corrupt: share of RTP packets in which some bytes of the payload are changed.
        replies: RTSP replies that each connection gets before silence; None for all.
        packets: RTP packets that passed.
        hits: those of them that were damaged.
    """

    corrupt: float = 0.0
    replies: int | None = None
    packets: int = 0
    hits: int = 0


@dataclass(eq=False)
class Proxy:
    """Passes connections on to an RTSP server whose video goes over the same connection.

    The frames around the packets (RFC 2326, section 10.12) stay intact, so that only the picture is
    damaged. A context manager.

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
        self._sockets: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._server, *self._sockets)  # wakes the threads
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:  # closed
                return
            self.accepted += 1
            self._sockets |= {client, server}
            for flow in (self._up, self._down):
                threading.Thread(target=flow, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _shut(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError, ValueError), server.makefile("rb") as stream:
            for piece in self._pieces(stream):
                client.sendall(piece)
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


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
