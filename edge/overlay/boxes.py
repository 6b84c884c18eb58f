"""Outlines of what the model was given, and labels of what is judged by itself.

Labels hide neither a face nor each other. One goes above its box where that is free, else below,
beside or onto its rim; where there is too little room it is written smaller, then without the
score, at last without the word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.geometry import grown, is_empty
from edge.overlay.sprites import badge, icon, stamp
from edge.overlay.style import INK, PAPER, STATE_COLOURS, TEXT, Colour, Layout
from edge.overlay.text import CAP_HEIGHT, bold, text_width, write
from edge.types import Box, Image, Region, Result, State
from edge.words import STATE_WORDS, fake_percent

_SHORT: dict[State, tuple[str]] = {"fake": ("FAKE",), "real": ("REAL",)}
"""Words for where there is little room; the mark of the others has to do."""

CORE = 1 / 1.3
"""Part of a face's square that is the face itself."""

_LEAST_SIZE = 11
_SMALLER = 0.7
"""Font size where there is little room, in those of small text."""

# Costs, in parts of a label's area: of the next shorter form and the next place, of lying on
# something, and that above which something is hidden that should not be.
_FORM, _PLACE = 0.2, 0.01
_ON_FACE = _ON_LABEL = 50.0
_ON_BOX = 1.0
_COLLIDES = 2.0

_Floats = npt.NDArray[np.float64]


def draw_boxes(picture: Image, result: Result, layout: Layout) -> None:
    """Outline regions: those judged by themselves with a label, and a lone part of the frame."""
    hw = (picture.shape[0], picture.shape[1])
    judged = [r for r in result.regions if r.verdict is not None or r.track is not None]
    for region in judged:
        state = region.verdict.state if region.verdict is not None else "no_signal"
        _outline(picture, region.xyxy, STATE_COLOURS[state], layout.line)
    for label, box in place_labels(judged, hw, layout):
        label.draw(picture, box[0], box[1])
    parts = [region for region in result.regions if region.track is None]
    if len(parts) == 1 and not parts[0].verdict and parts[0].xyxy != (0, 0, hw[1], hw[0]):
        _outline(picture, parts[0].xyxy, TEXT, layout.line)


def _outline(picture: Image, box: Box, colour: Colour, line: int) -> None:
    """A line inside the box between two thin dark ones, so that it shows on any picture."""
    edge = [PAPER] * max(1, line // 2)
    for inset, ink in enumerate([*edge, *[colour] * line, *edge]):
        left, top, right, bottom = inner = grown(box, -inset)
        if not is_empty(inner):
            cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), ink, 1)


