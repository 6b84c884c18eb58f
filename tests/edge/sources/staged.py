"""An RTSP server that goes so far and no further."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Literal

import av

from benchmarks.rtsp_sender import SDP, RtpSender, converse, split_units
from tests.edge.sources.clips import FPS, numbered_image

Stage = Literal["nothing", "OPTIONS", "DESCRIBE", "SETUP", "PLAY", "pictures"]

Picture = tuple[float, Sequence[bytes]]
"""When it is shown, in seconds, and its NAL units."""


def coded(
    count: int, size_wh: tuple[int, int] = (96, 64), gop: int = 10, refresh: bool = False
) -> list[Picture]:
    """H.264 whose frame i is flat grey `level(i)`, with noise; none waits for a later one.

    Args:
        count: how many.
        size_wh: width and height.
        gop: each so many-th frame is a keyframe.
        refresh: renew the picture column by column instead, without a keyframe but the first.
    """
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = size_wh
    codec.pix_fmt, codec.gop_size = "yuv420p", gop
    codec.framerate, codec.time_base = Fraction(FPS), Fraction(1, FPS)
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "10"}
    codec.options |= {"intra-refresh": "1"} if refresh else {}
    pictures: list[Picture] = []
    for index in range(count):
        frame = numbered(index, size_wh)
        units = [unit for packet in codec.encode(frame) for unit in split_units(bytes(packet))]
        pictures.append((1 + index / FPS, units))  # FFmpeg takes 0 for no stamp
    return pictures


def numbered(index: int, size_wh: tuple[int, int] = (96, 64)) -> av.VideoFrame:
    """Frame i of a clip, flat grey with noise."""
    frame = av.VideoFrame.from_ndarray(numbered_image(index, size_wh), format="bgr24")
    frame.pts, frame.time_base = index, Fraction(1, FPS)
    return frame


@contextmanager
def staged(
    until: Stage,
    pictures: Sequence[Picture] = (),
    *,
    then: Callable[[socket.socket], None] | None = None,
    delay_s: float = 0.0,
    refuse: tuple[str, str] | None = None,
    sdp: str = SDP,
    heard: list[str] | None = None,
) -> Iterator[str]:
    """Serve RTSP over TCP up to a stage, then keep the connections open and be silent.

    Args:
        until: the last request that is answered; with "pictures" they are sent after PLAY.
        pictures: sent at once.
        then: what to do with the connection instead of being silent.
        delay_s: before each answer.
        refuse: a method, and the status line that it is answered with.
        sdp: what the streams are said to be.
        heard: gets the methods that were asked for.

    Yields:
        The address.
    """
    stopped = threading.Event()
    talking: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                talking.append(threading.Thread(target=talk, args=(client,), daemon=True))
                talking[-1].start()

        def talk(client: socket.socket) -> None:
            with client:
                try:
                    if until == "nothing" or converse(
                        client,
                        until="PLAY" if until == "pictures" else until,
                        sdp=sdp,
                        delay_s=delay_s,
                        refuse=refuse,
                        requested=heard,
                    ):
                        send_pictures(client, pictures if until == "pictures" else ())
                        if then is not None:
                            then(client)
                            return
                    stopped.wait()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/staged"
        finally:
            stopped.set()
            server.shutdown(socket.SHUT_RDWR)
            for each in (thread, *talking):
                each.join(5)


def send_pictures(client: socket.socket, pictures: Sequence[Picture], gap_s: float = 0.0) -> None:
    """Send pictures to a client that plays, so many seconds apart."""
    sender = RtpSender()
    for time_s, units in pictures:
        time.sleep(gap_s)
        sender.send(client, units, time_s)
