"""The heat map: a tint where the evidence of forgery concentrates, over the pixels it came from.

Single patches are noisy, so patch logits are averaged over neighbourhoods before they become
scores. The calibration was fitted to means over whole pictures; a neighbourhood has far fewer
patches and strays further, so the temperature is widened by the spread of the neighbourhoods.

The tint is made and blended in strips of rows, and in each only over the columns that have any
colour: a frame with little colour costs little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration, PatchGrid
from edge.overlay.geometry import common, grown, is_empty, merged, union
from edge.overlay.lattice import Lattice, Layer, Levels, extended, gather, of_one_scale
from edge.overlay.sprites import blend
from edge.overlay.style import Colour, Hud
from edge.types import Box, FloatArray, Image, Region, Result

HOLD_S = 1 / 8
"""How long a heat map is shown: a new one at every frame would flicker, and making it is slow."""

NEIGHBOURHOOD = 1 / 24
"""Width over which patches are averaged, as a part of the short side; at least a stride."""

MAX_OPACITY = 0.55
LEAST_STRENGTH = 0.3
"""Part of the opacity that remains when the verdict's score is 0."""

_COOLEST = (40, 176, 255)
_HOTTEST = (20, 44, 255)
_STEEPEST = 6.0
"""Logits above the threshold, in temperatures, at which the tint is full."""

# Neighbourhoods of this many cells are smooth enough to continue with every other cell; those of
# fewer than the least are made of parts of cells, as single cells would show their corners.
_FINE_CELLS, _LEAST_CELLS, _PARTS = 6, 2, 4
_LEAST_COUNT = np.float32(1e-4)
_STRIP = 64
"""Rows of pixels blended at once, about."""

_OUTLINE: Colour = (200, 230, 255)
_OUTLINED = 0.28
"""Opacity from which on the tint is outlined: it would be lost on an orange picture."""

# In parts of the frame's short side: cells on which the outline is traced, and the square root of
# the smallest area that has one. On shorter frames it would cover what it surrounds.
_OUTLINE_CELL, _LEAST_OUTLINE, _LEAST_SHORT = 1 / 300, 1 / 16, 180
_ROUNDING = range(-3, 4)
"""Neighbours over which the vertices of an outline are averaged."""

_SUBPIXEL_BITS = 4

Strip = tuple[Box, Image, Image]
"""Where it lies on the picture, what is added and what remains of the picture; see `blend`."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A tint: strips of colour, and closed outlines [n, 2] (x, y) that must not leave the boxes."""

    strips: tuple[Strip, ...]
    outlines: tuple[Points, ...]
    boxes: Sequence[Box]


