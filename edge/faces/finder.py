"""What finds faces: YuNet, a small network that gives boxes and five points of each face.

W. Wu, H. Peng and S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. `yunet.onnx` is
made by `export/finder.py`, which says what it takes and gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import Self

from edge.errors import UsageError
from edge.faces.boxes import Floats, Points, clipped
from edge.files import sha256_of
from edge.types import Box, FloatArray, Image

LONGEST_SIDE = 640
"""Frames are reduced to it before faces are looked for, in pixels."""

LEAST_SIDE = 64
"""Of that setting."""

MODEL = Path(__file__).parent / "yunet.onnx"

_STRIDES = np.array((8, 16, 32))
_LEAST_SCORE = 0.6
_MOST_OVERLAP = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face that was found.

    Attributes:
        xyxy: about from brow to chin and cheek to cheek, in pixels of the frame and inside it.
        score: how sure the finder is, 0..1.
        points: of the face; may lie outside the frame.
    """

    xyxy: Box
    score: float
    points: Points


class FaceFinder:
    """Finds faces in single pictures; a context manager. Not thread-safe.

    Args:
        longest_side: frames are reduced to that many pixels before, and never enlarged; the
            smallest face that is found, about 10 pixels wide, grows as they shrink.
        threads: of the network; None for every core.

    Attributes:
        name: of the network.
        key: name, version and settings, fit for the name of a folder; what is found depends on
            nothing else, so that it may be cached under this key.

    Raises:
        UsageError: the side is too small.
    """

    name = "yunet"

    def __init__(self, longest_side: int = LONGEST_SIDE, threads: int | None = None) -> None:
        if longest_side < LEAST_SIDE:
            raise UsageError(
                f"expected at least {LEAST_SIDE} pixels to find faces in, found {longest_side}."
            )
        from edge.backends.onnxruntime import open_network

        self._longest_side = longest_side
        self._run = open_network(MODEL, threads)
        self.key = f"{self.name}-{sha256_of(MODEL)[:12]}-{longest_side}-{_LEAST_SCORE:g}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held but memory, which goes with the object."""

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, uint8 [H, W, 3] BGR of any size, the largest first."""
        import cv2

        height, width = image.shape[:2]
        scale = min(1.0, self._longest_side / max(height, width))
        small_hw = max(1, round(height * scale)), max(1, round(width * scale))
        # The network halves its input five times.
        padded_hw = (-(-small_hw[0] // 32) * 32, -(-small_hw[1] // 32) * 32)
        padded = np.zeros((1, *padded_hw, 3), np.uint8)
        inside = padded[0, : small_hw[0], : small_hw[1]]
        inside[...] = cv2.resize(image, small_hw[::-1], interpolation=cv2.INTER_AREA)
        scores, boxes, points = _decoded(self._run(padded)[0], padded_hw)
        kept = np.asarray(
            cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), _LEAST_SCORE, _MOST_OVERLAP), int
        ).ravel()
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) / scale
        faces = [
            Face(clipped(corners[i], (height, width)), float(scores[i]), points[i] / scale)
            for i in kept
        ]
        return largest_first(faces)


def _decoded(cells: FloatArray, hw: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Scores [n], boxes [n, 4] as left, top, width and height, and points [n, 5, 2], in pixels.

    Args:
        cells: the network's output for a picture, [cells, 15].
        hw: height and width of that picture.
    """
    rows, columns = hw[0] // _STRIDES, hw[1] // _STRIDES
    found = np.flatnonzero(cells[:, 0] > _LEAST_SCORE**2)
    ends = np.cumsum(rows * columns)
    grid = np.searchsorted(ends, found, side="right")
    row, column = np.divmod(found - (ends - rows * columns)[grid], columns[grid])
    cell, stride = np.stack([column, row], axis=1), _STRIDES[grid][:, None]
    values = cells[found].astype(np.float64)
    centres = (cell + values[:, 1:3]) * stride
    sides = np.exp(values[:, 3:5]) * stride
    points = (cell[:, None] + values[:, 5:].reshape(-1, 5, 2)) * stride[:, None]
    boxes = np.concatenate([centres - sides / 2, sides], axis=1)
    return np.sqrt(values[:, 0]), boxes, points


def largest_first(faces: list[Face]) -> list[Face]:
    """Faces by their area; of equal ones the surer first, then by place, so that order is fixed."""

    def rank(face: Face) -> tuple[float, float, Box]:
        left, top, right, bottom = face.xyxy
        return -(right - left) * (bottom - top), -face.score, face.xyxy

    return sorted(faces, key=rank)
