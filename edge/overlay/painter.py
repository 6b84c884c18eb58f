"""Draws results: one by itself, or those of a source with what they have in common."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from edge.manifest import Calibration, PatchGrid
from edge.overlay.boxes import draw_boxes
from edge.overlay.heat import Heat, HeatCache, heats_of
from edge.overlay.notices import (
    draw_name,
    draw_no_signal,
    draw_notice,
    name_height,
    reason_of,
)
from edge.overlay.panel import draw_panel
from edge.overlay.style import LEAST_SIDE, STATE_COLOURS, Hud, layout_for
from edge.pixels import bgr_frame
from edge.types import Image, Picture, Region, Result, State

HISTORY_S = 60.0
RATE_FRAMES = 30
"""Frames over which the rate is averaged."""


def draw(result: Result, hud: Hud, heat: Iterable[Heat] | None = None) -> Image:
    """Draw what is known about a frame: verdict, score, history, heat map, source and speed.

    The frame, BGR, is not changed, and equal arguments give equal pictures. The smaller it is, the
    less is written on it; one with a side under 16 pixels is only tinted.

    Args:
        result: the frame and all that is known about it.
        hud: what the picture shows besides.
        heat: a tint made before, of a frame of the same size; the frame's own if None.

    Returns:
        A new picture of the size at which the frame is shown, uint8 [H, W, 3] BGR.
    """
    result = scaled(result, *result.frame.shown_hw)
    picture = result.frame.image.copy()
    heat = tuple(heats_of(result, hud) if heat is None else heat)
    draw_evidence(picture, result, heat)
    draw_words(picture, result, hud, heated=bool(heat))
    return picture


def draw_evidence(picture: Image, result: Result, heat: Iterable[Heat]) -> None:
    """Draw what belongs to places in the frame: tint and boxes; nothing without signal."""
    if result.verdict.state == "no_signal":
        return
    for tint in heat:
        tint.draw(picture)
    if min(picture.shape[:2]) >= LEAST_SIDE:
        draw_boxes(picture, result, layout_for(*picture.shape[:2]))


def draw_words(
    picture: Image, result: Result, hud: Hud, label: str = "", heated: bool = False
) -> None:
    """Draw what concerns the frame as a whole: a panel or a notice, and the lower edge.

    The picture may be larger than the frame. A label, which is printable text for the upper left
    corner, stands in place of the source's name. `heated`: there is a heat map.
    """
    height, width = picture.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return
    layout = layout_for(height, width)
    top = name_height(layout) if label else 0
    if label:
        unnamed = replace(result.frame, source="")
        result = replace(result, frame=unnamed, error=reason_of(result))
    if result.verdict.state == "no_signal":
        draw_no_signal(picture, result, layout, top, hud.held_s)
    else:
        draw_panel(picture, result, hud, layout, heated)
        if result.error:
            draw_notice(picture[top:], result.error, layout, STATE_COLOURS["uncertain"])
        elif not label:
            draw_notice(picture, hud.declared, layout)
    draw_name(picture, label, layout)
    picture[height - layout.accent :] = STATE_COLOURS[result.verdict.state]


class Painter:
    """Draws the results of one source. One thread adds them; any thread may draw their pictures."""

    def __init__(self, calibration: Calibration, patches: PatchGrid | None) -> None:
        self._calibration = calibration
        self._patches = patches
        self._history: deque[tuple[float, float | None]] = deque()
        self._finished: deque[float] = deque(maxlen=RATE_FRAMES)
        self._has_pts = False
        self._since: tuple[State, float] | None = None
        self._heat = HeatCache()
        self._drawing = threading.Lock()

    def picture(self, result: Result, heat_map: bool = True, declared: str = "") -> Picture:
        """The picture of the newest result, which is counted and goes into the history.

        `declared` is what its file says of itself.
        """
        self._add(result)
        history, held_s = tuple(self._history), self._held_s(result)
        hud = Hud(self._patches, self._calibration, history, self.fps, heat_map, held_s, declared)
        return Picture(partial(self._draw, result, hud), hud)

    def reset(self) -> None:
        """Forget the history: what comes next has nothing to do with it."""
        self._history.clear()
        self._since = None

    @property
    def fps(self) -> float | None:
        """Frames per second lately; None while unknown."""
        if len(self._finished) < 2:
            return None
        return (len(self._finished) - 1) / max(self._finished[-1] - self._finished[0], 1e-9)

    def _held_s(self, result: Result) -> float:
        """For how long the verdict has been this, on the clock of the frames or of silence."""
        state, frame = result.verdict.state, result.frame
        now_s = frame.captured_at if state == "no_signal" else frame.time_s
        if self._since is None or self._since[0] != state or now_s < self._since[1]:
            self._since = state, now_s
        return now_s - self._since[1]

    def _add(self, result: Result) -> None:
        if result.verdict.state != "no_signal":
            self._has_pts = result.frame.pts is not None
            self._finished.append(time.perf_counter())
        else:
            self._finished.clear()
            if self._has_pts:  # a placeholder's time is on another clock
                return
        now_s = result.frame.time_s
        if self._history and now_s < self._history[-1][0]:
            self._history.clear()
        self._history.append((now_s, result.verdict.score))
        while self._history[0][0] < now_s - HISTORY_S:
            self._history.popleft()

    def _draw(self, result: Result, hud: Hud) -> Image:
        result = scaled(result, *result.frame.shown_hw)
        with self._drawing:
            return draw(result, hud, self._heat.of(result, hud))


def scaled(result: Result, height: int, width: int) -> Result:
    """A result as if its frame had been captured at another size, its picture as BGR.

    Regions keep one size among each other, as tiles must to share a lattice of patches; they may
    overlap by a pixel where they met.
    """
    frame = bgr_frame(result.frame)
    old_hw, new_hw = frame.size_hw, (height, width)
    if old_hw == new_hw:
        return replace(result, frame=frame)
    regions = tuple(_scaled_region(region, old_hw, new_hw) for region in result.regions)
    image = _resized(frame.image, height, width)
    return replace(result, frame=replace(frame, image=image, pixel_aspect=1.0), regions=regions)


def _resized(image: Image, height: int, width: int) -> Image:
    """A picture at another size; averaged where it becomes smaller, as dropped pixels tear lines.

    Halving is quick, and the slow averaging over parts of pixels is left with few of them.
    """
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        halved = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, halved, interpolation=cv2.INTER_AREA), np.uint8)
    shrinks = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _scaled_region(region: Region, old_hw: tuple[int, int], new_hw: tuple[int, int]) -> Region:
    left, top, right, bottom = region.xyxy
    x, y = left * new_hw[1] // old_hw[1], top * new_hw[0] // old_hw[0]
    width = -(-(right - left) * new_hw[1] // old_hw[1])
    height = -(-(bottom - top) * new_hw[0] // old_hw[0])
    return replace(region, xyxy=(x, y, x + width, y + height))
