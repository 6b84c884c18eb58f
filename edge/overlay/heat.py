"""The heat map: places that score above the threshold, on the scale of the verdict itself.

Each place is given the score that a whole picture of its kind would have, averaged over a
neighbourhood because single patches are noisy. Nothing below the threshold is tinted, and nothing
where the verdict is `real`; where it is `uncertain` the tint is half as strong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration, PatchGrid
from edge.overlay.geometry import common, is_empty, union
from edge.overlay.sprites import blend
from edge.overlay.style import Colour, Hud
from edge.types import Box, FloatArray, Image, Region, Result, State

HOLD_S = 1 / 8
"""How long a heat map is shown: a new one at every frame would flicker, and making it is slow."""

NEIGHBOURHOOD = 1 / 10
"""Width over which places are averaged, as a part of the frame's short side."""

OPACITY: dict[State, float] = {"fake": 0.55, "uncertain": 0.28}
"""Of the full tint, by the verdict on what it belongs to."""

BORDER = 2
"""Outermost rings of cells that fade out, of a network with zeros around every layer's map.

Measured on `lite0-levels` with the middle of 34 pictures, once with the picture around it and once
alone: the zeros move the outermost ring by 13 logits on average and the corners by 20 to 26, the
next ring by 3.4, those further in by 2 and less. All move the same way, towards fake. The rings
take the values of their inner neighbours, and fade towards the edge since nothing is known there.
"""

FULL = 6.0
"""Logits above the threshold, in temperatures, from which on the tint is full."""

_COOLEST = (40, 176, 255)
_HOTTEST = (20, 44, 255)
_OUTLINE: Colour = (200, 230, 255)
_OUTLINED = 0.45
"""Part of `FULL` from which on a place is outlined: a tint alone is lost on an orange picture."""

_FAINTEST = 12
"""The strongest level of a tint that nobody would see, which has no legend either."""

_CANVAS = 180
"""Most cells along the short side of the map that regions are gathered on."""

_LEAST_OUTLINE, _LEAST_SHORT = 1 / 16, 180
"""Square root of the smallest area that has an outline, in short sides; the shortest of those."""

_BEYOND = 6
"""Cells beyond the edge to which outlines go on."""

_LARGEST_LOGIT = 1e6
_SUBPIXEL_BITS = 4

Points = npt.NDArray[np.int32]
Levels = npt.NDArray[np.uint8]


class Heat(NamedTuple):
    """A tint: where it lies, what is added and what remains of the picture; see `blend`."""

    box: Box
    light: Image
    keep: Image

    def draw(self, picture: Image) -> None:
        """Tint a picture, uint8 [H, W, 3] BGR, in place."""
        left, top, right, bottom = self.box
        blend(picture[top:bottom, left:right], self.light, self.keep)


