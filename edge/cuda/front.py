"""The front end on the GPU: regions of a frame that lies there become an engine's input there.

It gives what `edge.regions` gives on the CPU. Where each pixel comes from and with what weight is
worked out here, once for each geometry; `front.cu` does the rest.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL

from edge.errors import GpuError, RegionError
from edge.types import Box, PixelFormat

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, DeviceMemory, Dim3, Kernel, MirroredArray

FRACTION_BITS = 22
"""Of a weight: Pillow's PRECISION_BITS, 32 - 8 - 2."""

_RECORD = 7  # ints of a box in a plan

MOST_PLACEMENTS = 32
"""That are kept: one for each size and format of frames and region."""

# A warp reads 32 levels side by side; both blocks are whole warps.
_PIXELS: Dim3 = (32, 8, 1)
_LEVELS: Dim3 = (96, 4, 1)

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Launch:
    """A launch with all but the addresses of the frame, before these arguments, and the output."""

    kernel: Kernel
    grid: Dim3
    block: Dim3
    arguments: Sequence[np.generic]


@dataclass(slots=True, eq=False)
class Placement:
    """Where boxes of a frame go, see `Front.place`, with the tables for it on the GPU."""

    input_hw: tuple[int, int]
    _memory: Sequence[DeviceMemory | MirroredArray]
    _launches: Sequence[_Launch]

    def free(self) -> None:
        """Give back its memory, which nothing in the stream may need any more."""
        self._launches = ()
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
        self._kept: OrderedDict[object, Placement] = OrderedDict()

    def place(
        self,
        frame_hw: tuple[int, int],
        pixel_format: PixelFormat,
        boxes: Sequence[Box],
        input_hw: tuple[int, int],
    ) -> Placement:
        """The tables for a geometry, from the last few or made and put into the stream.

        Args:
            frame_hw: height and width of the frame in pixels.
            pixel_format: "bgr": uint8 [H, W, 3]; "nv12": uint8 [H·3/2, W], without gaps.
            boxes: one or more of one size, xyxy in pixels of the frame, inside it and not empty.
            input_hw: height and width that each is resized to.

        Raises:
            RegionError: NV12 with an odd height or width.
            GpuError: no memory.
        """
        key = (frame_hw, pixel_format, tuple(boxes), input_hw)
        placement = self._kept.get(key)
        if placement is None:
            _check(frame_hw, pixel_format, boxes, input_hw)
            placement = self._kept[key] = self._new(*key)
            if len(self._kept) > MOST_PLACEMENTS:
                self._cuda.synchronize()
                self._kept.popitem(last=False)[1].free()
        self._kept.move_to_end(key)
        return placement

    def run(self, placement: Placement, frame_pointer: int, out_pointer: int) -> None:
        """Put into the stream what makes the pictures of a placement.

        Args:
            placement: of `place`.
            frame_pointer: address of the frame on the GPU.
            out_pointer: address for uint8 [N, H, W, 3] BGR on the GPU, in the order of the boxes.

        Raises:
            RuntimeError: the placement was dropped; ask `place` for it again.
        """
        if not placement._launches:
            raise RuntimeError("this placement was dropped: ask Front.place() for it again")
        height, width = placement.input_hw
        frame, out = np.uint64(frame_pointer), np.uint64(out_pointer)
        for step in placement._launches:
            arguments = (frame, *step.arguments, out, np.int32(height), np.int32(width))
            step.kernel.launch(step.grid, step.block, arguments)

    def free(self) -> None:
        """Wait for the stream and give back all memory; twice is once."""
        if self._kept:
            self._cuda.synchronize()
        while self._kept:
            self._kept.popitem()[1].free()

    def _new(
        self,
        frame_hw: tuple[int, int],
        pixel_format: PixelFormat,
        boxes: tuple[Box, ...],
        input_hw: tuple[int, int],
    ) -> Placement:
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
        is_nv12 = np.int32(pixel_format == "nv12")
        size = np.int32(frame_hw[0]), np.int32(frame_hw[1])
        given: tuple[np.generic, ...] = (*size, is_nv12, np.uint64(tables.pointer))
        if not slot:
            grid = _grid(out_width, out_height, len(boxes), _PIXELS)
            return Placement(input_hw, memory, [_Launch(self._cut, grid, _PIXELS, given)])
        across = (self._across, out_width, out_height if down_first else height)
        down = (self._down, width if down_first else out_width, out_height)
        middle = np.uint64(memory[1].pointer), np.int64(slot)
        launches = [
            _Launch(
                kernel,
                _grid(columns * 3, rows, len(boxes), _LEVELS),
                _LEVELS,
                (*given, np.int32(is_second), *middle),
            )
            for is_second, (kernel, columns, rows) in enumerate(
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


def _check(
    frame_hw: tuple[int, int],
    pixel_format: PixelFormat,
    boxes: Sequence[Box],
    input_hw: tuple[int, int],
) -> None:
    height, width = frame_hw
    if pixel_format not in ("bgr", "nv12"):
        raise ValueError(f"pixel_format is 'bgr' or 'nv12', not {pixel_format!r}")
    if pixel_format == "nv12" and (height % 2 or width % 2):
        raise RegionError(
            f"Expected an NV12 frame of even height and width, found {height}×{width} pixels. "
            "Choose another size, or BGR."
        )
    inside = all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in boxes)
    if len({_size_of(box) for box in boxes}) != 1 or not inside or min(input_hw) < 1:
        raise ValueError(
            f"boxes lie inside the frame of {height}×{width} pixels, of one size and not empty, "
            f"and they go to one pixel or more: found {list(boxes)} to {input_hw}"
        )
