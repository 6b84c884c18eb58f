"""Between FFmpeg and a camera that sends junk among its packets of RTSP over TCP.

FFmpeg looks for a packet at the start of a line only (RFC 2326, 10.12), so that one byte of junk
hides all that follows, up to a line's end by chance.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit, urlunsplit

log = logging.getLogger(__name__)

_PORT = 554
_CHUNK_BYTES = 1 << 16
# A packet of RTP or RTCP (version 2) in its frame, or a reply.
_START = re.compile(rb"\$[\x00-\x1f].{2}[\x80-\xbf]|RTSP/\d\.\d ", re.DOTALL)
_LONGEST_START = 9
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_SHOWN_BYTES = 16


def relayed(url: str, name: str, limit_s: float, is_clean: Callable[[], object]) -> str:
    """The address of this machine at which a camera's stream comes without junk, once.

    The relay ends with the connection of either side.

    Args:
        url: rtsp, with user and password where the camera wants them.
        name: fit to be shown.
        limit_s: to be connected to, and to connect.
        is_clean: called where there was no junk, when it ends by either side.
    """
    parts = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(limit_s)

    def relay() -> None:
        junk = 0
        with suppress(OSError), closing(listener):
            client, _ = listener.accept()
            with client, _connected(parts.hostname or "", parts.port or _PORT, limit_s) as camera:
                listener.close()
                threading.Thread(target=_copy, args=(client, camera), daemon=True).start()
                try:
                    for message, dropped in messages(camera):
                        if dropped and not junk:
                            log.warning(
                                "%s: junk between its packets, such as %r, is passed over",
                                name,
                                dropped[:_SHOWN_BYTES],
                            )
                        junk += len(dropped)
                        client.sendall(message)
                finally:  # whichever side went
                    if not junk:
                        is_clean()
                    # Closed alone it would stay open for the thread that reads from it.
                    with suppress(OSError):
                        client.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=relay, name="patchwatch-relay", daemon=True).start()
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{listener.getsockname()[1]}"))


def messages(camera: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Each reply and packet that a camera sends, and the junk before it."""
    buffer, junk = bytearray(), b""
    while data := camera.recv(_CHUNK_BYTES):
        buffer += data
        while True:
            start = _START.search(buffer)
            place = start.start() if start else max(0, len(buffer) - _LONGEST_START)
            junk += buffer[:place]
            del buffer[:place]
            size = _size(buffer) if start else None
            if size is None or size > len(buffer):
                break
            yield bytes(buffer[:size]), junk
            junk = b""
            del buffer[:size]


def _size(buffer: bytearray) -> int | None:
    """Bytes of the message that a buffer starts with; None where its head is not there yet."""
    if buffer[0] == ord("$"):
        return 4 + int.from_bytes(buffer[2:4], "big")
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(buffer, 0, end)
    return end + 4 + (int(length[1]) if length else 0)


def _connected(host: str, port: int, limit_s: float) -> socket.socket:
    camera = socket.create_connection((host, port), limit_s)
    camera.settimeout(None)
    return camera


def _copy(client: socket.socket, camera: socket.socket) -> None:
    """Pass on what the client sends; when it goes, the camera's connection ends."""
    with suppress(OSError):
        while data := client.recv(_CHUNK_BYTES):
            camera.sendall(data)
    for end in (camera, client):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
