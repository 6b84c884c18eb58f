"""From what a decoder gives to BGR."""

from __future__ import annotations

from dataclasses import replace

from edge.errors import RegionError
from edge.types import Frame, Image, PixelFormat


def to_bgr(image: Image, pixel_format: PixelFormat) -> Image:
    """A picture as uint8 [H, W, 3] BGR; itself if it is that already.

    NV12 is read as BT.601 with limited range, each U and V for the four pixels above it, as OpenCV
    and the GPU's front end do.

    Raises:
        RegionError: NV12 with an odd side.
    """
    if pixel_format == "bgr":
        return image
    refuse_odd(image)
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)  # type: ignore[return-value]  # it is uint8


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
