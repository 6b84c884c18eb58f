"""A camera that runs for as long as it is left: a film over RTSP, to whoever asks.

    python -m benchmarks.camera FILM --port 8554 --zero 12345.678 [--fps 30] [--offset 0]

Prints its address when it listens. Picture number n of the day leaves n / fps seconds after
`--zero`, a time of CLOCK_MONOTONIC, which all processes of a machine share: whoever sees the number
of a picture knows when it was due, and a camera that was killed goes on with the same clock. A
client that is slow delays itself alone, and misses what is older than `BEHIND_S`.

RTSP as in RFC 2326, RTP as in RFC 3550, all over the connection that the client opens. A process of
its own that imports nothing but the standard library, so that a soak may have many.
"""

from __future__ import annotations

import argparse
import itertools
import math
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from benchmarks.rtsp_sender import RtpSender, answer, read_headers

BEHIND_S = 2.0
"""A client that is further behind than a camera's buffer is long goes on with the next keyframe."""

_KEY = 1 << 31


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture: whether decoding can begin with it, and the payloads of its packets."""

    key: bool
    payloads: tuple[bytes, ...]


def write_film(path: Path, pictures: Iterable[Picture]) -> Path:
    """Write pictures: of each the number of its payloads (top bit: a keyframe), then these with
    their lengths, all big-endian uint32.
    """
    with path.open("wb") as file:
        for picture in pictures:
            file.write(struct.pack(">I", len(picture.payloads) | _KEY * picture.key))
            for payload in picture.payloads:
                file.write(struct.pack(">I", len(payload)) + payload)
    return path


def read_film(path: Path) -> list[Picture]:
    """The pictures of a file."""
    pictures = []
    with path.open("rb") as file:
        while head := file.read(4):
            word: int = struct.unpack(">I", head)[0]
            sizes = (struct.unpack(">I", file.read(4))[0] for _ in range(word & ~_KEY))
            pictures.append(Picture(bool(word & _KEY), tuple(file.read(size) for size in sizes)))
    return pictures


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which picture of a film, shown over and over, is due when.

    Number 0 is at place `offset` of the film, and due at `zero_s` on the clock of `time.monotonic`.
    """

    film: Sequence[Picture]
    fps: float
    zero_s: float
    offset: int = 0

    def picture(self, number: int) -> Picture:
        """Picture `number` of the day."""
        return self.film[(number + self.offset) % len(self.film)]

    def due_s(self, number: int) -> float:
        """When it leaves, on the clock of `time.monotonic`."""
        return self.zero_s + number / self.fps

    def next_key(self, now_s: float) -> int:
        """The first keyframe that is still to come."""
        first = math.ceil((now_s - self.zero_s) * self.fps)
        return next(n for n in itertools.count(first) if self.picture(n).key)


class Client:
    """One connection: requests are answered on one thread, pictures are sent on another."""

    def __init__(self, connection: socket.socket, schedule: Schedule) -> None:
        self._connection = connection
        self._schedule = schedule
        self._sending = threading.Lock()
        self._left = threading.Event()

    def serve(self) -> None:
        """Answer until the client leaves."""
        with suppress(OSError, ValueError), self._connection.makefile("rb") as stream:
            for method, headers in _requests(stream):
                if method == "TEARDOWN":
                    break
                self._send(answer(method, headers).encode())
                if method == "PLAY":
                    threading.Thread(target=self._play, daemon=True).start()
        self._left.set()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _play(self) -> None:
        sender, fps = RtpSender(), self._schedule.fps
        number = self._schedule.next_key(time.monotonic())
        with suppress(OSError):
            while not self._left.wait(max(0.0, self._late_s(number) * -1)):
                payloads = self._schedule.picture(number).payloads
                with self._sending:
                    sender.send(self._connection, payloads, number / fps)
                number += 1
                if self._late_s(number) > BEHIND_S:
                    number = self._schedule.next_key(time.monotonic())

    def _late_s(self, number: int) -> float:
        return time.monotonic() - self._schedule.due_s(number)

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._connection.sendall(data)


def _requests(stream: BinaryIO) -> Iterator[tuple[str, dict[str, str]]]:
    """The requests of a client; its own packets (reports on how it receives) are passed over."""
    while first := stream.read(1):
        if first == b"$":
            stream.read(struct.unpack(">xH", stream.read(3))[0])
            continue
        method = (first + stream.readline()).split(b" ", 1)[0].decode()
        yield method, read_headers(stream)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("film", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--zero", type=float, required=True, metavar="S")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--offset", type=int, default=0)
    args = parser.parse_args(argv)
    schedule = Schedule(read_film(args.film), args.fps, args.zero, args.offset)
    with socket.create_server(("127.0.0.1", args.port), backlog=16) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/camera"
        print(address, flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Client(connection, schedule)
            threading.Thread(target=client.serve, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
