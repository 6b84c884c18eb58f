"""The servers of these tests do what they say, as PyAV and bare sockets see them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.request import Request, urlopen

import av
import pytest

from tests.faults.clips import FPS, flat_clip, flat_jpeg
from tests.faults.proxy import Line, Proxy
from tests.servers import KillableRtsp, motion_jpeg, mute_server

OPTIONS = b"OPTIONS rtsp://127.0.0.1/clip RTSP/1.0\r\nCSeq: 1\r\n\r\n"
QUICK = {"rtsp_transport": "tcp", "fflags": "nobuffer", "analyzeduration": "100000"}
SIZES = {(640, 480): 60, (1920, 1080): 120, (480, 360): 200}


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[KillableRtsp]:
    with KillableRtsp(clip) as server:
        yield server


def stream(proxy: Proxy) -> str:
    return f"rtsp://127.0.0.1:{proxy.port}/clip"


def decoded(url: str) -> Iterator[tuple[tuple[int, int], float]]:
    """Size and brightness of one frame after the other."""
    with av.open(url, options=QUICK, timeout=(5, 5)) as container:
        for frame in container.decode(video=0):
            yield (frame.width, frame.height), float(frame.to_ndarray(format="gray").mean())


def demuxed(url: str, packets: int) -> list[float]:
    """When each of so many packets came, in seconds."""
    with av.open(url, options=QUICK, timeout=(5, 5)) as container:
        return [time.monotonic() for _ in islice(container.demux(video=0), packets)]


def reply(port: int, request: bytes = OPTIONS, within_s: float = 5.0) -> bytes:
    """The first that a server says; nothing where it is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as connection:
        connection.sendall(request)
        try:
            return connection.recv(4096)
        except TimeoutError:
            return b""


def test_a_killed_server_comes_back_on_its_port(clip: Path) -> None:
    with KillableRtsp(clip) as server:
        port = server.port
        for _ in range(2):
            assert reply(port).startswith(b"RTSP/1.0 200")
            server.kill()
            with pytest.raises(ConnectionRefusedError):
                reply(port)
            server.start()
        assert server.port == port
        size, brightness = next(decoded(server.address))
        assert size == (160, 120) and brightness == pytest.approx(240, abs=4)


def test_a_frozen_server_accepts_and_is_silent(clip: Path) -> None:
    with KillableRtsp(clip) as server:
        server.freeze()
        assert reply(server.port, within_s=0.3) == b""
        server.thaw()
        assert reply(server.port).startswith(b"RTSP/1.0 200")


def test_a_server_that_is_mute() -> None:
    with mute_server() as port:
        assert reply(port, within_s=0.2) == b""


def test_credentials_and_paths_can_change_between_starts(clip: Path) -> None:
    with KillableRtsp(clip, credentials="joe:pw") as server:
        rightly = server.address.replace("//", "//joe:pw@")
        with pytest.raises(av.error.HTTPUnauthorizedError):
            next(decoded(server.address))
        assert next(decoded(rightly))
        with pytest.raises(av.error.HTTPNotFoundError):
            next(decoded(rightly.replace("/clip", "/other")))
        server.kill()
        server.credentials, server.path = "", "/other"
        server.start()
        assert next(decoded(server.address))


def test_an_rtsp_stream_changes_its_size(tmp_path: Path) -> None:
    clips = [
        flat_clip(tmp_path / f"{level}.mp4", level, size, s=0.4) for size, level in SIZES.items()
    ]
    seen: list[tuple[int, int]] = []
    with KillableRtsp(*clips) as server:
        for size, brightness in islice(decoded(server.address), 45):
            assert brightness == pytest.approx(SIZES[size], abs=4)
            seen += [] if size in seen[-1:] else [size]
    around = [*SIZES, *SIZES, *SIZES]
    first = around.index(seen[0])
    assert len(seen) >= 4
    assert seen == around[first : first + len(seen)]


def test_motion_jpeg_changes_its_size() -> None:
    pictures = [flat_jpeg(level, size) for size, level in SIZES.items()]
    with motion_jpeg(pictures, fps=50) as url:
        seen = list(islice(decoded(url), 12))
    assert {size for size, _ in seen} == set(SIZES)
    assert all(brightness == pytest.approx(SIZES[size], abs=4) for size, brightness in seen)


def test_http_credentials_and_paths() -> None:
    with motion_jpeg([flat_jpeg(100)], credentials="joe:p w") as url:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            next(decoded(url))
        with pytest.raises(av.error.HTTPNotFoundError):
            next(decoded(url.replace("stream", "other")))
        assert next(decoded(url.replace("//", "//joe:p%20w@")))


def test_a_slow_camera_sends_one_picture_at_once_and_the_next_much_later() -> None:
    with (
        motion_jpeg([flat_jpeg(100)], fps=0.2) as url,
        urlopen(Request(url), timeout=1.0) as answer,
    ):
        began = time.monotonic()
        while not answer.readline().startswith(b"\xff\xd8"):
            continue
        assert time.monotonic() - began < 1
        answer.readline()
        with pytest.raises(TimeoutError):
            while True:
                answer.readline()


def test_a_clean_line_changes_nothing(server: KillableRtsp) -> None:
    with Proxy(server.port) as proxy:
        frames = list(islice(decoded(stream(proxy)), 30))
        assert {size for size, _ in frames} == {(160, 120)}
        assert proxy.line.packets >= 30 and proxy.line.hits == 0


def test_a_corrupting_line_keeps_the_framing(server: KillableRtsp) -> None:
    with Proxy(server.port, seed=1, line=Line(corrupt=0.3)) as proxy:
        with av.open(stream(proxy), options=QUICK, timeout=(5, 5)) as container:
            video = container.streams.video[0]
            whole = 0
            for packet in islice(container.demux(video), 60):
                try:
                    whole += len(packet.decode())
                except av.error.InvalidDataError:
                    continue
        line = proxy.line
    assert 0.15 < line.hits / line.packets < 0.45
    assert 0 < whole < 60
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
        proxy.line.replies = None
        assert reply(proxy.port, describe).startswith(b"RTSP/1.0 200")


def test_a_line_that_is_late(server: KillableRtsp) -> None:
    with Proxy(server.port, line=Line(delay_s=0.4)) as proxy:
        began = time.monotonic()
        assert reply(proxy.port)
        assert time.monotonic() - began > 0.4


def test_a_line_that_is_narrow(server: KillableRtsp) -> None:
    with Proxy(server.port, line=Line(bytes_per_s=300.0)) as proxy:
        began = time.monotonic()
        said = reply(proxy.port)
        assert time.monotonic() - began > len(said) / 300


def test_a_line_that_stalls_goes_on_with_what_it_held_back(server: KillableRtsp) -> None:
    with Proxy(server.port) as proxy, av.open(stream(proxy), options=QUICK, timeout=5) as container:
        packets = container.demux(video=0)
        next(packets)
        proxy.stall()
        before = proxy.line.packets
        while proxy.line.packets < before + 30:
            time.sleep(0.02)
        began = time.monotonic()
        proxy.resume()
        for _ in islice(packets, 25):
            continue
        assert time.monotonic() - began < 25 / FPS  # sooner than they were sent


def test_a_line_that_is_cut(server: KillableRtsp) -> None:
    with (
        Proxy(server.port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection,
    ):
        connection.sendall(OPTIONS)
        assert connection.recv(4096)
        proxy.cut()
        with suppress(ConnectionResetError):
            assert connection.recv(4096) == b""
        assert reply(proxy.port)
