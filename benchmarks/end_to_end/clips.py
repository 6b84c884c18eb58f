"""Clips that are made on the spot: texture that moves, with the grain of a sensor, as H.264."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.sinks.recording import RecordingSink
from edge.types import Frame, Image, Picture, Result, Verdict
from export.compare import textured

FPS = 30.0
STEP_PX = 2
"""How far the picture moves to the left from frame to frame."""

GRAIN = 4.0
"""Standard deviation of what differs from frame to frame, in levels of 0..255."""

_SLACK_PX = 64
_TURN = 256
"""Frames after which the movement starts over; bounds the memory of a long stream."""


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

    Args:
        size: of the pictures.
        seed: of the grain.
    """

    def __init__(self, size: Size, seed: int = 0) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        wide: Image = textured((1, size.height, size.width + STEP_PX * _TURN))[0]
        self._wide = wide
        self._grain = _grain(size, self._random)

    def picture(self, index: int) -> Image:
        """Picture `index` of the movement; uint8 [H, W, 3] BGR, contiguous."""
        height, width = self._size.height, self._size.width
        left = STEP_PX * (index % _TURN)
        # One field of grain at a random place, because drawing a new one takes as long as a model.
        y, x = self._random.integers(0, _SLACK_PX, 2)
        grain = self._grain[y : y + height, x : x + width]
        return (self._wide[:, left : left + width] + grain).clip(0, 255).astype(np.uint8)


def _grain(size: Size, random: np.random.Generator) -> npt.NDArray[np.int16]:
    shape = (size.height + _SLACK_PX, size.width + _SLACK_PX, 1)
    return random.normal(0, GRAIN, shape).round().astype(np.int16)


def write_clip(path: Path, size: Size, frames: int, seed: int = 0) -> Path:
    """Write a clip of moving texture at 30 fps through the program's own video sink.

    Raises:
        SinkError: it cannot be written.
    """
    with RecordingSink(path, FPS) as video:
        for frame in _frames(size, frames, seed):
            video.write(Result(frame, None, Verdict("uncertain")), Picture.of(frame.image))
    return path


def _frames(size: Size, count: int, seed: int) -> Iterator[Frame]:
    scene = Scene(size, seed)
    for index in range(count):
        yield Frame(scene.picture(index), index, index / FPS, "scene", pts=index / FPS)
