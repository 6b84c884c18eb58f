"""Whether a picture has changed since the model last saw one: if not, its evidence is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.types import Image, PixelFormat, Region

BLOCK_PX = 16
"""Side of the squares whose mean is compared: the noise of a camera is lost in it."""

_BAND_ROWS = 128


@dataclass(frozen=True, slots=True)
class Reuse:
    """When evidence is kept.

    Attributes:
        max_change: also where the mean of no `BLOCK_PX`² pixels changed by more grey levels than
            this; 0 for the same pixels only.
        longest_s: how long it is kept for a picture that changed, though by so little.
    """

    max_change: float = 0.0
    longest_s: float = 1.0


@dataclass(slots=True, eq=False)
class Seen:
    """A picture that the model saw.

    Attributes:
        image: what of the frame matters to the model.
        pixel_format: of the frame.
        time_s: of the frame.
        regions: what the model gave for it; none before it has.
    """

    image: Image
    pixel_format: PixelFormat
    time_s: float
    regions: tuple[Region, ...] = ()
    _blocks: npt.NDArray[np.int16] | None = None

    def is_still(self, other: Seen, reuse: Reuse) -> bool:
        """Whether the evidence of this picture will do for a later one."""
        if self.image.shape != other.image.shape or self.pixel_format != other.pixel_format:
            return False
        if same_pixels(self.image, other.image):
            return True
        if not reuse.max_change or not 0 <= other.time_s - self.time_s < reuse.longest_s:
            return False
        if self._blocks is None:
            self._blocks = blocks(self.image)
        return bool(np.abs(self._blocks - blocks(other.image)).max() <= reuse.max_change)


def same_pixels(a: Image, b: Image) -> bool:
    """Whether two pictures of one shape are the same; where they are not, a few rows tell."""
    rows = len(a)
    if not np.array_equal(a[:: max(1, rows // 8)], b[:: max(1, rows // 8)]):
        return False
    # In bands, which stay in the processor's cache.
    bands = (slice(top, top + _BAND_ROWS) for top in range(0, rows, _BAND_ROWS))
    return all(np.array_equal(a[band], b[band]) for band in bands)


def blocks(image: Image) -> npt.NDArray[np.int16]:
    """The mean of each `BLOCK_PX`² pixels of each channel."""
    import cv2

    height, width = (math.ceil(side / BLOCK_PX) for side in image.shape[:2])
    small = quartered(image).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA).astype(np.int16)


def quartered(image: Image) -> Image:
    """A picture at a quarter of its sides, averaged, without odd edges; a tiny one as it is."""
    import cv2

    for _ in range(2 if min(image.shape[:2]) >= 4 else 0):  # fast, where sides are even
        image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    return image
