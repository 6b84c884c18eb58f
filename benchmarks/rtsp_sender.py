"""Sends H.264 over RTSP (RFC 2326, RTP as in RFC 3550 and RFC 6184) on the client's TCP connection.

No server of a camera: just enough for a client that is watched, in benchmarks and in tests.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

PACKET_BYTES = 1400
"""Longest RTP payload, as on an Ethernet."""

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=sender\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:track0\r\n"
)

_RTP_CLOCK_HZ = 90_000
_PAYLOAD_TYPE = 96
_FU_A = 28
_HEADERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",
    "DESCRIBE": "Content-Type: application/sdp",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60",
    "PLAY": "Session: 1",
}


def answer(method: str, headers: dict[str, str], sdp: str = SDP, status: str | None = None) -> str:
    """The answer to a request.

    Args:
        method: such as "DESCRIBE".
        headers: of the request, names in lower case.
        sdp: describes the stream.
        status: a refusal; None to accept. Transport other than TCP is always refused.
    """
    if method == "SETUP" and "TCP" not in headers.get("transport", ""):
        status = "461 Unsupported Transport"
    head = f"RTSP/1.0 {status or '200 OK'}\r\nCSeq: {headers.get('cseq', '0')}\r\n"
    if status is not None:
        return f"{head}\r\n"
    body = sdp if method == "DESCRIBE" else ""
    more = _HEADERS.get(method, "Session: 1")
    return f"{head}{more}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def read_headers(lines: BinaryIO) -> dict[str, str]:
    """The headers of a request, names in lower case, up to the empty line that ends them."""
    headers = {}
    for line in lines:
        name, _, value = line.decode().strip().partition(":")
        if not name:
            break
        headers[name.lower()] = value.strip()
    return headers


class RtpSender:
    """Sends pictures to a client that plays, as RTP packets between the lines of RTSP."""

    def __init__(self) -> None:
        self._sequence = random.getrandbits(16)
        self._stream_id = random.getrandbits(32)

    def send(self, client: socket.socket, units: Sequence[bytes], time_s: float) -> None:
        """Send the NAL units of one picture.
        Raises OSError: the client left.
        """
        for packet in self.packets(units, time_s):
            client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)

    def packets(self, units: Sequence[bytes], time_s: float) -> Iterator[bytes]:
        """The RTP packets of one picture; the last carries the marker."""
        payloads = [payload for unit in units for payload in fragments(unit)]
        stamp = round(time_s * _RTP_CLOCK_HZ) & 0xFFFFFFFF
        for place, payload in enumerate(payloads, start=1):
            kind = _PAYLOAD_TYPE | (place == len(payloads)) << 7
            header = struct.pack(">BBHII", 0x80, kind, self._sequence, stamp, self._stream_id)
            yield header + payload
            self._sequence = self._sequence + 1 & 0xFFFF


def split_units(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream (H.264, Annex B), without their start codes."""
    parts = (part.rstrip(b"\0") for part in stream.split(b"\0\0\1"))
    return [part for part in parts if part]


def fragments(unit: bytes, longest: int = PACKET_BYTES) -> Iterator[bytes]:
    """The RTP payloads of one NAL unit, whole or in fragments (FU-A, RFC 6184 section 5.8)."""
    if len(unit) <= longest:
        yield unit
        return
    indicator, kind = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F
    step = longest - 2
    for start in range(1, len(unit), step):
        first, last = start == 1, start + step >= len(unit)
        header = first << 7 | last << 6 | kind
        yield bytes((indicator, header)) + unit[start : start + step]
