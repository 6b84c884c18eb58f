"""What is watched: moving texture with the grain of a sensor, as a clip or as a film of cameras.

Pictures of a film carry their number as black and white blocks that survive H.264: 48 blocks of
16×16 pixels, each one macroblock, in two rows at the top left: 40 bits of a number and 8 bits that
tell a misread one. A film is encoded once and cut into RTP payloads: a camera then only puts
headers before bytes that are there, so that eight of them leave the processor to what is measured.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from benchmarks.camera import Picture, write_film
from benchmarks.rtsp_sender import fragments, split_units
from edge.sinks.recording import RecordingSink
from edge.types import Frame, Image, Result, Verdict
from edge.types import Picture as DrawnPicture
from export.compare import textured

FPS = 30.0
STEP_PX = 2
"""How far the picture moves to the left from frame to frame."""

GRAIN = 4.0
"""Standard deviation of what differs from frame to frame, in levels of 0..255."""

_SLACK_PX = 64
_TURN = 256
"""Frames after which the movement starts over; bounds the memory of a long stream."""

PICTURES = 240
"""Pictures of a film; then it starts over, so that an age is known up to its length."""

KEY_EVERY = 15
"""Pictures from one keyframe to the next: a client waits for one."""

BLOCK_PX = 16
ROWS, COLUMNS = 2, 24
NUMBER_BITS, CHECK_BITS = 40, 8
HEIGHT_PX, WIDTH_PX = ROWS * BLOCK_PX, COLUMNS * BLOCK_PX
_BLACK, _WHITE = 16, 235
_MARGIN_PX = 4


@dataclass(frozen=True, slots=True)
class Size:
    """A clip's name in rows and its size in pixels."""

    name: str
    height: int
    width: int


HD = Size("720p", 720, 1280)
FULL_HD = Size("1080p", 1080, 1920)


class Scene:
    """Pictures of moving texture, the same ones for the same seed.

    Texture that only moves would be coded almost for nothing, and decoded as fast; so fresh grain
    lies on each picture, as on those of a camera.
    """

    def __init__(self, size: Size, seed: int = 0, step_px: int = STEP_PX) -> None:
        self._size, self._step_px = size, step_px
        self._random = np.random.default_rng(seed)
        self._wide: Image = textured((1, size.height, size.width + STEP_PX * _TURN))[0]
        shape = (size.height + _SLACK_PX, size.width + _SLACK_PX, 1)
        self._grain = self._random.normal(0, GRAIN, shape).round().astype(np.int16)

    def picture(self, index: int) -> Image:
        """Picture `index` of the movement; uint8 [H, W, 3] BGR, contiguous."""
        height, width = self._size.height, self._size.width
        left = self._step_px * (index % _TURN)
        # One field of grain at a random place, because drawing a new one takes as long as a model.
        y, x = self._random.integers(0, _SLACK_PX, 2)
        grain = self._grain[y : y + height, x : x + width]
        return (self._wide[:, left : left + width] + grain).clip(0, 255).astype(np.uint8)


def write_clip(path: Path, size: Size, frames: int, seed: int = 0, step_px: int = STEP_PX) -> Path:
    """Write a clip of texture that moves so far from frame to frame at 30 fps, through the
    program's own video sink.
    Raises SinkError: it cannot be written.
    """
    scene, verdict = Scene(size, seed, step_px), Verdict("uncertain")
    with RecordingSink(path, FPS) as video:
        for index in range(frames):
            at_s = index / FPS
            frame = Frame(scene.picture(index), index, at_s, "scene", pts=at_s)
            video.write(Result(frame, None, verdict), DrawnPicture.of(frame.image))
    return path


def make_film(path: Path, size: Size, fps: float, pictures: int = PICTURES) -> Path:
    """Draw, number and encode a film; the same one each time.

    Raises ValueError: the size is below 384×32, or the pictures are no multiple of `KEY_EVERY`.
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


def draw_stamp(image: Image, number: int) -> None:
    """Draw a number into the top left corner.

    The picture, uint8 [H, W, 3] BGR, is changed; the number is kept modulo 2⁴⁰.
    Raises ValueError: the picture is smaller than 32×384.
    """
    if image.shape[0] < HEIGHT_PX or image.shape[1] < WIDTH_PX:
        raise ValueError(f"a stamp needs {WIDTH_PX}×{HEIGHT_PX} pixels, found {image.shape[:2]}")
    value = number % (1 << NUMBER_BITS)
    word = value << CHECK_BITS | _check(value)
    bits = [word >> (NUMBER_BITS + CHECK_BITS - 1 - place) & 1 for place in range(ROWS * COLUMNS)]
    levels = np.where(np.reshape(bits, (ROWS, COLUMNS)), _WHITE, _BLACK).astype(np.uint8)
    blocks = levels.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)
    image[:HEIGHT_PX, :WIDTH_PX] = blocks[:, :, None]


def read_stamp(image: Image) -> int | None:
    """The number that was drawn; None where none can be read."""
    if image.shape[0] < HEIGHT_PX or image.shape[1] < WIDTH_PX:
        return None
    word = 0
    for bit in _blocks(image).mean((1, 3, 4)).ravel() > (_BLACK + _WHITE) / 2:
        word = word << 1 | int(bit)
    value, check = word >> CHECK_BITS, word & (1 << CHECK_BITS) - 1
    return value if check == _check(value) else None


def _blocks(image: Image) -> npt.NDArray[np.uint8]:
    """The inner pixels of each block, [rows, px, columns, px, 3]; edges are blurred by coding."""
    corner = image[:HEIGHT_PX, :WIDTH_PX]
    split = corner.reshape(ROWS, BLOCK_PX, COLUMNS, BLOCK_PX, 3)
    inner = slice(_MARGIN_PX, BLOCK_PX - _MARGIN_PX)
    return split[:, inner, :, inner]


def _check(value: int) -> int:
    # Not of the bare value: a black picture, all zeros, must not be a valid number.
    return zlib.crc32(b"stamp" + value.to_bytes(NUMBER_BITS // 8, "big")) & (1 << CHECK_BITS) - 1
