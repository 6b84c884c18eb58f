"""Input regions: which pixels of a frame the model sees, and whether they show anything.

- `native`: the whole frame as it is.
- `center:N`: the central N×N pixels, or the frame where it is smaller. Its corner lies on a
  multiple of 8, so that the grids of JPEG blocks and of up-sampling keep their phase.
- `resize:N`: the whole frame resized to N×N, antialiased.
- `fit:N`: the whole frame, its aspect kept, reduced by the same filter until its shorter side is N
  pixels; a smaller frame stays as it is.
- `tiles:N`: the whole frame cut into N×N tiles; the last of a row or column is shifted inward, so
  that every pixel is seen and every tile has the same size.
- `faces:N`: every face, a square around it resized to N×N; `faces` alone is `faces:224`.
  `edge.faces` finds them. The functions here take a picture that is already cut to a face, as sets
  of faces hold them, and resize it to N×N.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as PillowImage

from edge.errors import UsageError
from edge.reuse import BLOCK_PX, quartered
from edge.types import Box, Image, PixelFormat

RegionKind = Literal["native", "center", "resize", "fit", "tiles", "faces"]
_SPEC = re.compile(r"(native|faces)|(center|resize|fit|tiles|faces):([1-9]\d{0,4})")
GRID = 8
FACE_SIZE = 224
"""Default side in pixels of a face's crop."""

NOTHING_TO_SEE = "nothing to see: too little texture to judge"

_LEAST_STEP = 1.5
"""Grey levels: below it lie covered lenses (0.8) and slow ramps, above it all 433 validation
photographs (2.6 and more) and scenes at night and in haze (13 and more)."""
_STEPS_PERCENTILE = 99.0
_LEAST_BLOCKS = 4

SYNTAX = "native, center:N, resize:N, fit:N, tiles:N, faces or faces:N, with N in pixels"


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A parsed input region; `size` is N, and 0 for `native`."""

    kind: RegionKind
    size: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "native" else f"{self.kind}:{self.size}"

    @property
    def fixed_side(self) -> int:
        """Side of the square that the model sees; 0 where it depends on the frame's size."""
        return 0 if self.kind in ("native", "fit") else self.size


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A part of a frame as the model will see it.

    Attributes:
        xyxy: the part, in pixels of the frame.
        image: uint8 [h, w, 3] BGR; a view of the frame unless resized.
        track: identity across frames, where it is a face.
    """

    xyxy: Box
    image: Image
    track: int | None = None


def parse_region(text: str) -> RegionSpec:
    """Parse a region, for instance `native`, `center:512` or `faces`.

    Raises:
        UsageError: anything else.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"region {text!r} is not known. Expected {SYNTAX}.")
    if match[1]:
        return RegionSpec("faces", FACE_SIZE) if match[1] == "faces" else RegionSpec("native")
    kind: RegionKind = match[2]  # type: ignore[assignment]  # the pattern admits only these words
    return RegionSpec(kind, int(match[3]))


def cut(image: Image, spec: RegionSpec) -> list[Crop]:
    """Cut the crops of a region out of a frame.

    Args:
        image: uint8 [H, W, 3] BGR.
        spec: the region.

    Returns:
        At least one crop; all of one size.
    """
    boxes, input_hw = place(image.shape[0], image.shape[1], spec)
    if spec.kind == "native":
        return [Crop(boxes[0], image)]
    if spec.kind in ("resize", "fit", "faces"):
        return [Crop(boxes[0], resize_antialiased(image, *input_hw))]
    return [
        Crop((left, top, right, bottom), image[top:bottom, left:right])
        for left, top, right, bottom in boxes
    ]


def place(height: int, width: int, spec: RegionSpec) -> tuple[list[Box], tuple[int, int]]:
    """Where a region lies in a frame of a height and width in pixels.

    Returns:
        At least one box, all of one size; height and width that the model sees each in.
    """
    if spec.kind == "native":
        return [(0, 0, width, height)], (height, width)
    if spec.kind in ("resize", "faces"):
        return [(0, 0, width, height)], (spec.size, spec.size)
    if spec.kind == "fit":
        return [(0, 0, width, height)], _fitted(height, width, spec.size)
    h, w = min(spec.size, height), min(spec.size, width)
    if spec.kind == "center":
        starts = [((height - h) // 2 // GRID * GRID, (width - w) // 2 // GRID * GRID)]
    else:
        starts = [
            (min(top, height - h), min(left, width - w))
            for top in range(0, height, h)
            for left in range(0, width, w)
        ]
    return [(left, top, left + w, top + h) for top, left in starts], (h, w)


def resize_antialiased(image: Image, height: int, width: int) -> Image:
    """Resize with the antialiased bilinear (triangle) filter that the papers evaluate with.

    Pillow's filter, in fixed point; each channel on its own, so BGR stays BGR.
    """
    if image.shape[:2] == (height, width):
        return image
    resized = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR)
    return np.asarray(resized)


def _fitted(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width with that shorter side, in whole pixels; never enlarged."""
    least = min(height, width)
    if least <= shorter:
        return height, width
    return (2 * height * shorter + least) // (2 * least), (2 * width * shorter + least) // (
        2 * least
    )


def has_texture(image: Image, pixel_format: PixelFormat = "bgr", box: Box | None = None) -> bool:
    """Whether there is anything to see: one in a hundred neighbouring blocks differs by
    `_LEAST_STEP`. A covered lens, fog and a black screen say nothing, though a model answers.

    Blocks are the means of `BLOCK_PX`² pixels, in which the noise of a sensor is lost; smaller in a
    picture that has fewer than four of them a side.

    Args:
        image: uint8, [H, W, 3] BGR, or [H·3/2, W] NV12, of which brightness alone counts.
        pixel_format: which of both.
        box: the part that counts, xyxy in pixels; None for all.
    """
    import cv2

    if pixel_format != "bgr":
        image = image[: image.shape[0] * 2 // 3]
    if box is not None:
        image = image[box[1] : box[3], box[0] : box[2]]
    height, width = image.shape[:2]
    if min(height, width) < _LEAST_BLOCKS**2:
        return True
    side = min(BLOCK_PX, min(height, width) // _LEAST_BLOCKS)
    small = quartered(image).astype(np.float32)
    size = (max(_LEAST_BLOCKS, width // side), max(_LEAST_BLOCKS, height // side))
    means = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    grey = means.mean(2) if means.ndim == 3 else means
    steps = [np.abs(np.diff(grey, axis=axis)).ravel() for axis in (0, 1)]
    return bool(np.percentile(np.concatenate(steps), _STEPS_PERCENTILE) >= _LEAST_STEP)