class HeatCache:
    """Holds the heat map of one source for a moment. Not thread-safe."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._since_s = 0.0
        self._heats: tuple[Heat, ...] = ()

    def of(self, result: Result, hud: Hud) -> tuple[Heat, ...]:
        """The tints of a frame, which may be up to `HOLD_S` old by the clock of the frames."""
        frame = result.frame
        places = tuple((region.xyxy, _state(region, result)) for region in _tinted(result))
        key = (frame.source, frame.image.shape, places, hud.patches, hud.heat_map)
        if key != self._key or not 0 <= frame.time_s - self._since_s < HOLD_S:
            self._key, self._since_s = key, frame.time_s
            self._heats = tuple(heats_of(result, hud))
        return self._heats


def palette(opacity: float) -> Image:
    """The tint of each level, colour times opacity, from the threshold on: uint8 [1, 256, 3] BGR.

    Red is full in every colour, so that the red of a tint is its opacity.
    """
    lean = np.linspace(0, 1, 256)[:, None]
    colour = np.array(_COOLEST) * (1 - lean) + np.array(_HOTTEST) * lean
    return np.rint(colour * lean**0.7 * opacity).astype(np.uint8)[None]


def heats_of(result: Result, hud: Hud) -> Iterator[Heat]:
    """Where a frame scores above the threshold: a tint for what is fake, one for the uncertain."""
    if hud.patches is None or not hud.heat_map or result.verdict.state == "no_signal":
        return
    height, width = result.frame.image.shape[:2]
    for state, opacity in OPACITY.items():
        regions = [
            region
            for region in _tinted(result)
            if _state(region, result) == state
            and region.evidence.patch_logits is not None
            and region.evidence.patch_logits.size
            and not is_empty(common(region.xyxy, (0, 0, width, height)))
        ]
        if regions:
            yield from _heat(regions, hud.patches, hud.calibration, (height, width), opacity)


def _tinted(result: Result) -> Sequence[Region]:
    """The parts of the picture; its faces where they alone were judged, and so by its model."""
    return [region for region in result.regions if region.track is None] or result.regions


def _state(region: Region, result: Result) -> State:
    return (region.verdict or result.picture or result.verdict).state


def _heat(
    regions: Sequence[Region],
    grid: PatchGrid,
    calibration: Calibration,
    frame_hw: tuple[int, int],
    opacity: float,
) -> Iterator[Heat]:
    boxes = [common(region.xyxy, (0, 0, frame_hw[1], frame_hw[0])) for region in regions]
    around = left, top, right, bottom = union(boxes)
    size = right - left, bottom - top
    short = min(frame_hw)
    scale = min(1.0, _CANVAS / short)
    cells = _levels(regions, grid, calibration, around, scale, short * NEIGHBOURHOOD * scale)
    if cells.max() < _FAINTEST:
        return
    colours = palette(opacity)[0][cells]
    light, keep = (
        np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        for each in (colours, np.repeat(255 - colours[..., 2:], 3, axis=2))
    )
    if opacity == OPACITY["fake"]:
        lines, line = list(_outlines(cells, size, short)), max(1, round(0.0016 * short))
        cv2.polylines(light, lines, True, _OUTLINE, line, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(keep, lines, True, (0, 0, 0), line, cv2.LINE_AA, _SUBPIXEL_BITS)
    if len(boxes) > 1:
        inside = np.zeros(light.shape[:2], np.uint8)
        for box in boxes:
            inside[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = 255
        light[inside == 0], keep[inside == 0] = 0, 255
    yield Heat(around, light, keep)


def _levels(
    regions: Sequence[Region],
    grid: PatchGrid,
    calibration: Calibration,
    around: Box,
    scale: float,
    width: float,
) -> Levels:
    """The regions on one map with `scale` cells to a pixel: 0 at the threshold, 255 at `FULL`."""
    size = tuple(max(1, round((around[i + 2] - around[i]) * scale)) for i in (0, 1))
    total, count, fade = (np.zeros((size[1], size[0]), np.float32) for _ in range(3))
    for region in regions:
        patches = inner_patches(region, grid)
        # From a cell's middle to pixels of the region's input, of the frame, to those of the map.
        steps, starts = [], []
        for axis in (0, 1):
            middle, step = place_of_cells(region, grid, axis)
            steps.append(step * scale)
            starts.append((middle - around[axis]) * scale - 0.5)
        if (shrunk := round(1 / max(steps))) > 1:
            patches = np.asarray(cv2.blur(patches, (shrunk, shrunk)), np.float32)
        place = np.array([[steps[0], 0, starts[0]], [0, steps[1], starts[1]]])
        edges = [(region.xyxy[i] - around[i % 2]) * scale for i in range(4)]
        rows, columns = (
            _ramp(edges[axis], edges[axis + 2], size[axis], _faded(region, grid) * steps[axis])
            for axis in (1, 0)
        )
        fade = np.maximum(fade, np.outer(rows, columns).astype(np.float32))
        seen = np.outer(rows > 0, columns > 0)
        moved = cv2.warpAffine(
            patches, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        total += moved * seen
        count += seen
    sigma = max(0.5, width / 2.35)  # of a bell that is `width` cells wide at half its height
    smooth, weight = (
        np.asarray(cv2.GaussianBlur(m, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
        for m in (total, count)
    )
    threshold = math.log(calibration.threshold / (1 - calibration.threshold))
    evidence = (smooth / np.maximum(weight, 1e-4) - calibration.bias) / calibration.temperature
    levels: Levels = (np.clip((evidence - threshold) / FULL, 0, 1) * 255 * fade).astype(np.uint8)
    return levels


def _ramp(first: float, last: float, size: int, width: float) -> npt.NDArray[np.float64]:
    """From 0 outside of first..last to 1 at `width` cells inside, at each of `size` cells."""
    inside = np.minimum(np.arange(size) + 1 - first, last - np.arange(size))
    return np.asarray(np.clip(inside / max(width, 1e-6), 0, 1))


def _faded(region: Region, grid: PatchGrid) -> int:
    """The rings of a region that fade out: none where there would be little else."""
    patches = region.evidence.patch_logits
    roomy = patches is not None and min(patches.shape) > 2 * BORDER
    return BORDER if borders_every_layer(grid) and roomy else 0


def borders_every_layer(grid: PatchGrid) -> bool:
    """Whether a network has zeros around every layer's map, and not around the picture alone."""
    # Its patches look past the edge by a stride or more, most of them on all sides.
    return -grid.offset >= grid.stride


