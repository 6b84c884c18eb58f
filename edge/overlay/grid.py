"""Many cameras in one picture, each with its overlay drawn at the size at which it is seen.

A frame is brought to the size of its cell first: lettering is as legible with sixteen cameras as
with one, and the heat map of a large frame costs no more than its cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.overlay.heat import Heat, HeatCache
from edge.overlay.notices import draw_name
from edge.overlay.painter import draw_evidence, draw_words, scaled
from edge.overlay.style import FAINT_TEXT, LEAST_SIDE, PAPER, STATE_COLOURS, Colour, Hud, layout_for
from edge.overlay.text import elided, printable, write_centred
from edge.types import Box, Image, Result

GROUND: Colour = (12, 9, 7)
"""Between cells and around them; darker than the paper of a cell."""

_GAP = 1 / 250
"""Between cells, as a part of the picture's long side."""

_WAITING = "waiting for the first frame"
_WAITING_HW = (360, 640)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What is shown of one camera; without a result and a hud before its first frame."""

    name: str
    result: Result | None = None
    hud: Hud | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of its frame in pixels, in its true proportions."""
        return _WAITING_HW if self.result is None else self.result.frame.shown_hw


def arrange(sizes_hw: Sequence[tuple[int, int]], size_wh: tuple[int, int]) -> tuple[Box, ...]:
    """Where each picture of a grid goes.

    All cells have one size, and rows and columns are chosen so that the pictures, each in its own
    proportions and as large as its cell allows, are largest together. A last row that is not full
    stands in the middle.

    Returns:
        xyxy of each cell, in the order of the pictures; empty boxes where there is no room.
    """
    gap = round(_GAP * max(size_wh)) if len(sizes_hw) > 1 else 0
    best: tuple[int, tuple[Box, ...]] = -1, ()
    for columns in range(1, len(sizes_hw) + 1):
        rows = math.ceil(len(sizes_hw) / columns)
        room_wh = (
            max(0, (size_wh[0] - (columns - 1) * gap) // columns),
            max(0, (size_wh[1] - (rows - 1) * gap) // rows),
        )
        fitted = [_fitted(size_hw, room_wh) for size_hw in sizes_hw]
        area = sum(width * height for width, height in fitted)
        if area > best[0]:
            # No larger than the largest picture, so that pictures of one shape leave no bars.
            cell_wh = max(width for width, _ in fitted), max(height for _, height in fitted)
            best = area, _cells(len(sizes_hw), columns, cell_wh, size_wh, gap)
    return best[1]


def _cells(
    count: int, columns: int, cell_wh: tuple[int, int], size_wh: tuple[int, int], gap: int
) -> tuple[Box, ...]:
    """The boxes of cells in rows, each row in the middle."""

    def start(axis: int, taken: int) -> int:
        return max(0, (size_wh[axis] - taken * cell_wh[axis] - (taken - 1) * gap) // 2)

    width, height = cell_wh
    boxes = []
    for index in range(count):
        row, column = divmod(index, columns)
        x = start(0, min(columns, count - row * columns)) + column * (width + gap)
        y = start(1, math.ceil(count / columns)) + row * (height + gap)
        x, y = min(x, size_wh[0] - width), min(y, size_wh[1] - height)  # gaps without room
        boxes.append((x, y, x + width, y + height))
    return tuple(boxes)


def _fitted(size_hw: tuple[int, int], room_wh: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture in its own proportions, as large as there is room."""
    height, width = size_hw
    scale = min(room_wh[0] / width, room_wh[1] / height)
    return min(room_wh[0], round(width * scale)), min(room_wh[1], round(height * scale))


class Grid:
    """Composes the pictures of several cameras, redraws only what has changed. Not thread-safe."""

    def __init__(self) -> None:
        self._boxes: dict[int, Box] = {}
        self._cards: dict[str, _Card] = {}

    def compose(
        self, cells: Sequence[Cell], size_wh: tuple[int, int], selected: int | None = None
    ) -> Image:
        """Draw all cells, or the selected one alone; names must differ.

        Returns:
            A new picture, uint8 [height, width, 3] BGR.
        """
        chosen = range(len(cells)) if selected is None else [selected]
        boxes = arrange([cells[index].size_hw for index in chosen], size_wh)
        self._boxes = dict(zip(chosen, boxes, strict=True))
        self._cards = {cell.name: self._cards.get(cell.name) or _Card() for cell in cells}
        picture = _plain(size_wh[1], size_wh[0], GROUND)
        for index, (left, top, right, bottom) in self._boxes.items():
            if left < right and top < bottom:
                cell, view = cells[index], picture[top:bottom, left:right]
                size_hw = bottom - top, right - left
                view[:] = self._cards[cell.name].drawn(cell, size_hw, label_of(cells, index))
                if len(boxes) > 1 and cell.result and cell.result.verdict.state == "fake":
                    line = layout_for(*view.shape[:2]).accent  # a rim catches the eye
                    for edge in (view[:line], view[:, :line], view[:, -line:]):
                        edge[:] = STATE_COLOURS["fake"]
        return picture

    def cell_at(self, x: int, y: int) -> int | None:
        """Which cell of the last picture lies at a pixel; None between them."""
        for index, (left, top, right, bottom) in self._boxes.items():
            if left <= x < right and top <= y < bottom:
                return index
        return None


class _Card:
    """A cell's picture, kept while it does not change, and the heat map in it."""

    def __init__(self) -> None:
        self._heat = HeatCache()
        self._key: tuple[object, ...] = ()
        self._image: Image | None = None

    def drawn(self, cell: Cell, size_hw: tuple[int, int], label: str) -> Image:
        heat_map = cell.hud is not None and cell.hud.heat_map
        key = (cell.result, size_hw, label, heat_map)
        if self._image is None or key != self._key:
            self._key, self._image = key, _drawn(cell, size_hw, label, self._heat)
        return self._image


def label_of(cells: Sequence[Cell], index: int) -> str:
    """What a cell is called on the picture: key and name; nothing where there is but one cell."""
    if len(cells) == 1:
        return ""
    name = printable(cells[index].name)
    return f"{index + 1}  {name}" if index < 9 else name


def _drawn(cell: Cell, size_hw: tuple[int, int], label: str, heat: HeatCache) -> Image:
    """A cell's picture in the middle of its card, with its overlay."""
    card = _plain(*size_hw, PAPER)
    if cell.result is None or cell.hud is None:
        _draw_waiting(card, label or printable(cell.name))
        return card
    if cell.result.verdict.state == "no_signal":
        card[:] = 0  # as the placeholder, so that it shows no edges
    width, height = _fitted(cell.size_hw, (size_hw[1], size_hw[0]))
    heats: tuple[Heat, ...] = ()
    if width and height:
        left, top = (size_hw[1] - width) // 2, (size_hw[0] - height) // 2
        result = scaled(cell.result, height, width)
        view = card[top : top + height, left : left + width]
        view[:] = result.frame.image
        heats = heat.of(result, cell.hud)
        draw_evidence(view, result, heats)
    draw_words(card, cell.result, cell.hud, label, heated=bool(heats))
    return card


def _draw_waiting(card: Image, label: str) -> None:
    height, width = card.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return
    layout = layout_for(height, width)
    size = round(1.25 * layout.small)
    text = elided(_WAITING, size, width - 2 * layout.margin)
    write_centred(card, text, height // 2, size, FAINT_TEXT)
    draw_name(card, label, layout)


def _plain(height: int, width: int, colour: Colour) -> Image:
    # NumPy spreads three values over a picture slowly, and a row of them quickly.
    return np.repeat(np.full((1, width, 3), colour, np.uint8), height, axis=0)
