"""Boxes around faces, and what is cut out of a frame by them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.regions import resize_antialiased
from edge.types import Batch, Box, Image

CROP_SCALE = 1.3
"""Side of a face's crop, in sides of its box: what detectors of face swaps are trained on."""

FACE_SIDE = 3.6
"""Side of an aligned crop, in eye distances: brow, chin and jaw, and so the edge of a swap, lie
inside, and captions beside a head seldom do."""

_DOWN = 0.3
"""Where its centre lies on the way from between the eyes to the mouth."""

_MOST_SAMPLES = 4

Floats = npt.NDArray[np.float64]

Boxes = Floats
"""Boxes as rows: [n, 4], xyxy."""

Points = Floats
"""Points of a face in pixels of its frame, [5, 2] xy: the eye at the left of the picture (in an
upright face, the person's right one), the other, the tip of the nose, and the corners of the mouth
in the same order."""


def square_box(xyxy: Box, frame_hw: tuple[int, int], scale: float = CROP_SCALE) -> Box:
    """The square around a face that is shown to a model.

    As in the code published with FaceForensics++ (Rössler et al., 2019): its side is the longer one
    of the face's times the scale, its centre the face's. Where it would leave the frame at the left
    or above it is moved inside, and it is made smaller where it would at the right or below; so it
    is a square in any case, and nothing is ever stretched.

    Args:
        xyxy: a face's box, at least partly in the frame.
        frame_hw: height and width of the frame, at least 1 each.
        scale: sides of the square to a side of the box.

    Returns:
        A square inside the frame, of at least one pixel.
    """
    left, top, right, bottom = xyxy
    height, width = frame_hw
    side = max(1, int(max(right - left, bottom - top) * scale))
    x = min(max((left + right) // 2 - side // 2, 0), width - 1)
    y = min(max((top + bottom) // 2 - side // 2, 0), height - 1)
    side = min(side, width - x, height - y)
    return x, y, x + side, y + side


def crop_face(image: Image, box: Box, size: int) -> Image:
    """Cut a box of `square_box` out of a frame and resize it, antialiased.

    Returns:
        uint8 [size, size, 3] BGR; a view of the frame if nothing had to be resized.
    """
    left, top, right, bottom = box
    return resize_antialiased(image[top:bottom, left:right], size, size)


def aligned_square(points: Points, side: float = FACE_SIDE) -> Floats:
    """The turned square around a face that is shown to a model, from the points of the face.

    As FFHQ was aligned (Karras et al., 2019, appendix A), with another centre and side: it is
    upright to the mean of the eyes' line and of the one across that from eyes to mouth, and its
    unit is the distance of the eyes, or 0.9 of that from eyes to mouth where this is longer, as it
    is in a profile.

    Args:
        points: [5, 2].
        side: in those units.

    Returns:
        [3, 2], xy: its centre, and the vectors of a full side to the right and down.
    """
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across, down = points[1] - points[0], mouth - eyes
    right = across + np.array([down[1], -down[0]])
    unit = max(float(np.hypot(*across)), 0.9 * float(np.hypot(*down)), 1.0)
    right = right / max(float(np.hypot(*right)), 1e-9) * unit * side
    return np.stack([eyes + _DOWN * down, right, (-right[1], right[0])])


def aligned_crops(
    image: Image, points: Sequence[Points], size: int, side: float = FACE_SIDE
) -> Batch:
    """Cut faces out of a frame by their points, each turned upright; the same for every use.

    Bilinear, over a grid as many times finer as the face is larger than its crop, which is then
    averaged. Beyond the frame's edge the frame is mirrored.

    Args:
        image: uint8 [H, W, 3] BGR.
        points: of each face, [5, 2].
        size: side of the crops in pixels.
        side: see `aligned_square`.

    Returns:
        uint8 [n, size, size, 3] BGR.
    """
    import cv2

    crops = np.empty((len(points), size, size, 3), np.uint8)
    for crop, face in zip(crops, points, strict=True):
        centre, right, down = aligned_square(face, side)
        finer = math.ceil(min(float(np.hypot(*right)) / size - 1e-3, _MOST_SAMPLES)) or 1
        # From a pixel of the crop to one of the frame, both by their centres.
        step = np.stack([right, down], axis=1) / (size * finer)
        start = centre - step.sum(axis=1) * (size * finer - 1) / 2
        turned = cv2.warpAffine(
            image,
            np.column_stack([step, start]),
            (size * finer, size * finer),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        cv2.resize(turned, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return crops


def box_of_square(square: Floats, frame_hw: tuple[int, int]) -> Box:
    """The upright square that has the middle and the side of a turned one, inside a frame."""
    half = float(np.hypot(*square[1])) / 2
    return clipped((*(square[0] - half), *(square[0] + half)), frame_hw)


def clipped(edges: Sequence[float] | Floats, frame_hw: tuple[int, int]) -> Box:
    """A box, xyxy anywhere, in whole pixels and inside a frame; of one pixel at least."""
    left, top, right, bottom = (round(float(edge)) for edge in edges)
    height, width = frame_hw
    x, y = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return x, y, min(max(right, x + 1), width), min(max(bottom, y + 1), height)


def distances(ours: Boxes, theirs: Boxes) -> Floats:
    """How far centres lie apart, in sides of the larger of both boxes, as [n, m].

    Infinite where one is more than twice the size of the other.
    """
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (ours, theirs)]
    sides = [np.max(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    larger = np.maximum(sides[0][:, None], sides[1][None])
    smaller = np.minimum(sides[0][:, None], sides[1][None])
    return np.where(larger > 2 * smaller, math.inf, apart / np.maximum(larger, 1e-9))


def as_rows(boxes: Sequence[Sequence[float]] | Sequence[Floats]) -> Boxes:
    """Boxes as rows of an array; [0, 4] for none."""
    return np.array(boxes, np.float64).reshape(-1, 4)
