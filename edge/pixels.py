"""From what a decoder gives to BGR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.errors import RegionError
from edge.types import Frame, Image, PixelFormat


def to_bgr(image: Image, pixel_format: PixelFormat) -> Image:
    """A picture as uint8 [H, W, 3] BGR; itself if it is that already.

    NV12 is read with limited range, each U and V for the four pixels above it, as OpenCV does by
    BT.601, and the GPU's front end by both matrices.

    Raises:
        RegionError: NV12 with an odd side.
    """
    if pixel_format == "bgr":
        return image
    refuse_odd(image)
    if pixel_format == "nv12_709":
        return _bgr_by_709(image)
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)  # type: ignore[return-value]  # it is uint8


def _bgr_by_709(image: Image) -> Image:
    """OpenCV's arithmetic (color_yuv.simd.hpp, 20 fractional bits) with BT.709's matrix."""
    height = len(image) * 2 // 3
    bright = np.maximum(image[:height].astype(np.int32) - 16, 0) * 1220542
    pairs = image[height:].reshape(height // 2, -1, 2).astype(np.int32) - 128
    bgr = np.empty((*bright.shape, 3), np.uint8)
    for channel, (of_u, of_v) in enumerate(((2215014, 0), (-223607, -558796), (0, 1879825))):
        colour = (1 << 19) + of_u * pairs[..., 0] + of_v * pairs[..., 1]
        both = bright + colour.repeat(2, axis=0).repeat(2, axis=1)
        bgr[..., channel] = np.clip(both >> 20, 0, 255)
    return bgr


def bgr_frame(frame: Frame) -> Frame:
    """A frame whose picture is BGR."""
    if frame.pixel_format == "bgr":
        return frame
    return replace(frame, image=to_bgr(frame.image, frame.pixel_format), pixel_format="bgr")


def refuse_odd(image: Image) -> None:
    """Refuse what cannot be NV12.

    Raises:
        RegionError: its height or width is odd.
    """
    rows, width = image.shape[:2]
    if image.ndim != 2 or rows % 3 or width % 2:
        raise RegionError(
            f"expected NV12 of even height and width, uint8 [H·3/2, W], found {image.shape}. "
            "Choose another size, or pixel_format: bgr."
        )