@dataclass(frozen=True, slots=True)
class Label:
    """A label in one of its forms: `size` is that of its font, `marked` whether it has a mark."""

    text: str
    size: int
    state: State
    marked: bool = True

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of its badge."""
        width = text_width(self.text, self.size, bold(self.size)) + 2 * self._pad
        return round(1.5 * self.size), width + self._mark

    @property
    def _pad(self) -> int:
        return round(0.4 * self.size)

    @property
    def _mark(self) -> int:
        """Width of the mark and the gap behind it."""
        return (self.size + (self._pad if self.text else 0)) if self.marked else 0

    def draw(self, picture: Image, left: int, top: int) -> None:
        """Draw it, in place."""
        height, width = self.hw
        stamp(picture, badge((height, width), STATE_COLOURS[self.state]), left, top)
        x = left + self._pad
        if self.marked:
            stamp(picture, icon(self.state, self.size, INK), x, top + (height - self.size) // 2)
        baseline = top + round((height + CAP_HEIGHT * self.size) / 2)
        write(picture, self.text, x + self._mark, baseline, self.size, INK, bold(self.size))


def place_labels(
    regions: Sequence[Region], frame_hw: tuple[int, int], layout: Layout
) -> list[tuple[Label, Box]]:
    """A label for each region, in the longest form that there is room for, and its box."""
    wide, hidden = _placed(regions, frame_hw, layout, narrow=False)
    if hidden < _COLLIDES:
        return wide
    # Long labels have taken the room of others.
    narrow, still_hidden = _placed(regions, frame_hw, layout, narrow=True)
    return narrow if still_hidden < hidden else wide


def _placed(
    regions: Sequence[Region], frame_hw: tuple[int, int], layout: Layout, narrow: bool
) -> tuple[list[tuple[Label, Box]], float]:
    """Labels one after the other, no wider than their boxes if narrow; and the highest cost."""
    boxes = _rows([region.xyxy for region in regions])
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * CORE
    faces = np.concatenate([centres - halves, centres + halves], axis=1)
    placed: list[tuple[Label, Box]] = []
    worst = 0.0
    for index, region in enumerate(regions):
        others, taken = np.delete(boxes, index, axis=0), _rows([box for _, box in placed])
        forms = list(enumerate(_forms(region, layout)))
        if narrow:
            width = region.xyxy[2] - region.xyxy[0]
            forms = [form for form in forms if form[1].hw[1] <= width] or forms[-1:]
        avoided = ((_ON_FACE, faces), (_ON_BOX, others), (_ON_LABEL, taken))
        cost, label, box = _cheapest(region.xyxy, forms, frame_hw, avoided)
        placed.append((label, box))
        worst = max(worst, cost)
    return placed, worst


def _cheapest(
    own: Box,
    forms: Sequence[tuple[int, Label]],
    frame_hw: tuple[int, int],
    avoided: Sequence[tuple[float, _Floats]],
) -> tuple[float, Label, Box]:
    """The form and the place that cost least: faces, boxes of others and labels are avoided."""
    best = (np.inf, forms[0][1], own)
    for rank, form in forms:
        if best[0] <= rank * _FORM:
            break  # what follows costs that much wherever it goes
        places = list(_places(own, form.hw, frame_hw))
        costs = rank * _FORM + _PLACE * np.arange(len(places))
        for weight, things in avoided:
            costs += weight * _covered(_rows(places), things)
        least = int(np.argmin(costs))
        if costs[least] < best[0]:
            best = float(costs[least]), form, places[least]
    return best


def _forms(region: Region, layout: Layout) -> Iterator[Label]:
    """The forms of a label, from the longest to the shortest."""
    number = "" if region.track is None else f"#{region.track}"
    sizes = layout.small, max(min(_LEAST_SIZE, layout.small), round(_SMALLER * layout.small))
    if region.verdict is None:
        yield from (Label(number, size, "no_signal", marked=False) for size in sizes)
        return
    state, score = region.verdict.state, fake_percent(region.verdict.score)
    for words in ((number, STATE_WORDS[state], score), (number, *_SHORT.get(state, ()))):
        text = " ".join(word for word in words if word)
        yield from (Label(text, size, state) for size in sizes)
    yield Label(number, sizes[1], state)


def _places(box: Box, label_hw: tuple[int, int], hw: tuple[int, int]) -> Iterator[Box]:
    """Where a label can go, all of it in the picture where it fits, the best place first."""
    left, top, right, bottom = box
    height, width = label_hw
    above, below, end = top - height, bottom - height, right - width
    outside = ((left, above), (end, above), (left, bottom), (end, bottom), (right, top))
    rim = ((left - width, top), (left, top), (end, top), (left, below), (end, below))
    for x, y in outside + rim:
        x, y = max(0, min(x, hw[1] - width)), max(0, min(y, hw[0] - height))
        yield x, y, x + width, y + height


def _rows(boxes: Sequence[Box]) -> _Floats:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _covered(labels: _Floats, things: _Floats) -> _Floats:
    """How much of each label lies on things, in parts of its area; twice where two overlap."""
    low = np.maximum(labels[:, None, :2], things[None, :, :2])
    high = np.minimum(labels[:, None, 2:], things[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2).sum(axis=1)
    return np.asarray(common / np.maximum(np.prod(labels[:, 2:] - labels[:, :2], axis=1), 1))
