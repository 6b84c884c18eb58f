"""Labels of what is judged apart, placed so that they hide neither a face nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.overlay.chip import score_text
from edge.overlay.icons import icon
from edge.overlay.plates import plate
from edge.overlay.sprites import stamp
from edge.overlay.style import INK, STATE_COLOURS, STATE_WORDS, Layout
from edge.overlay.text import CAP_HEIGHT, bold, text_width, write
from edge.types import Box, Image, Region, State

CORE = 1 / 1.3
"""Part of a face's square that is the face itself."""

_LEAST_SIZE = 11
_SMALLER = 0.7
"""Font size where there is little room, in those of small text."""

_FORM = 0.2
_PLACE = 0.01
"""What the next shorter form costs, and the next place, in parts of a label that is hidden."""

_ON_FACE = 50.0
_ON_LABEL = 50.0
_ON_BOX = 1.0
"""What it costs to lie on something, in parts of the label's area."""

_COLLIDES = 2.0
"""What a label costs from which on something is hidden by it that should not be."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Label:
    """A label in some length and size.

    Attributes:
        text: may be empty.
        size: font size in pixels.
        state: its mark and colour.
        marked: whether it has a mark.
    """

    text: str
    size: int
    state: State
    marked: bool

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of its plate."""
        mark = self._mark if self.marked else 0
        width = text_width(self.text, self.size, bold(self.size)) + 2 * self._pad
        return round(1.5 * self.size), width + mark

    @property
    def _pad(self) -> int:
        return round(0.4 * self.size)

    @property
    def _mark(self) -> int:
        """Width of the mark and the gap behind it."""
        return self.size + (self._pad if self.text else 0)

    def draw(self, picture: Image, left: int, top: int) -> None:
        """Draw it, in place."""
        height, width = self.hw
        stamp(picture, plate((height, width), STATE_COLOURS[self.state]), left, top)
        x = left + self._pad
        if self.marked:
            stamp(picture, icon(self.state, self.size, INK), x, top + (height - self.size) // 2)
            x += self._mark
        baseline = top + round((height + CAP_HEIGHT * self.size) / 2)
        write(picture, self.text, x, baseline, self.size, INK, bold(self.size))


def draw_labels(picture: Image, regions: Sequence[Region], layout: Layout) -> None:
    """Label regions, in place: number, verdict and score on a plate in the verdict's colour.

    Args:
        picture: uint8 [H, W, 3] BGR.
        regions: what to label.
        layout: sizes for this picture.
    """
    for label, box in place_labels(regions, (picture.shape[0], picture.shape[1]), layout):
        label.draw(picture, box[0], box[1])


def place_labels(
    regions: Sequence[Region], frame_hw: tuple[int, int], layout: Layout
) -> list[tuple[Label, Box]]:
    """Where labels go, and what there is room to say.

    A label goes above its box where that is free, else below, beside or onto the rim of the box,
    which is wider than the face; where there is too little room it is written smaller, then without
    the word, for which its mark stands, at last without the score.

    Args:
        regions: what to label.
        frame_hw: height and width of the picture.
        layout: sizes for it.

    Returns:
        A label for each region and its box, xyxy in pixels.
    """
    wide, hidden = _placed(regions, frame_hw, layout, narrow=False)
    if hidden < _COLLIDES:
        return wide
    # Long labels have taken the room of others.
    narrow, still_hidden = _placed(regions, frame_hw, layout, narrow=True)
    return narrow if still_hidden < hidden else wide


def _placed(
    regions: Sequence[Region], frame_hw: tuple[int, int], layout: Layout, narrow: bool
) -> tuple[list[tuple[Label, Box]], float]:
    """Labels one after the other, and what the worst of them costs.

    Args:
        regions: what to label.
        frame_hw: height and width of the picture.
        layout: sizes for it.
        narrow: whether labels may be no wider than their boxes, where that can be.
    """
    boxes = _rows([region.xyxy for region in regions])
    cores = _cores(boxes)
    placed: list[tuple[Label, Box]] = []
    worst = 0.0
    for index, region in enumerate(regions):
        others, taken = np.delete(boxes, index, axis=0), _rows([box for _, box in placed])
        forms: Iterable[tuple[int, Label]] = enumerate(_forms(region, layout))
        if narrow:
            every, width = list(forms), region.xyxy[2] - region.xyxy[0]
            forms = [item for item in every if item[1].hw[1] <= width] or every[-1:]
        cost, form, box = _best(region.xyxy, forms, frame_hw, (cores, others, taken))
        placed.append((form, box))
        worst = max(worst, cost)
    return placed, worst


def _best(
    own: Box,
    forms: Iterable[tuple[int, Label]],
    frame_hw: tuple[int, int],
    avoided: tuple[_Floats, _Floats, _Floats],
) -> tuple[float, Label, Box]:
    """The form and the place that cost least: faces, boxes of others and labels are avoided."""
    best: tuple[float, Label, Box] | None = None
    for rank, form in forms:
        if best is not None and best[0] <= rank * _FORM:
            break  # what follows costs that much wherever it goes
        places = list(_places(own, form.hw, frame_hw))
        costs = rank * _FORM + _PLACE * np.arange(len(places)) + _hidden(_rows(places), avoided)
        least = int(np.argmin(costs))
        if best is None or costs[least] < best[0]:
            best = float(costs[least]), form, places[least]
    assert best is not None  # there is always a form
    return best


def _hidden(labels: _Floats, avoided: tuple[_Floats, _Floats, _Floats]) -> _Floats:
    """What it costs that labels lie on something."""
    costs = np.zeros(len(labels))
    for weight, things in zip((_ON_FACE, _ON_BOX, _ON_LABEL), avoided, strict=True):
        costs += weight * _covered(labels, things)
    return costs


def _forms(region: Region, layout: Layout) -> Iterator[Label]:
    """What a label can say, from the most to the least."""
    number = "" if region.track is None else f"#{region.track}"
    small = max(min(_LEAST_SIZE, layout.small), round(_SMALLER * layout.small))
    if region.verdict is None:
        yield Label(number, layout.small, "no_signal", False)
        yield Label(number, small, "no_signal", False)
        return
    state, score = region.verdict.state, score_text(region.verdict.score)
    whole = " ".join(part for part in (number, STATE_WORDS[state], score) if part)
    brief = " ".join(part for part in (number, score) if part)
    for text, size in (
        (whole, layout.small),
        (whole, small),
        (brief, layout.small),
        (brief, small),
        (number, small),
    ):
        yield Label(text, size, state, True)


def _places(box: Box, label_hw: tuple[int, int], hw: tuple[int, int]) -> Iterator[Box]:
    """Where a label can go, all of it in the picture where it fits, the best place first."""
    left, top, right, bottom = box
    height, width = label_hw
    corners = (
        (left, top - height),
        (right - width, top - height),
        (left, bottom),
        (right - width, bottom),
        (right, top),
        (left - width, top),
        (left, top),
        (right - width, top),
        (left, bottom - height),
        (right - width, bottom - height),
    )
    for x, y in corners:
        x, y = max(0, min(x, hw[1] - width)), max(0, min(y, hw[0] - height))
        yield x, y, x + width, y + height


def _rows(boxes: Sequence[Box]) -> _Floats:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _cores(boxes: _Floats) -> _Floats:
    """The faces in their squares."""
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * CORE
    return np.concatenate([centres - halves, centres + halves], axis=1)


def _covered(labels: _Floats, things: _Floats) -> _Floats:
    """How much of each label lies on things, in parts of its area; twice where two overlap."""
    low = np.maximum(labels[:, None, :2], things[None, :, :2])
    high = np.minimum(labels[:, None, 2:], things[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2).sum(axis=1)
    return np.asarray(common / np.maximum(np.prod(labels[:, 2:] - labels[:, :2], axis=1), 1))
