"""An RTSP server that goes so far and no further."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Literal

import av

from benchmarks.rtsp_sender import SDP, RtpSender, answer, read_headers, split_units
from tests.edge.sources.clips import FPS, PROMPT, numbered
from tests.servers import tcp_server

Stage = Literal["nothing", "OPTIONS", "DESCRIBE", "SETUP", "PLAY", "pictures"]

Picture = tuple[float, Sequence[bytes]]
"""When it is shown, in seconds, and its NAL units."""


def coded(
    count: int, size_wh: tuple[int, int] = (96, 64), gop: int = 10, refresh: bool = False
) -> list[Picture]:
    """H.264 whose frame i is flat grey `level(i)`, with noise; none waits for a later one.

    Each `gop`-th frame is a keyframe; with `refresh` the picture is renewed column by column
    instead, without a keyframe but the first.
    """
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = size_wh
    codec.pix_fmt, codec.gop_size = "yuv420p", gop
    codec.framerate, codec.time_base = Fraction(FPS), Fraction(1, FPS)
    codec.options = PROMPT | ({"intra-refresh": "1"} if refresh else {})
    pictures: list[Picture] = []
    for index in range(count):
        packets = codec.encode(numbered(index, size_wh))
        units = [unit for packet in packets for unit in split_units(bytes(packet))]
        pictures.append((1 + index / FPS, units))  # FFmpeg takes 0 for no stamp
    return pictures


def hurt(pictures: Sequence[Picture], *places: int) -> list[Picture]:
    """The same with damage in the middle of some pictures."""
    damaged = list(pictures)
    for place in places:
        time_s, units = pictures[place]
        last = bytearray(units[-1])
        for at in range(len(last) // 3, len(last) // 3 + 40):
            last[at] ^= 0x5A
        damaged[place] = time_s, [*units[:-1], bytes(last)]
    return damaged


@contextmanager
def staged(
    until: Stage,
    pictures: Sequence[Picture] = (),
    *,
    then: Callable[[socket.socket], None] | None = None,
    delay_s: float = 0.0,
    refuse: tuple[str, str] | None = None,
    sdp: str = SDP,
    requested: list[str] | None = None,
) -> Iterator[str]:
    """Serve RTSP over TCP up to a stage, then be silent, or do `then` with the connection.

    With "pictures" they are sent at once after PLAY. `refuse` is a method, and the status line that
    it is answered with; `requested` gets the methods that were asked for. Yields the address.
    """
    stopped = threading.Event()
    last = "PLAY" if until == "pictures" else until
    refused, status = refuse or (None, None)

    def answered(client: socket.socket) -> bool:
        """Whether the client came as far as the last method; otherwise it left."""
        with client.makefile("rb") as requests:
            for line in requests:
                method = line.split(b" ")[0].decode()
                if requested is not None:
                    requested.append(method)
                headers = read_headers(requests)
                time.sleep(delay_s)
                if method == "TEARDOWN":
                    return False
                told = status if method == refused else None
                client.sendall(answer(method, headers, sdp, told).encode())
                if told is None and method == last:
                    return True
        return False

    def talk(client: socket.socket) -> None:
        if until == "nothing" or answered(client):
            send_pictures(client, pictures)
            if then is not None:
                then(client)
                return
        stopped.wait()

    with tcp_server(talk) as port:
        try:
            yield f"rtsp://127.0.0.1:{port}/staged"
        finally:
            stopped.set()


def send_pictures(client: socket.socket, pictures: Sequence[Picture], gap_s: float = 0.0) -> None:
    """Send pictures to a client that plays, so many seconds apart."""
    sender = RtpSender()
    for time_s, units in pictures:
        time.sleep(gap_s)
        sender.send(client, units, time_s)


@contextmanager
def over_udp(pictures: Sequence[Picture], fps: float = FPS) -> Iterator[tuple[str, list[str]]]:
    """Serve RTSP that sends its pictures over UDP alone, again and again.

    Yields the address, and what clients asked to be sent over.
    """
    asked: list[str] = []

    def talk(client: socket.socket) -> None:
        place = None
        with (
            client.makefile("rb") as requests,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            sender.bind(("127.0.0.1", 0))
            for line in requests:
                method, headers = line.split(b" ")[0].decode(), read_headers(requests)
                wanted = headers.get("transport", "")
                asked.extend(re.findall("TCP|UDP", wanted))
                ports = re.search(r"client_port=(\d+)-(\d+)", wanted)
                if method == "SETUP" and ports is not None:
                    place = "127.0.0.1", int(ports[1])
                    own = sender.getsockname()[1]
                    reply = (
                        f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1;timeout=60\r\n"
                        f"Transport: {wanted};server_port={own}-{own + 1}\r\n\r\n"
                    )
                else:
                    refused = "461 Unsupported Transport" if method == "SETUP" else None
                    reply = answer(method, headers, SDP, refused)
                client.sendall(reply.encode())
                if method == "PLAY" and place is not None:
                    for packet in _packets(pictures, fps, stopped):
                        sender.sendto(packet, place)

    stopped = threading.Event()
    with tcp_server(talk) as port:
        try:
            yield f"rtsp://127.0.0.1:{port}/udp", asked
        finally:
            stopped.set()


def _packets(pictures: Sequence[Picture], fps: float, stopped: threading.Event) -> Iterator[bytes]:
    rtp = RtpSender()
    for number in itertools.count():
        if stopped.wait(1 / fps):
            return
        yield from rtp.packets(pictures[number % len(pictures)][1], 1 + number / fps)
