"""The heat map: a tint where the evidence of forgery concentrates, over the pixels it came from.

Single patches are noisy, and some are extreme. So patch logits are averaged over neighbourhoods of
about 1/24 of the frame's short side, or of a stride where that is wider, without those that are not
finite, and only then turned into scores. The calibration was fitted to means over whole pictures; a
neighbourhood has far fewer patches and strays further, so the temperature is widened by the spread
of the neighbourhoods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration, PatchGrid
from edge.overlay.contours import draw_contours
from edge.overlay.geometry import grown, merged, union
from edge.overlay.hud import Hud
from edge.overlay.lattice import (
    Lattice,
    Layer,
    Levels,
    divided,
    extended,
    gather,
    of_one_scale,
)
from edge.overlay.wash import Strip, lay, wash
from edge.types import Box, FloatArray, Image, Region, Result

NEIGHBOURHOOD = 1 / 24
"""Width over which patches are averaged, as a part of the frame's short side."""

MAX_OPACITY = 0.55
_OUTLINED = 0.28
"""Opacity from which on the tint is outlined: it would be lost on an orange picture."""

LEAST_STRENGTH = 0.3
"""Part of the opacity that remains when the verdict's score is 0."""

_COOLEST = (40, 176, 255)
_HOTTEST = (20, 44, 255)
_STEEPEST = 6.0
"""Logits above the threshold, in temperatures, at which the tint is full."""

_FINE_CELLS = 6
"""Neighbourhoods of so many cells or more are smooth enough to go on with every other cell."""

_LEAST_CELLS = 2
_PARTS = 4
"""A neighbourhood of fewer than the least number of cells is made of so many parts of cells; the
tint of single cells would show their corners."""

_LEAST_COUNT = np.float32(1e-4)


@dataclass(frozen=True, slots=True, eq=False)
class _Smooth:
    """Mean logit around each cell.

    Attributes:
        mean: float32 [h, w].
        seen: uint8 [h, w], 1 where there was any evidence and 0 where not; None for everywhere.
    """

    mean: FloatArray
    seen: npt.NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A tint that can be laid over a frame.

    Attributes:
        strips: the colour.
        outlined: levels, where their cells lie, the boxes to stay in, and the level to trace.
    """

    strips: Iterable[Strip]
    outlined: tuple[Levels, Lattice, Sequence[Box], int] | None


def tint(picture: Image, heats: Iterable[Heat]) -> None:
    """Tint a picture, uint8 [H, W, 3] BGR, in place."""
    for heat in heats:
        lay(picture, heat.strips)
        if heat.outlined is not None:
            draw_contours(picture, *heat.outlined)


def heat_of(result: Result, hud: Hud) -> Iterator[Heat]:
    """Where a frame leans fake; made as it is laid, so that what is in between stays in the cache.

    Args:
        result: regions with patch logits; others are passed over.
        hud: where the patches lie and what their logits mean.
    """
    if hud.patches is None or not hud.heat_map:
        return
    palette = _palette(hud.calibration, _strength(result, hud.calibration))
    height, width = result.frame.image.shape[:2]
    short = min(height, width)
    for regions in of_one_scale(result.regions):
        smooth, lattice = _smooth(*_neighbourhoods(regions, hud.patches, short * NEIGHBOURHOOD))
        levels = _levels(smooth, hud.calibration)
        if levels.any():
            boxes = merged([region.xyxy for region in regions])
            around = grown(union(boxes), round(short * NEIGHBOURHOOD))
            levels, lattice = extended(levels, lattice, around)
            strips = wash((height, width), levels, lattice, boxes, palette)
            least = _least_outlined(palette, boxes, short)
            yield Heat(strips, None if least is None else (levels, lattice, boxes, least))


def _least_outlined(palette: Image, boxes: Sequence[Box], short: int) -> int | None:
    """The level to draw a line around, unless none is so strong, or there is no room for it."""
    least = int(np.searchsorted(palette[0, :, 2], round(_OUTLINED * 255)))
    left, top, right, bottom = union(boxes)
    fits = 2 * min(right - left, bottom - top) >= short
    return least if fits and least < len(palette[0]) else None


def _strength(result: Result, calibration: Calibration) -> float:
    """How much of the tint shows: all of it from the threshold on, a part below."""
    score = result.verdict.score
    if score is None or not math.isfinite(score):
        return 1.0
    return LEAST_STRENGTH + (1 - LEAST_STRENGTH) * min(1.0, max(0.0, score) / calibration.threshold)


def _neighbourhoods(
    regions: Sequence[Region], grid: PatchGrid, width: float
) -> tuple[Layer, Lattice, float]:
    """Patch logits in cells that a neighbourhood has room for, and the neighbourhood's width."""
    layer, lattice = gather(regions, grid)
    cell = max(lattice.cell)
    if width >= _LEAST_CELLS * cell:
        return layer, lattice, width
    width = max(width, cell)
    return *divided(layer, lattice, width / _PARTS), width


