"""A bad line to a good RTSP server: it damages packets."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.servers import tcp_server

_RTP_HEADER_BYTES = 12


@dataclass(slots=True)
class Line:
    """How bad the line is; may be changed at any time, and counts what passes.

    Attributes:
        corrupt: share of RTP packets in which some bytes of the payload are changed.
        port: where it listens.
        accepted: connections so far.
        packets: RTP packets that passed.
        hits: those of them that were damaged.
    """

    corrupt: float = 0.0
    port: int = 0
    accepted: int = 0
    packets: int = 0
    hits: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(3))

    def pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        """What the server says, one packet or reply at a time, as the line makes it.

        The frames around the packets (RFC 2326, section 10.12) stay intact, so that only the
        picture is damaged.
        """
        while first := stream.read(1):
            if first == b"$":
                head = stream.read(3)
                channel, length = struct.unpack(">BH", head)
                packet = stream.read(length)
                yield first + head + (packet if channel % 2 else self._damaged(packet))
                continue
            yield _reply(first, stream)

    def _damaged(self, packet: bytes) -> bytes:
        self.packets += 1
        if len(packet) <= _RTP_HEADER_BYTES or self.draw.random() >= self.corrupt:
            return packet
        self.hits += 1
        damaged = bytearray(packet)
        for _ in range(1 + len(packet) // 200):
            place = self.draw.randrange(_RTP_HEADER_BYTES, len(packet))
            damaged[place] ^= self.draw.randrange(1, 256)
        return bytes(damaged)


@contextmanager
def bad_line(upstream: int) -> Iterator[Line]:
    """Pass connections on to an RTSP server whose video goes over the same connection."""
    line = Line()
    ends: set[socket.socket] = set()

    def pass_up(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _shut(client, server)

    def pass_on(client: socket.socket) -> None:
        line.accepted += 1
        with socket.create_connection(("127.0.0.1", upstream)) as server:
            ends.update((client, server))
            threading.Thread(target=pass_up, args=(client, server), daemon=True).start()
            with suppress(OSError, ValueError), server.makefile("rb") as stream:
                for piece in line.pieces(stream):
                    client.sendall(piece)
            _shut(client, server)

    with tcp_server(pass_on) as line.port:
        try:
            yield line
        finally:
            _shut(*ends)


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
