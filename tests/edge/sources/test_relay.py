from __future__ import annotations

import contextlib
import random
import socket
import threading
from urllib.parse import urlsplit

import pytest

from edge.sources.relay import messages, relayed

REPLY = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 10\r\n\r\n$\0 v=0 \r\n$"
SHORT = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n"


def packet(payload: bytes, channel: int = 0) -> bytes:
    body = b"\x80\x60" + bytes(10) + payload
    return b"$" + bytes([channel]) + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_lies_between_the_messages_is_told_apart_from_them(step: int) -> None:
    noise = bytes(random.Random(5).randrange(256) for _ in range(40)).replace(b"$", b"%")
    sent = [
        (b"", REPLY),
        (b"debug: queue 3\r\n", packet(b"$" * 50)),
        (bytes(4), packet(b"RTSP/1.0 ")),
        (noise, packet(b"", channel=1)),
        (b"$$$", packet(bytes(3000))),
        (b"", SHORT),
    ]
    data = b"".join(junk + message for junk, message in sent) + b"tail"
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> None:
            for start in range(0, len(data), step):
                theirs.sendall(data[start : start + step])
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert [(junk, message) for message, junk in messages(ours)] == sent
        sender.join()


def test_the_end_of_the_camera_is_that_of_the_stream_and_an_absent_one_proves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as camera:
        port, clean = camera.getsockname()[1], threading.Event()
        with client_of(relayed(f"rtsp://127.0.0.1:{port}/a", "door", 60, clean.set)) as client:
            camera.accept()[0].close()
            assert client.recv(1) == b"" and clean.wait(60)
    clean.clear()
    client = client_of(relayed(f"rtsp://127.0.0.1:{port}/a", "door", 60, clean.set))
    with client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    assert not clean.is_set()


def client_of(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), 60)
