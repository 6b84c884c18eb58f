"""The bad line of these tests does what it says, as PyAV and bare sockets see it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import pytest

from tests.faults.proxy import Line, Proxy
from tests.servers import KillableRtsp

OPTIONS = b"OPTIONS rtsp://127.0.0.1/clip RTSP/1.0\r\nCSeq: 1\r\n\r\n"
QUICK = {"rtsp_transport": "tcp", "fflags": "nobuffer", "analyzeduration": "100000"}


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[KillableRtsp]:
    with KillableRtsp(clip) as server:
        yield server


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_corrupting_line_keeps_the_framing(server: KillableRtsp, share: float) -> None:
    whole = 0
    with Proxy(server.port, seed=1, line=Line(corrupt=share)) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/clip"
        with av.open(url, options=QUICK, timeout=(5, 5)) as container:
            for packet in islice(container.demux(container.streams.video[0]), 60):
                try:
                    whole += len(packet.decode())
                except av.error.InvalidDataError:
                    continue
        line = proxy.line
    assert share / 2 <= line.hits / line.packets <= share * 1.5
    assert 0 < whole < 60 or not share
    assert proxy.accepted == 1


def test_a_line_that_answers_once_and_is_silent_then(server: KillableRtsp) -> None:
    describe = OPTIONS.replace(b"OPTIONS", b"DESCRIBE").replace(b"CSeq: 1", b"CSeq: 2")
    with (
        Proxy(server.port, line=Line(replies=1)) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection,
    ):
        connection.sendall(OPTIONS)
        assert connection.recv(4096).startswith(b"RTSP/1.0 200")
        connection.settimeout(0.3)
        connection.sendall(describe)
        with pytest.raises(TimeoutError):
            connection.recv(4096)
