"""Chains of degradations with every number drawn already."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from edge.types import Image
from training.degrade import stills
from training.degrade.clips import VideoCodec, moving_clip
from training.degrade.stills import Chroma, Filter, JpegEncoder

GRID = 16
"""Pixels after which a codec's blocks repeat, with colour halved."""

Grid = tuple[int, int]
"""Rows and columns that are cut off at top and left, from 0 to below `GRID`."""


class Step(ABC):
    """One degradation with all its numbers."""

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """Degrade uint8 [H, W, 3] BGR."""

    def needed(self, size: int) -> int:
        """The side of a picture of which at least `size` is left."""
        return size

    def moved(self, image: Image) -> Image:
        """The pixels that the result shows, as they were before."""
        return image


@dataclass(frozen=True, kw_only=True)
class _Coded(Step):
    """A step with blocks: a rim is cut off its result, so that they begin anywhere."""

    grid: Grid = (0, 0)

    def __call__(self, image: Image) -> Image:
        return _part(self.code(image), self.grid, GRID - 1)

    @abstractmethod
    def code(self, image: Image) -> Image:
        """Encode and decode."""

    def needed(self, size: int) -> int:
        return size + GRID - 1

    def moved(self, image: Image) -> Image:
        return _part(image, self.grid, GRID - 1)


@dataclass(frozen=True, kw_only=True)
class Jpeg(_Coded):
    """JPEG by one of two encoders."""

    quality: int
    encoder: JpegEncoder = "libjpeg"
    chroma: Chroma = "4:2:0"

    def code(self, image: Image) -> Image:
        encode = stills.jpeg if self.encoder == "libjpeg" else stills.mjpeg
        return encode(image, self.quality, self.chroma)


@dataclass(frozen=True, kw_only=True)
class Webp(_Coded):
    """Lossy WebP."""

    quality: int

    def code(self, image: Image) -> Image:
        return stills.webp(image, self.quality)


@dataclass(frozen=True, kw_only=True)
class Clip(_Coded):
    """A predicted frame, `taken` from 1 on, of a short clip in which the window, whose top and left
    are `moves` by frame, moves over the picture.
    """

    codec: VideoCodec
    crf: float
    preset: str
    moves: tuple[tuple[int, int], ...]
    taken: int

    @property
    def _reach(self) -> int:
        return max(map(max, self.moves))

    def code(self, image: Image) -> Image:
        return moving_clip(image, self.codec, self.crf, self.preset, self.moves, self.taken)

    def needed(self, size: int) -> int:
        return super().needed(size) + self._reach

    def moved(self, image: Image) -> Image:
        return super().moved(_part(image, self.moves[self.taken], self._reach))


@dataclass(frozen=True, kw_only=True)
class Resize(Step):
    """Both sides times a factor. The only step that moves pixels to places between pixels."""

    scale: float
    filter: Filter = "bicubic"

    def __call__(self, image: Image) -> Image:
        height, width = image.shape[:2]
        return stills.resize(image, self._scaled(height), self._scaled(width), self.filter)

    def needed(self, size: int) -> int:
        side = max(math.floor(size / self.scale) - 1, 1)
        while self._scaled(side) < size:
            side += 1
        return side

    def moved(self, image: Image) -> Image:
        raise ValueError("a resized picture has no clean crop of the same pixels")

    def _scaled(self, side: int) -> int:
        return max(round(side * self.scale), 1)


@dataclass(frozen=True, kw_only=True)
class Blur(Step):
    """Gaussian blur; `sigma` is in pixels."""

    sigma: float

    def __call__(self, image: Image) -> Image:
        return stills.blur(image, self.sigma)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Step):
    """Normal noise."""

    sigma: float
    seed: int

    def __call__(self, image: Image) -> Image:
        return stills.gaussian_noise(image, self.sigma, self.seed)


@dataclass(frozen=True, kw_only=True)
class PoissonNoise(Step):
    """The noise of counted photons, of which white gives `photons` on average."""

    photons: float
    seed: int

    def __call__(self, image: Image) -> Image:
        return stills.poisson_noise(image, self.photons, self.seed)


@dataclass(frozen=True)
class Chain:
    """Degradations one after the other, with all their numbers. It draws nothing."""

    steps: tuple[Step, ...] = ()

    def __call__(self, image: Image) -> Image:
        """Degrade uint8 [H, W, 3] BGR; the result is smaller by rims and margins, or resized.

        Raises:
            ValueError: a side is below `needed(1)`.
        """
        if min(image.shape[:2]) < self.needed(1):
            raise ValueError(
                f"expected sides of at least {self.needed(1)} px for this chain, found "
                f"{image.shape[1]}×{image.shape[0]}; `crop` mirrors a picture that is too small"
            )
        for step in self.steps:
            image = step(image)
        return image

    def needed(self, size: int) -> int:
        """The side of a square crop of which at least size×size is left."""
        for step in reversed(self.steps):
            size = step.needed(size)
        return size

    def left_of(self, side: int, most: int) -> int:
        """The side of the largest result, `most` at most and 1 at least, of a crop of `side`."""
        size = most
        while size > 1 and self.needed(size) > side:
            size -= 1
        return size

    def crop(self, image: Image, size: int) -> Image:
        """The degraded middle of a picture, uint8 [size, size, 3] BGR.

        The picture, uint8 [H, W, 3], is mirrored at its borders where it is too small.
        """
        return _middle(self(self._taken(image, size)), size)

    def clean_crop(self, image: Image, size: int) -> Image:
        """The pixels that `crop` of the same arguments shows, not degraded.

        Raises:
            ValueError: a step resizes.
        """
        part = self._taken(image, size)
        for step in self.steps:
            part = step.moved(part)
        return _middle(part, size)

    def _taken(self, image: Image, size: int) -> Image:
        side = self.needed(size)
        lacks = [max(side - n, 0) for n in image.shape[:2]]
        if any(lacks):
            pads = [(n // 2, n - n // 2) for n in lacks]
            image = np.pad(image, [*pads, (0, 0)], mode="symmetric")
        return _middle(image, side)


def _part(image: Image, origin: tuple[int, int], less: int) -> Image:
    """A part that begins at `origin` and has `less` fewer rows and columns."""
    (top, left), (height, width) = origin, image.shape[:2]
    return image[top : top + height - less, left : left + width - less]


def _middle(image: Image, size: int) -> Image:
    top, left = ((n - size + 1) // 2 for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])
