"""Patch logits on the frame: which pixels each came from, and one lattice for many regions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.manifest import PatchGrid
from edge.types import Box, FloatArray, Region

_LARGEST_LOGIT = 1e6
"""Logits are clipped here, so that no sum of them overflows."""

_TOLERANCE = 0.02
"""Maps that lie off the lattice by less than this part of a cell are taken to lie on it."""

Pair = tuple[float, float]
"""Across, down."""

Levels = npt.NDArray[np.uint8]
"""A strength for each cell: uint8 [h, w]."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where cells lie on the frame; a cell is a stride's worth of pixels about a patch's centre.

    The first cell begins at `left` and `top`; `cell` is its width and height, all in pixels.
    """

    left: float
    top: float
    cell: Pair

    def column(self, cell: int) -> int:
        """The pixel column where a column of cells begins."""
        return math.floor(self.left + cell * self.cell[0] + 0.5)

    def row(self, cell: int) -> int:
        """The pixel row where a row of cells begins."""
        return math.floor(self.top + cell * self.cell[1] + 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Patch logits summed up in cells: float32 [h, w, 2], the finite ones and how many they are."""

    cells: FloatArray
    lattice: Lattice

    def divided(self, parts: int) -> Layer:
        """The same, each cell cut into parts × parts of its value."""
        across, down = self.lattice.cell
        lattice = Lattice(self.lattice.left, self.lattice.top, (across / parts, down / parts))
        return Layer(self.cells.repeat(parts, axis=0).repeat(parts, axis=1), lattice)


def of_one_scale(regions: Sequence[Region]) -> list[list[Region]]:
    """The regions that have a patch map, grouped so that each group shares a lattice."""
    groups: dict[Pair, list[Region]] = defaultdict(list)
    for region in regions:
        patches = region.evidence.patch_logits
        if patches is not None and patches.size and min(_scale(region)) > 0:
            groups[_scale(region)].append(region)
    return list(groups.values())


def gather(regions: Sequence[Region], grid: PatchGrid) -> Layer:
    """The patch logits of one region or more, of one scale, on one lattice; overlaps are summed."""
    across, down = _scale(regions[0])
    cell = (across * grid.stride, down * grid.stride)
    inset = _first_cell(grid)
    starts = [(r.xyxy[0] + inset * across, r.xyxy[1] + inset * down) for r in regions]
    lattice = Lattice(min(x for x, _ in starts), min(y for _, y in starts), cell)
    layers = [_finite(_inner_patches(region, grid), lattice) for region in regions]
    if len(layers) == 1:
        return layers[0]
    places = [((x - lattice.left) / cell[0], (y - lattice.top) / cell[1]) for x, y in starts]
    return _sum_up(layers, places, _refinement(places, cell))


def extended(levels: Levels, lattice: Lattice, box: Box) -> tuple[Levels, Lattice]:
    """Repeat the outermost cells, whose centres lie inside their region, until they cover a box."""
    rows, columns = levels.shape
    across, down = lattice.cell
    lacking = (
        (lattice.top - box[1]) / down,
        (box[3] - lattice.top) / down - rows,
        (lattice.left - box[0]) / across,
        (box[2] - lattice.left) / across - columns,
    )
    top, bottom, left, right = (max(0, math.ceil(cells)) for cells in lacking)
    repeated = np.pad(levels, ((top, bottom), (left, right)), mode="edge")
    return repeated, Lattice(lattice.left - left * across, lattice.top - top * down, lattice.cell)


def _scale(region: Region) -> Pair:
    """Pixels of the frame to a pixel of the model's input."""
    left, top, right, bottom = region.xyxy
    height, width = region.input_hw
    return (right - left) / width, (bottom - top) / height


def _borders_every_layer(grid: PatchGrid) -> bool:
    """Whether a network has zeros around every layer's map, and not around the picture alone."""
    # Its patches look past the edge by a stride or more, most of them on all sides.
    return -grid.offset >= grid.stride


def _first_cell(grid: PatchGrid) -> float:
    """Left edge of the first cell in pixels of the model's input; its top edge likewise.

    With zeros around every layer's map, a map of ⌊side / stride⌋ cells covers the picture from its
    corner on: the zeros lie on one side only where a layer takes every other pixel, which shifts
    the theoretical field of a patch and not what weighs in it.
    """
    if _borders_every_layer(grid):
        return 0.0
    return grid.offset + (grid.receptive_field - grid.stride) / 2


def _inner_patches(region: Region, grid: PatchGrid) -> FloatArray:
    """The patch logits of a region; those that look past its edge are given their neighbour's.

    There a padded filter meets the step from the picture to the padding, which is no evidence.
    A network with zeros around every layer's map has learned with them.
    """
    patches = np.asarray(region.evidence.patch_logits, np.float32)
    if _borders_every_layer(grid):
        return patches
    for axis, size in enumerate(region.input_hw):
        count = patches.shape[axis]
        first = max(0, math.ceil(-grid.offset / grid.stride))
        last = min(count - 1, (size - grid.receptive_field - grid.offset) // grid.stride)
        if first <= last and (first > 0 or last < count - 1):
            patches = patches.take(np.clip(np.arange(count), first, last), axis)
    return patches


def _finite(patches: FloatArray, lattice: Lattice) -> Layer:
    """Patch logits, without those that are not finite."""
    finite = np.isfinite(patches)
    kept = np.clip(np.where(finite, patches, np.float32(0)), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    return Layer(np.stack([kept, finite], axis=2, dtype=np.float32), lattice)


def _refinement(places: Sequence[Pair], cell: Pair) -> int:
    """The number of parts to cut cells into, no finer than a pixel, for places to lie on parts."""
    finest = max(1, math.ceil(max(cell)))
    for parts in range(1, finest):
        if all(abs(v * parts - round(v * parts)) < _TOLERANCE for place in places for v in place):
            return parts
    return finest


def _sum_up(layers: Sequence[Layer], places: Sequence[Pair], parts: int) -> Layer:
    """Add layers up, each at its place in cells; the cells of the sum are `parts` times smaller."""
    fine = [layer.divided(parts) for layer in layers]
    starts = [(round(y * parts), round(x * parts)) for x, y in places]
    ends = [np.add(start, each.cells.shape[:2]) for start, each in zip(starts, fine, strict=True)]
    cells = np.zeros((*np.max(ends, axis=0), 2), np.float32)
    for layer, (top, left), (bottom, right) in zip(fine, starts, ends, strict=True):
        cells[top:bottom, left:right] += layer.cells
    return Layer(cells, fine[0].lattice)
