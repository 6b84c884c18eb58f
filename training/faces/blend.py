"""Self-blended fakes: a face of a real clip, blended back into itself after small changes.

Shiohara and Yamasaki, Detecting Deepfakes with Self-Blended Images, 2022. Two versions of one face
are laid over each other with a soft mask; what is left is what every swap leaves: an edge, another
sharpness and another colour on both of its sides. Unlike there the outline is drawn about the five
points that every finder gives, and a whole clip is changed in one way, so that it can pass a real
video encoder afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge.faces.boxes import FACE_SIDE, Points, aligned_square
from edge.types import Image

Floats = npt.NDArray[np.float32]
Sharpness = Literal["as it is", "reduced", "blurred", "sharpened"]

BLENDED = "blended-"
"""Before the name of a source: the self-blended fakes of its people."""

_MASK = 128
"""Side of a mask in pixels."""

_MASK_SIDE = 4.0
"""Side of a mask in eye distances; see `edge.faces.boxes.aligned_square`."""

_PARTS = {
    "face": (0.50, 0.50, 0.28, 0.36),
    "lower half": (0.50, 0.64, 0.24, 0.20),
    "inner face": (0.50, 0.48, 0.22, 0.26),
    "mouth": (0.50, 0.66, 0.13, 0.10),
}
"""Centre x, y and half axes x, y of what is replaced, in sides of the mask."""

_UPRIGHT = ((-0.5, 0.0), (0.5, 0.0), (0.0, 0.63), (-0.4, 1.05), (0.4, 1.05))
"""Points of an aligned face, in eye distances from between the eyes."""

_PART_SHARES = (0.5, 0.2, 0.2, 0.1)
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""How much of the changed face is laid over the other, as published."""


def self_blended(
    frames: Sequence[Image], points: Sequence[Points], rng: np.random.Generator
) -> tuple[list[Image], list[Image]]:
    """A clip, and the same with its face replaced by a changed version of itself.

    Args:
        frames: uint8 [H, W, 3] BGR, of one size.
        points: of the face in each frame, [5, 2].
        rng: draws the changes; one draw for all frames.

    Returns:
        The target and the fake, frame by frame as given. In about 40 % of the draws the change is
        made to the target instead, so that a changed clip is no fake by itself.
    """
    change, on_face = _Change.drawn(rng), rng.random() < 0.6
    mask = _mask(rng)
    scale, shift = np.diag(rng.uniform(0.95, 1.05, 2)), rng.uniform(-0.06, 0.06, 2)
    jitter = 0.01 * (rng.random() < 0.5)
    targets, fakes = [], []
    for frame, face in zip(frames, points, strict=True):
        centre, right, down = aligned_square(face, _MASK_SIDE)
        unit = float(np.hypot(*right)) / _MASK_SIDE
        size = frame.shape[1], frame.shape[0]
        step = np.stack([right, down], axis=1) / _MASK
        onto = np.column_stack([step, centre - step.sum(axis=1) * (_MASK - 1) / 2])
        weight = cv2.warpAffine(mask, onto, size)[..., None]
        moved = centre - scale @ centre + (shift + rng.normal(0, jitter, 2)) * unit
        face_again: Image = cv2.warpAffine(  # type: ignore[assignment]  # it stays uint8
            frame, np.column_stack([scale, moved]), size, borderMode=cv2.BORDER_REFLECT_101
        )
        source, target = (
            (change(face_again, unit), frame) if on_face else (face_again, change(frame, unit))
        )
        targets.append(target)
        fakes.append(np.rint(source * weight + target * (1 - weight)).astype(np.uint8))
    return targets, fakes


def points_of_crop(size: int) -> Points:
    """The points of the face in an aligned crop of that side, about: [5, 2]."""
    unit, points = size / FACE_SIDE, np.array(_UPRIGHT)
    centre = aligned_square(points, 1.0)[0]
    placed: Points = (points - centre) * unit + (size - 1) / 2
    return placed


@dataclass(frozen=True, slots=True)
class _Change:
    """Another sharpness and another colour; sizes are in eye distances."""

    sharpness: Sharpness
    reduced: float
    blur: float
    filter: int
    shift: Floats
    saturation: float
    contrast: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Change:
        sharpness: tuple[Sharpness, ...] = ("as it is", "reduced", "blurred", "sharpened")
        coloured = float(rng.random() < 0.85)
        light, each = rng.uniform(-25, 25), rng.uniform(-20, 20, 3)
        return cls(
            sharpness[rng.choice(4, p=(0.25, 0.40, 0.25, 0.10))],
            float(np.exp(rng.uniform(np.log(0.25), np.log(0.8)))),
            float(rng.uniform(0.5, 2)),
            (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))],
            (coloured * ((rng.random() < 0.7) * light + (rng.random() < 0.7) * each)).astype("f4"),
            1 + coloured * (rng.random() < 0.7) * rng.uniform(-0.3, 0.3),
            1 + coloured * (rng.random() < 0.7) * rng.uniform(-0.1, 0.1),
        )

    def __call__(self, image: Image, unit: float) -> Image:
        """A changed picture; `unit` is the distance of the eyes in pixels."""
        height, width = image.shape[:2]
        pixels = image.astype(np.float32)
        if self.sharpness == "reduced":
            # Never below 16 pixels between the eyes: no generator draws fewer.
            part = min(max(self.reduced, 16 / unit), 1.0)
            size = max(2, round(width * part)), max(2, round(height * part))
            small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            pixels = cv2.resize(small, (width, height), interpolation=self.filter).astype("f4")
        elif self.sharpness == "blurred":
            pixels = cv2.GaussianBlur(pixels, (0, 0), self.blur * max(unit / 60, 0.4)).astype("f4")
        elif self.sharpness == "sharpened":
            pixels = (1.8 * pixels - 0.8 * cv2.GaussianBlur(pixels, (0, 0), 1.5)).astype("f4")
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = (grey + self.saturation * (pixels - grey) - 128) * self.contrast + 128
        changed: Image = np.rint(np.clip(pixels + self.shift, 0, 255)).astype(np.uint8)
        return changed


def _mask(rng: np.random.Generator) -> Floats:
    """Where the changed face shows: float32 [_MASK, _MASK] in 0..1; a wavy superellipse, soft."""
    x, y, wide, high = _PARTS[list(_PARTS)[rng.choice(len(_PARTS), p=_PART_SHARES)]]
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = [rng.normal(0, 0.05 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(1, 6)]
    power, reach = 2 / rng.uniform(2, 3.2), 1 + np.sum(waves, axis=0)

    def along(direction: Any, half: float) -> Any:
        side = np.sign(direction) * np.abs(direction) ** power
        return side * half * rng.uniform(0.8, 1.15) * reach

    outline = np.stack([x + along(np.cos(angle), wide), y + along(np.sin(angle), high)], axis=1)
    mask = np.zeros((_MASK, _MASK), np.float32)
    cv2.fillPoly(mask, [np.rint(outline * _MASK).astype(np.int32)], (1.0,))
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.8, 6)).astype(np.float32)
    if rng.random() < 0.5:  # drawn in, so that nothing of the edge lies outside
        inside = np.where(mask < 0.95, 0, mask).astype(np.float32)
        mask = cv2.GaussianBlur(inside, (0, 0), rng.uniform(0.8, 5)).astype(np.float32)
    return mask * np.float32(_RATIOS[int(rng.integers(len(_RATIOS)))])
