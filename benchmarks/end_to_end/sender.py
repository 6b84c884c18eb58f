"""A live H.264 stream over RTSP whose pictures carry the time at which they were drawn.

    python -m benchmarks.end_to_end.sender --size 1280x720 [--fps 30]

Prints its address, serves one client and ends with it. A process of its own, so that drawing and
encoding do not hold up the interpreter that is measured.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Sequence
from fractions import Fraction

import av

from benchmarks.end_to_end.clips import FPS, Scene, Size
from benchmarks.end_to_end.stamp import draw_stamp
from benchmarks.end_to_end.stream import now_us
from benchmarks.rtsp_sender import RtpSender, converse, split_units

_KEYFRAME_S = 1.0


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


def play(client: socket.socket, encoder: Encoder, fps: float) -> None:
    """Send pictures at their rate until the client leaves."""
    sender = RtpSender()
    start = time.monotonic()
    index = 0
    try:
        while True:
            time.sleep(max(0.0, start + index / fps - time.monotonic()))
            sender.send(client, encoder.units(index), index / fps)
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
        if converse(client):
            play(client, encoder, args.fps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
