"""The name of a camera in the upper left corner, where several share one picture."""

from __future__ import annotations

from edge.overlay.plates import plate
from edge.overlay.sprites import stamp
from edge.overlay.style import PAPER, PAPER_OPACITY, TEXT, Layout
from edge.overlay.text import CAP_HEIGHT, bold, elided, text_width, write
from edge.types import Image

_MOST_OF_HEIGHT = 0.3


def tag_height(layout: Layout) -> int:
    """Rows at the upper edge that a tag takes, its margin included."""
    return layout.margin + _plate_height(layout)


def draw_tag(picture: Image, text: str, layout: Layout) -> None:
    """Write a name on a plate in the upper left corner, in place.

    Nothing for an empty text, nor on a picture that it would fill.

    Args:
        picture: uint8 [H, W, 3] BGR.
        text: printable text, shortened in its middle where it is too wide.
        layout: sizes for this picture.
    """
    height, width = picture.shape[:2]
    size, pad = _size(layout), layout.pad
    room = width - 2 * layout.margin - 2 * pad
    if not text or tag_height(layout) > _MOST_OF_HEIGHT * height or room < size:
        return
    # Bold letters are wider by their weight, about those of a font so much larger.
    text = elided(text, size + 2 * bold(size), room)
    plate_hw = (_plate_height(layout), text_width(text, size, bold(size)) + 2 * pad)
    corner = layout.margin
    paper = plate(plate_hw, PAPER, PAPER_OPACITY, layout.radius, layout.radius)
    stamp(picture, paper, corner, corner)
    baseline = corner + round((plate_hw[0] + CAP_HEIGHT * size) / 2)
    write(picture, text, corner + pad, baseline, size, TEXT, bold(size))


def _size(layout: Layout) -> int:
    return round(1.25 * layout.small)


def _plate_height(layout: Layout) -> int:
    return round(1.7 * _size(layout))
