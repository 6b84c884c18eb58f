"""A live H.264 stream over RTSP whose pictures carry the time at which they were drawn.

    python -m benchmarks.end_to_end.sender --size 1280x720 [--fps 30]

Prints its address, serves one client and ends with it. RTSP as in RFC 2326, RTP as in RFC 3550,
H.264 packets as in RFC 6184, all over the one TCP connection that the client opens. A process of
its own, so that drawing and encoding do not hold up the interpreter that is measured.
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from benchmarks.end_to_end.clips import FPS, Scene, Size
from benchmarks.end_to_end.rtsp import answer, read_headers
from benchmarks.end_to_end.stamp import draw_stamp
from benchmarks.end_to_end.stream import now_us

PACKET_BYTES = 1400
"""Longest RTP payload, as on an Ethernet."""

_RTP_CLOCK_HZ = 90_000
_PAYLOAD_TYPE = 96
_FU_A = 28
_KEYFRAME_S = 1.0
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=clock\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:track0\r\n"
)


class Encoder:
    """H.264 without delay: every picture leaves as it comes, as from a camera.

    Args:
        size: of the pictures.
        fps: guides the rate control.
    """

    def __init__(self, size: Size, fps: float) -> None:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height = size.width, size.height
        codec.pix_fmt = "yuv420p"
        codec.framerate = Fraction(fps).limit_denominator(1001)
        codec.gop_size = round(_KEYFRAME_S * fps)
        codec.thread_count = 1
        codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
        self._codec = codec
        self._scene = Scene(size)

    def units(self, index: int) -> list[bytes]:
        """Draw picture `index` with the present time in it; its NAL units."""
        drawn_us = now_us()
        picture = self._scene.picture(index)
        draw_stamp(picture, drawn_us)
        packets = self._codec.encode(av.VideoFrame.from_ndarray(picture, format="bgr24"))
        return [unit for packet in packets for unit in split_units(bytes(packet))]


def split_units(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream (H.264, Annex B), without their start codes."""
    parts = (part.rstrip(b"\0") for part in stream.split(b"\0\0\1"))
    return [part for part in parts if part]


class Packetizer:
    """Puts NAL units into RTP packets, whole or in fragments (FU-A)."""

    def __init__(self) -> None:
        self._sequence = random.getrandbits(16)
        self._stream_id = random.getrandbits(32)

    def packets(self, units: Sequence[bytes], time_s: float) -> Iterator[bytes]:
        """The packets of one picture; the last carries the marker."""
        payloads = [payload for unit in units for payload in fragments(unit)]
        stamp = round(time_s * _RTP_CLOCK_HZ) & 0xFFFFFFFF
        for place, payload in enumerate(payloads, start=1):
            kind = _PAYLOAD_TYPE | (place == len(payloads)) << 7
            yield (
                struct.pack(">BBHII", 0x80, kind, self._sequence, stamp, self._stream_id) + payload
            )
            self._sequence = self._sequence + 1 & 0xFFFF


def fragments(unit: bytes, longest: int = PACKET_BYTES) -> Iterator[bytes]:
    """The RTP payloads of one NAL unit; RFC 6184, sections 5.6 and 5.8."""
    if len(unit) <= longest:
        yield unit
        return
    indicator, kind = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F
    step = longest - 2
    for start in range(1, len(unit), step):
        first, last = start == 1, start + step >= len(unit)
        header = first << 7 | last << 6 | kind
        yield bytes((indicator, header)) + unit[start : start + step]


def serve(client: socket.socket, address: str) -> bool:
    """Answer a client until it asks to play.

    Returns:
        Whether it did; otherwise it left.
    """
    with client.makefile("rb") as requests:
        while line := requests.readline():
            method = line.split(b" ", 1)[0].decode()
            headers = dict(read_headers(requests))
            client.sendall(answer(method, headers, address, _SDP).encode())
            if method == "PLAY":
                return True
    return False


def play(client: socket.socket, encoder: Encoder, fps: float) -> None:
    """Send pictures at their rate until the client leaves."""
    packetizer = Packetizer()
    start = time.monotonic()
    index = 0
    try:
        while True:
            time.sleep(max(0.0, start + index / fps - time.monotonic()))
            for packet in packetizer.packets(encoder.units(index), index / fps):
                client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            index += 1
    except OSError:
        return


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", required=True, metavar="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=float, default=FPS)
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split("x"))
    encoder = Encoder(Size(args.size, height, width), args.fps)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/clock"
        print(address, flush=True)
        client, _ = server.accept()
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if serve(client, address):
            play(client, encoder, args.fps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
