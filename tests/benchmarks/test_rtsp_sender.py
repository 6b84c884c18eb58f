from __future__ import annotations

import itertools
import struct

from benchmarks.rtsp_sender import RtpSender, answer, fragments, split_units


def test_a_byte_stream_is_split_at_both_kinds_of_start_code() -> None:
    stream = b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\1\x65\0\0\3d"
    assert split_units(stream) == [b"\x67ab", b"\x68c", b"\x65\0\0\3d"]


def test_a_short_unit_goes_whole() -> None:
    assert list(fragments(b"\x65" + b"x" * 9, longest=10)) == [b"\x65" + b"x" * 9]


def test_a_long_unit_goes_in_fragments_that_give_it_back() -> None:
    unit = bytes([0x65, *range(20)])
    parts = list(fragments(unit, longest=10))
    assert all(len(part) <= 10 for part in parts)
    assert {part[0] for part in parts} == {0x60 | 28}
    assert [part[1] for part in parts] == [0x80 | 5, 5, 0x40 | 5]
    assert b"".join(part[2:] for part in parts) == unit[1:]


def test_packets_count_on_and_the_last_is_marked() -> None:
    sender = RtpSender()
    first = list(sender.packets([b"\x67a", b"\x65" + b"x" * 3000], 0.5))
    second = list(sender.packets([b"\x61y"], 1.0))
    headers = [struct.unpack(">BBHII", packet[:12]) for packet in first + second]
    assert [header[1] >> 7 for header in headers] == [0] * (len(first) - 1) + [1, 1]
    assert {header[1] & 0x7F for header in headers} == {96}
    steps = {(b[2] - a[2]) % 65536 for a, b in itertools.pairwise(headers)}
    assert steps == {1}
    assert headers[0][3] == 45_000
    assert headers[-1][3] == 90_000


def test_only_tcp_is_offered() -> None:
    asked = {"cseq": "3", "transport": "RTP/AVP;unicast"}
    assert answer("SETUP", asked).startswith("RTSP/1.0 461")
