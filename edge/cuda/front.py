"""The front end on the GPU: regions of a frame that lies there become an engine's input there.

It gives what `edge.regions` gives on the CPU. Where each pixel comes from and with what weight is
worked out here, once for each geometry; `front.cu` does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL

from edge.errors import GpuError
from edge.types import Box, PixelFormat

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, DeviceMemory, Dim3, Kernel, MirroredArray

FRACTION_BITS = 22
"""Of a weight: Pillow's PRECISION_BITS, 32 - 8 - 2."""

_RECORD = 7  # ints of a box in a plan

_FORMATS: tuple[PixelFormat, ...] = ("bgr", "nv12", "nv12_709")
"""In the order of their numbers in `front.cu`."""

# A warp reads 32 levels side by side; both blocks are whole warps.
_PIXELS: Dim3 = (32, 8, 1)
_LEVELS: Dim3 = (96, 4, 1)

Ints = npt.NDArray[np.int32]


_Launch = tuple["Kernel", "Dim3", "Dim3", Sequence[np.generic]]
"""Grid, block and arguments; the address of the frame goes before these, the output's behind."""


@dataclass(slots=True, eq=False)
class Placement:
    """Where boxes of a frame go, see `Front.place`, with the tables for it on the GPU."""

    input_hw: tuple[int, int]
    _memory: Sequence[DeviceMemory | MirroredArray]
    _launches: Sequence[_Launch]

    def run(self, frame_pointer: int, out_pointer: int) -> None:
        """Put into the stream what makes the pictures, uint8 [N, H, W, 3] BGR in the order of the
        boxes, from a frame; addresses on the GPU.
        """
        frame, out = np.uint64(frame_pointer), np.uint64(out_pointer)
        height, width = (np.int32(side) for side in self.input_hw)
        for kernel, grid, block, given in self._launches:
            kernel.launch(grid, block, (frame, *given, out, height, width))

    def free(self) -> None:
        """Give back its memory, which nothing in the stream may need any more."""
        for memory in self._memory:
            memory.free()


class Front:
    """Cuts and resizes on the GPU; used on the owning thread of its `Cuda`, which is entered.

    Raises:
        GpuError: the kernels cannot be compiled or loaded.
    """

    def __init__(self, cuda: Cuda) -> None:
        source = resources.files("edge.cuda").joinpath("front.cu").read_text(encoding="utf-8")
        self._cuda = cuda
        self._cut, self._across, self._down = (
            cuda.kernel(source, name) for name in ("cut", "squeeze_across", "squeeze_down")
        )

    def place(
        self,
        frame_hw: tuple[int, int],
        pixel_format: PixelFormat,
        boxes: Sequence[Box],
        input_hw: tuple[int, int],
    ) -> Placement:
        """The tables for a geometry, made and put into the stream; the caller frees them.

        Args:
            frame_hw: height and width of the frame in pixels.
            pixel_format: as of `edge.types.PixelFormat`, without gaps; NV12 has even sides.
            boxes: one or more of one size, xyxy in pixels of the frame, inside it and not empty.
            input_hw: height and width that each is resized to.

        Raises:
            GpuError: no memory.
        """
        (height, width), (out_height, out_width) = _size_of(boxes[0]), input_hw
        down_first = _goes_down_first((height, width), input_hw)
        between_hw = (out_height, width) if down_first else (height, out_width)
        slot = between_hw[0] * between_hw[1] * 3 if (height, width) != input_hw else 0
        table = _plan(boxes, input_hw)
        # Its page-locked side stays with the placement: the stream may copy from it at any time.
        tables = self._cuda.mirrored(table.shape, np.int32)
        memory: list[DeviceMemory | MirroredArray] = [tables]
        try:
            if slot:
                memory.append(self._cuda.allocate(len(boxes) * slot))
            tables.array[:] = table
            tables.copy_in()
        except GpuError:
            for block in memory:
                block.free()
            raise
        numbers = (*frame_hw, _FORMATS.index(pixel_format))
        given: list[np.generic] = [np.int32(number) for number in numbers]
        given.append(np.uint64(tables.pointer))
        if not slot:
            grid = _grid(out_width, out_height, len(boxes), _PIXELS)
            return Placement(input_hw, memory, [(self._cut, grid, _PIXELS, given)])
        across = (self._across, out_width, out_height if down_first else height)
        down = (self._down, width if down_first else out_width, out_height)
        middle = np.uint64(memory[1].pointer), np.int64(slot)
        launches = [
            (
                kernel,
                _grid(columns * 3, rows, len(boxes), _LEVELS),
                _LEVELS,
                (*given, np.int32(nth), *middle),
            )
            for nth, (kernel, columns, rows) in enumerate(
                (down, across) if down_first else (across, down)
            )
        ]
        return Placement(input_hw, memory, launches)


def _plan(boxes: Sequence[Box], input_hw: tuple[int, int]) -> Ints:
    """The table that `front.cu` reads, which documents its layout."""
    height, width = size = _size_of(boxes[0])
    across, down = axis(width, input_hw[1]), axis(height, input_hw[0])
    first = _RECORD * len(boxes)
    same = (width, height, first, first + across.size, int(_goes_down_first(size, input_hw)))
    records = np.array([(left, top, *same) for left, top, _, _ in boxes], np.int32)
    return np.concatenate([records.ravel(), across, down])


def _goes_down_first(size: tuple[int, int], input_hw: tuple[int, int]) -> bool:
    """Whether Pillow resizes columns before rows (`ImagingResampleInner` in Resample.c).

    Which goes first shows, as what lies between is rounded to 8 bits. Before Pillow 13 it was
    always rows.
    """
    if int(PIL.__version__.split(".")[0]) < 13:
        return False
    shorter, narrower = size[0] - input_hw[0], size[1] - input_hw[1]
    return shorter > 0 and shorter > 2 * narrower


def _size_of(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return bottom - top, right - left


def axis(length: int, size: int) -> Ints:
    """Which pixels of an axis lie under each position of another, and with what weights.

    Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` (src/libImaging/Resample.c) for its
    triangle filter, in the same order of the same operations on float64.

    Args:
        length: pixels before.
        size: pixels after.

    Returns:
        int32 [size · (2 + taps)]: the first pixel of each position, the number of pixels of each,
        and taps rows of weights.
    """
    if length == size:
        whole = np.full(size, 1 << FRACTION_BITS)
        return np.concatenate([np.arange(size), np.ones(size), whole]).astype(np.int32)
    scale = length / size
    support = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centres + support + 0.5).astype(np.int64), length) - first
    taps = np.arange(count.max())[:, None]
    weights = np.maximum(1.0 - np.abs((taps + first - centres + 0.5) * (1.0 / support)), 0.0)
    weights[taps >= count] = 0.0
    total = np.zeros(size)
    for row in weights:  # one after another, as np.sum would group them otherwise
        total += row
    fixed = (0.5 + weights / total * (1 << FRACTION_BITS)).astype(np.int64)
    return np.concatenate([first, count, fixed.ravel()]).astype(np.int32)


def _grid(width: int, height: int, count: int, block: Dim3) -> Dim3:
    return math.ceil(width / block[0]), math.ceil(height / block[1]), count
