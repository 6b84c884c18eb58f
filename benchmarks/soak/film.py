"""What the cameras of a soak show: encoded once, cut into RTP payloads, numbered in the picture.

A camera then only puts headers before bytes that are there, so that eight of them leave the
processor to the program that is measured. The file holds no code and no index: for each picture
the number of its payloads (top bit: a keyframe), then each with its length, all big-endian uint32.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from benchmarks.end_to_end.clips import Scene, Size
from benchmarks.end_to_end.stamp import draw_stamp
from benchmarks.rtsp_sender import fragments, split_units
from benchmarks.soak.packed import Picture, write_film

PICTURES = 240
"""Pictures of a film; then it starts over, so that an age is known up to its length."""

KEY_EVERY = 15
"""Pictures from one keyframe to the next: a client waits for one."""


def make_film(path: Path, size: Size, fps: float, pictures: int = PICTURES) -> Path:
    """Draw, number and encode a film; the same one each time.

    Args:
        path: where to.
        size: of the pictures, at least 384 wide and 32 high.
        fps: guides the rate control.
        pictures: how many, a multiple of `KEY_EVERY`.

    Raises:
        ValueError: the size is too small for the number, or the pictures do not come out even.
    """
    if pictures % KEY_EVERY:
        raise ValueError(f"expected a multiple of {KEY_EVERY} pictures, found {pictures}")
    return write_film(path, _encoded(size, fps, pictures))


def _encoded(size: Size, fps: float, pictures: int) -> Iterator[Picture]:
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = size.width, size.height
    codec.pix_fmt = "yuv420p"
    codec.framerate = Fraction(fps).limit_denominator(1001)
    codec.gop_size = KEY_EVERY
    codec.thread_count = 1
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}
    scene = Scene(size)
    for index in range(pictures):
        picture = scene.picture(index)
        draw_stamp(picture, index)
        # One packet for each picture: zerolatency holds none back.
        for packet in codec.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
            units = split_units(bytes(packet))
            payloads = tuple(payload for unit in units for payload in fragments(unit))
            yield Picture(packet.is_keyframe, payloads)
