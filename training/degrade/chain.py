"""Chains of degradations with every number drawn already, so that a pair shares one chain."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from edge.schema import Strict
from edge.types import Image
from training.degrade import stills
from training.degrade.clips import VideoCodec, moving_clip
from training.degrade.stills import Chroma, Filter, JpegEncoder

GRID = 16
"""Pixels after which a codec's blocks repeat, with colour halved."""

Quality = Annotated[int, Field(ge=1, le=100)]
Offset = Annotated[int, Field(ge=0, lt=GRID)]
Grid = tuple[Offset, Offset]
Move = Annotated[int, Field(ge=0)]


class _Step(Strict):
    def __call__(self, image: Image) -> Image:
        """Degrade uint8 [H, W, 3] BGR."""
        raise NotImplementedError

    def needed(self, size: int) -> int:
        """The side of a picture of which at least `size` is left."""
        return size

    def moved(self, image: Image) -> Image:
        """The pixels that the result shows, as they were before."""
        return image


class _Coded(_Step):
    """A step with blocks: a rim is cut off its result, so that they begin anywhere."""

    grid: Grid = Field(default=(0, 0), description="Rows and columns cut off at top and left.")

    def __call__(self, image: Image) -> Image:
        return _part(self.code(image), self.grid, GRID - 1)

    def code(self, image: Image) -> Image:
        """Encode and decode."""
        raise NotImplementedError

    def needed(self, size: int) -> int:
        return size + GRID - 1

    def moved(self, image: Image) -> Image:
        return _part(image, self.grid, GRID - 1)


class Jpeg(_Coded):
    """JPEG by one of two encoders."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Quality
    encoder: JpegEncoder = "libjpeg"
    chroma: Chroma = "4:2:0"

    def code(self, image: Image) -> Image:
        encode = stills.jpeg if self.encoder == "libjpeg" else stills.mjpeg
        return encode(image, self.quality, self.chroma)


class Webp(_Coded):
    """Lossy WebP."""

    kind: Literal["webp"] = "webp"
    quality: Quality

    def code(self, image: Image) -> Image:
        return stills.webp(image, self.quality)


class Clip(_Coded):
    """A predicted frame of a short clip in which the window moves over the picture."""

    kind: Literal["clip"] = "clip"
    codec: VideoCodec
    crf: float = Field(ge=0, le=51)
    preset: str = "veryfast"
    moves: tuple[tuple[Move, Move], ...] = Field(
        min_length=2, description="Top and left of the window, per frame."
    )
    taken: int = Field(ge=1, description="Index of the frame that is kept.")

    @model_validator(mode="after")
    def _taken_exists(self) -> Clip:
        if self.taken >= len(self.moves):
            raise ValueError(f"frame {self.taken} of {len(self.moves)} cannot be taken")
        return self

    @property
    def _reach(self) -> int:
        return max(map(max, self.moves))

    def code(self, image: Image) -> Image:
        return moving_clip(image, self.codec, self.crf, self.preset, self.moves, self.taken)

    def needed(self, size: int) -> int:
        return super().needed(size) + self._reach

    def moved(self, image: Image) -> Image:
        return super().moved(_part(image, self.moves[self.taken], self._reach))


class Resize(_Step):
    """Both sides times a factor. The only step that moves pixels to places between pixels."""

    kind: Literal["resize"] = "resize"
    scale: float = Field(gt=0)
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


class Blur(_Step):
    """Gaussian blur."""

    kind: Literal["blur"] = "blur"
    sigma: float = Field(gt=0, description="In pixels.")

    def __call__(self, image: Image) -> Image:
        return stills.blur(image, self.sigma)


class GaussianNoise(_Step):
    """Normal noise."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: float = Field(ge=0, description="In grey levels.")
    seed: int = Field(ge=0)

    def __call__(self, image: Image) -> Image:
        return stills.gaussian_noise(image, self.sigma, self.seed)


class PoissonNoise(_Step):
    """The noise of counted photons."""

    kind: Literal["poisson_noise"] = "poisson_noise"
    photons: float = Field(gt=0, description="That white gives on average; fewer are noisier.")
    seed: int = Field(ge=0)

    def __call__(self, image: Image) -> Image:
        return stills.poisson_noise(image, self.photons, self.seed)


Step = Annotated[
    Jpeg | Webp | Clip | Resize | Blur | GaussianNoise | PoissonNoise, Field(discriminator="kind")
]


class Chain(Strict):
    """Degradations one after the other, with all their numbers.

    It draws nothing: two aligned pictures of one size get the same offsets, frames and noise.
    JSON with `model_dump_json` and `model_validate_json`.
    """

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

    def crop(self, image: Image, size: int, at: tuple[float, float] = (0.5, 0.5)) -> Image:
        """A degraded part of a picture, uint8 [size, size, 3] BGR.

        The picture, uint8 [H, W, 3], is mirrored at its borders where it is too small; `at` says
        where the part lies in the room that there is, rows then columns, 0..1.
        """
        return _middle(self(self._taken(image, size, at)), size)

    def clean_crop(self, image: Image, size: int, at: tuple[float, float] = (0.5, 0.5)) -> Image:
        """The pixels that `crop` of the same arguments shows, not degraded.

        Raises:
            ValueError: a step resizes.
        """
        part = self._taken(image, size, at)
        for step in self.steps:
            part = step.moved(part)
        return _middle(part, size)

    def _taken(self, image: Image, size: int, at: tuple[float, float]) -> Image:
        side = self.needed(size)
        lacks = [max(side - n, 0) for n in image.shape[:2]]
        if any(lacks):
            pads = [(n // 2, n - n // 2) for n in lacks]
            image = np.pad(image, [*pads, (0, 0)], mode="symmetric")
        return _window(image, side, at)


def _part(image: Image, origin: tuple[int, int], less: int) -> Image:
    """A part that begins at `origin` and has `less` fewer rows and columns."""
    (top, left), (height, width) = origin, image.shape[:2]
    return image[top : top + height - less, left : left + width - less]


def _middle(image: Image, size: int) -> Image:
    return np.ascontiguousarray(_window(image, size, (0.5, 0.5)))


def _window(image: Image, side: int, at: tuple[float, float]) -> Image:
    top, left = (
        int((n - side + 1) * min(p, 1 - 1e-9)) for n, p in zip(image.shape, at, strict=False)
    )
    return image[top : top + side, left : left + side]