class HeatCache:
    """Holds the heat map of one source for a moment. Not thread-safe."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._since_s = 0.0
        self._heat: tuple[Heat, ...] = ()

    def of(self, result: Result, hud: Hud) -> tuple[Heat, ...]:
        """The tint of a frame, which may be up to `HOLD_S` old by the clock of the frames."""
        frame = result.frame
        places = tuple((region.xyxy, region.input_hw) for region in result.regions)
        key = (frame.source, frame.image.shape, places, hud.patches, hud.heat_map)
        age_s = frame.time_s - self._since_s
        if result.verdict.state == "no_signal":
            return ()
        if key != self._key or not 0 <= age_s < HOLD_S:
            self._key, self._since_s = key, frame.time_s
            self._heat = tuple(heat_of(result, hud))
        return self._heat


def tint(picture: Image, heats: Iterable[Heat]) -> None:
    """Tint a picture, uint8 [H, W, 3] BGR, in place."""
    for heat in heats:
        for (left, top, right, bottom), light, keep in heat.strips:
            blend(picture[top:bottom, left:right], light, keep)
        for outline in heat.outlines:
            _draw_outline(picture, outline, heat.boxes)


def heat_of(result: Result, hud: Hud) -> Iterator[Heat]:
    """Where a frame leans fake: one tint for the regions of each scale that have patch logits."""
    if hud.patches is None or not hud.heat_map:
        return
    palette = _palette(hud.calibration, _strength(result, hud.calibration))
    height, width = result.frame.image.shape[:2]
    short = min(height, width)
    frame = (0, 0, width, height)
    for regions in of_one_scale(result.regions):
        levels, lattice = _levels(regions, hud.patches, hud.calibration, short * NEIGHBOURHOOD)
        if levels.any():
            boxes = merged([region.xyxy for region in regions])
            around = union(boxes)
            # A line that the edge of the cells cuts runs along that edge, so they reach beyond.
            cells = extended(levels, lattice, grown(around, round(short * NEIGHBOURHOOD)))
            strips = tuple(_strips(*cells, common(around, frame), boxes, palette))
            outlines = tuple(_outlines(*cells, around, palette, short))
            yield Heat(strips, outlines, [common(box, frame) for box in boxes])


def _strength(result: Result, calibration: Calibration) -> float:
    """How much of the tint shows: all of it from the threshold on, a part below."""
    score = result.verdict.score
    if score is None or not math.isfinite(score):
        return 1.0
    return float(np.interp(score, [0, calibration.threshold], [LEAST_STRENGTH, 1]))


def _levels(
    regions: Sequence[Region], grid: PatchGrid, calibration: Calibration, width: float
) -> tuple[Levels, Lattice]:
    """How far each cell leans fake: 0 at the threshold or below, 255 at `_STEEPEST` above it."""
    layer = gather(regions, grid)
    cell = max(layer.lattice.cell)
    if width < _LEAST_CELLS * cell:
        width = max(width, cell)
        layer = layer.divided(math.ceil(cell * _PARTS / width))
    smooth = _smooth(layer, width)
    total, count = np.moveaxis(smooth.cells, 2, 0)
    mean = np.divide(total, np.maximum(count, _LEAST_COUNT), dtype=np.float32)
    seen = (count > _LEAST_COUNT).astype(np.uint8)
    _, spread = cv2.meanStdDev(mean, mask=seen)
    temperature = math.hypot(calibration.temperature, float(spread[0, 0]))
    start = calibration.bias + temperature * _logit(calibration.threshold)
    gain = 255 / (_STEEPEST * temperature)
    levels = np.empty(mean.shape, np.uint8)
    cv2.addWeighted(mean, gain, mean, 0, -start * gain, dst=levels, dtype=cv2.CV_8U)
    return levels * seen, smooth.lattice


def _smooth(layer: Layer, width: float) -> Layer:
    """Average under a tent that is `width` pixels wide at half its height."""
    # Two boxes make a tent, at a cost that does not grow with its width.
    once, lattice = _box(layer.cells, layer.lattice, width), layer.lattice
    if width >= _FINE_CELLS * max(lattice.cell):
        # Half as many cells each way about the same centres: what lay between two lies on both.
        across, down = lattice.cell
        once = np.ascontiguousarray(once[::2, ::2])
        corner = lattice.left - across / 2, lattice.top - down / 2
        lattice = Lattice(*corner, (2 * across, 2 * down))
    return Layer(_box(once, lattice, width), lattice)


def _box(source: FloatArray, lattice: Lattice, width: float) -> FloatArray:
    across, down = (2 * round(width / 2 / side) + 1 for side in lattice.cell)
    out = np.empty_like(source)
    cv2.blur(source, (across, down), dst=out, borderType=cv2.BORDER_REPLICATE)
    return out


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _palette(calibration: Calibration, strength: float) -> Image:
    """Tint of each level, colour times opacity: uint8 [1, 256, 3] BGR.

    Red is full in every colour, so that the red of a tint is its opacity.
    """
    above = np.linspace(0, _STEEPEST, 256) + _logit(calibration.threshold)
    score = 1 / (1 + np.exp(-above))
    lean = np.clip((score - calibration.threshold) / (1 - calibration.threshold), 0, 1)[:, None]
    colour = np.array(_COOLEST) * (1 - lean) + np.array(_HOTTEST) * lean
    return np.rint(colour * lean * MAX_OPACITY * strength).astype(np.uint8)[None]


def _strips(
    levels: Levels, lattice: Lattice, visible: Box, boxes: Sequence[Box], palette: Image
) -> Iterator[Strip]:
    """The tint inside the boxes, from top to bottom; blended once where they overlap."""
    step = max(1, round(_STRIP / lattice.cell[1]))
    for first in range(0, len(levels), step):
        strip = _strip(levels, lattice, (first, min(first + step, len(levels))), palette)
        if strip is None:
            continue
        light, bounds = strip
        part = common(bounds, visible)
        if not is_empty(part):
            light = light[_inside(part, bounds)]
            light = light if len(boxes) == 1 else _only_in(boxes, light, part)
            keep = np.empty_like(light)
            cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(light, 2)), cv2.COLOR_GRAY2BGR, keep)
            yield part, light, keep


def _strip(
    levels: Levels, lattice: Lattice, rows: tuple[int, int], palette: Image
) -> tuple[Image, Box] | None:
    """The colour of some rows of cells at full size, and where it belongs; None for no colour."""
    # One row and column more on each side, which the interpolation needs.
    above, below = max(0, rows[0] - 1), min(len(levels), rows[1] + 1)
    part = levels[above:below]
    x, _, width, _ = cv2.boundingRect(part)
    if width == 0:
        return None
    first, last = max(0, x - 1), min(levels.shape[1], x + width + 1)
    left, right = lattice.column(first), lattice.column(last)
    begin, end = lattice.row(above), lattice.row(below)
    hot = part[:, first:last]
    size = (max(1, right - left), max(1, end - begin))
    light = np.empty((size[1], size[0], 3), np.uint8)
    small = cv2.LUT(cv2.merge([hot, hot, hot]), palette)
    cv2.resize(small, size, dst=light, interpolation=cv2.INTER_LINEAR)
    top, bottom = lattice.row(rows[0]), lattice.row(rows[1])
    return light[top - begin : bottom - begin], (left, top, right, bottom)


def _only_in(boxes: Sequence[Box], light: Image, part: Box) -> Image:
    """The tint of a part of the frame where a box is, nothing elsewhere."""
    shown = np.zeros_like(light)
    for box in boxes:
        if not is_empty(shared := common(box, part)):
            inside = _inside(shared, part)
            shown[inside] = light[inside]
    return shown


def _inside(part: Box, bounds: Box) -> tuple[slice, slice]:
    """Where a box lies in a picture that covers `bounds`."""
    left, top = bounds[:2]
    return np.s_[part[1] - top : part[3] - top, part[0] - left : part[2] - left]


def _outlines(
    levels: Levels, lattice: Lattice, around: Box, palette: Image, short: int
) -> Iterator[Points]:
    """Closed lines around where the tint is strong, unless there is no room for them."""
    least = int(np.searchsorted(palette[0, :, 2], round(_OUTLINED * 255)))
    room = min(around[2] - around[0], around[3] - around[1])
    if 2 * room < short or short < _LEAST_SHORT or least >= len(palette[0]):
        return
    extent = np.array(levels.shape[::-1]) * lattice.cell
    size = np.maximum(1, np.rint(extent / (short * _OUTLINE_CELL))).astype(int)
    fine = np.asarray(cv2.resize(levels, size.tolist(), interpolation=cv2.INTER_LINEAR))
    cell = extent / size
    smallest = (short * _LEAST_OUTLINE) ** 2 / cell.prod()
    strong = (fine >= least).view(np.uint8)
    for contour in cv2.findContours(strong, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(contour) >= smallest:
            shifted = [np.roll(contour[:, 0], shift, axis=0) for shift in _ROUNDING]
            vertices = np.mean(shifted, axis=0)[::3]  # without the steps of the cells
            yield (vertices + 0.5) * cell + (lattice.left, lattice.top)


def _draw_outline(picture: Image, vertices: Points, boxes: Sequence[Box]) -> None:
    thickness = max(1, round(0.0016 * min(picture.shape[:2])))
    left, top = np.floor(vertices.min(0)).astype(int) - thickness
    right, bottom = np.ceil(vertices.max(0)).astype(int) + thickness
    for box in boxes:
        if not is_empty(common(box, (left, top, right, bottom))):
            inside = np.rint((vertices - box[:2]) * 2**_SUBPIXEL_BITS).astype(np.int32)
            view = picture[box[1] : box[3], box[0] : box[2]]
            cv2.polylines(view, [inside], True, _OUTLINE, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