def _smooth(layer: Layer, lattice: Lattice, width: float) -> tuple[_Smooth, Lattice]:
    """Average under a tent that is `width` pixels wide at half its height."""
    if layer.count is None:
        mean, coarse = _tent(layer.total, lattice, width, cv2.BORDER_REPLICATE)
        return _Smooth(mean, None), coarse
    total, coarse = _tent(layer.total, lattice, width, cv2.BORDER_CONSTANT)
    count, _ = _tent(layer.count, lattice, width, cv2.BORDER_CONSTANT)
    mean = np.divide(total, np.maximum(count, _LEAST_COUNT), dtype=np.float32)
    return _Smooth(mean, (count > _LEAST_COUNT).astype(np.uint8)), coarse


def _tent(
    source: FloatArray, lattice: Lattice, width: float, border: int
) -> tuple[FloatArray, Lattice]:
    # Two boxes make a tent, at a cost that does not grow with its width.
    once = _box(source, lattice, width, border)
    if width >= _FINE_CELLS * max(lattice.cell):
        once, lattice = _every_other(once, lattice)
    return _box(once, lattice, width, border), lattice


def _every_other(source: FloatArray, lattice: Lattice) -> tuple[FloatArray, Lattice]:
    """Half as many cells each way, twice as wide, about the same centres.

    Nothing moves: what lay between two of them now lies evenly on both.
    """
    across, down = lattice.cell
    wide = Lattice(lattice.left - across / 2, lattice.top - down / 2, (2 * across, 2 * down))
    return np.ascontiguousarray(source[::2, ::2]), wide


def _box(source: FloatArray, lattice: Lattice, width: float, border: int) -> FloatArray:
    across, down = (2 * round(width / 2 / side) + 1 for side in lattice.cell)
    out = np.empty_like(source)
    cv2.blur(source, (across, down), dst=out, borderType=border)
    return out


def _levels(smooth: _Smooth, calibration: Calibration) -> Levels:
    """How far each cell leans fake: 0 at the threshold or below, 255 at `_STEEPEST` above it."""
    _, spread = cv2.meanStdDev(smooth.mean, mask=smooth.seen)
    temperature = math.hypot(calibration.temperature, float(spread[0, 0]))
    start = calibration.bias + temperature * _logit(calibration.threshold)
    gain = 255 / (_STEEPEST * temperature)
    levels = np.empty(smooth.mean.shape, np.uint8)
    cv2.addWeighted(smooth.mean, gain, smooth.mean, 0, -start * gain, dst=levels, dtype=cv2.CV_8U)
    return levels if smooth.seen is None else levels * smooth.seen


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _palette(calibration: Calibration, strength: float) -> Image:
    """Tint of each level, colour times opacity: uint8 [1, 256, 3] BGR."""
    above = np.linspace(0, _STEEPEST, 256) + _logit(calibration.threshold)
    score = 1 / (1 + np.exp(-above))
    lean = np.clip((score - calibration.threshold) / (1 - calibration.threshold), 0, 1)[:, None]
    colour = np.array(_COOLEST) * (1 - lean) + np.array(_HOTTEST) * lean
    return np.rint(colour * lean * MAX_OPACITY * strength).astype(np.uint8)[None]