def place_of_cells(region: Region, grid: PatchGrid, axis: int) -> tuple[float, float]:
    """Middle of a region's first cell, and from one to the next, in pixels of the frame.

    A cell is a stride's worth of pixels about a patch's centre. With zeros around every layer's
    map, a map of ⌊side / stride⌋ cells covers the picture from its corner on: the zeros lie on one
    side only where a layer takes every other pixel, which shifts the theoretical field of a patch
    and not what weighs in it. `axis` is 0 across the picture and 1 down it.
    """
    ratio = (region.xyxy[axis + 2] - region.xyxy[axis]) / region.input_hw[1 - axis]
    middle = grid.offset + grid.receptive_field / 2  # in pixels of the model's input
    if borders_every_layer(grid):
        middle = grid.stride / 2
    return region.xyxy[axis] + middle * ratio, grid.stride * ratio


def inner_patches(region: Region, grid: PatchGrid) -> FloatArray:
    """The patch logits of a region, float32 [h, w]; what padding moves takes its neighbour's.

    Their mean stays that of the region's evidence, so that what is shown agrees with the verdict.
    What is not finite becomes the mean of the rest.
    """
    patches = np.asarray(region.evidence.patch_logits, np.float32)
    finite = np.isfinite(patches)
    mean = (
        float(np.clip(patches[finite], -_LARGEST_LOGIT, _LARGEST_LOGIT).mean())
        if (finite.any())
        else -_LARGEST_LOGIT
    )
    patches = np.clip(np.where(finite, patches, mean), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    inner = patches
    for axis, size in enumerate(region.input_hw):
        count = patches.shape[axis]
        if borders_every_layer(grid):
            first, last = _faded(region, grid), count - 1 - _faded(region, grid)
        else:
            first = max(0, math.ceil(-grid.offset / grid.stride))
            last = min(count - 1, (size - grid.receptive_field - grid.offset) // grid.stride)
        if first <= last:
            inner = inner.take(range(first, last + 1), axis)
            patches = patches.take(np.clip(np.arange(count), first, last), axis)
    return patches + np.float32(mean - float(inner.mean(dtype=np.float64)))


def _outlines(cells: Levels, size: tuple[int, int], short: int) -> Iterator[Points]:
    """Closed lines around where the tint is strong, in fixed-point pixels of the tint's box."""
    if short < _LEAST_SHORT:
        return
    scale = np.array(size) / cells.shape[::-1]
    smallest = (short * _LEAST_OUTLINE) ** 2 / scale.prod()
    # A line that the edge of the tint cuts would run along that edge, so it goes on beyond.
    strong = np.pad(cells >= 255 * _OUTLINED, _BEYOND, "edge").astype(np.uint8)
    for contour in cv2.findContours(strong, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(contour) >= smallest:
            smooth = np.mean([np.roll(contour[:, 0], shift, axis=0) for shift in range(-3, 4)], 0)
            yield np.rint((smooth[::3] + 0.5 - _BEYOND) * scale * 2**_SUBPIXEL_BITS).astype(
                np.int32
            )
