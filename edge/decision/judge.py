"""From evidence to verdicts, for one source, with all that its pictures show besides."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections import deque

import numpy as np

from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.detector import Stopwatch, combine
from edge.errors import SourceFault
from edge.faces.verdicts import FaceVerdicts, leading
from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, Painter
from edge.pixels import bgr_frame
from edge.types import Evidence, Frame, Image, Region, Result, Verdict

log = logging.getLogger(__name__)

HISTORY_S = 12.0
"""Length of the score history that the overlay draws, seconds."""

RATE_FRAMES = 30
"""Frames over which the shown rate is averaged."""

PLACEHOLDER_HW = (360, 640)


class Judge:
    """Follows one source. One thread judges; pictures may be drawn by others.

    Args:
        name: of the source, fit to be shown.
        calibration: turns logits into scores.
        patches: where the model's patches lie; None for a model without.
        settings: how much evidence a verdict needs.
    """

    def __init__(
        self,
        name: str,
        calibration: Calibration,
        patches: PatchGrid | None,
        settings: VerdictSettings,
    ) -> None:
        self._name = name
        self._calibration = calibration
        self._patches = patches
        self._settings = settings
        self._tracker = VerdictTracker(calibration, settings)
        self._faces = FaceVerdicts(calibration, settings)
        self._history: deque[tuple[float, float | None]] = deque()
        self._finished: deque[float] = deque(maxlen=RATE_FRAMES)
        self._painter = Painter()
        self._painting = threading.Lock()
        self._last: Frame | None = None
        self._told: tuple[str, str | None] | None = None

    def judge(
        self,
        frame: Frame,
        regions: tuple[Region, ...],
        error: str | None,
        watch: Stopwatch,
        live: bool = False,
    ) -> Result:
        """The verdict up to a frame.

        Args:
            frame: the frame.
            regions: what the model said of it; empty where it could not be taken, or where there
                is no face in it.
            error: why it could not be taken.
            watch: its stages so far; takes `verdict`.
            live: whether its age matters.
        """
        self._last = frame
        with watch.stage("verdict"):
            regions = self._faces.judge(frame.time_s, regions)
            evidence, verdict = self._decide(frame.time_s, regions)
        if evidence is not None and not math.isfinite(evidence.logit):
            error = "the model gave a logit that is not finite"
        self._tell(frame, error)
        age_ms = 1e3 * max(0.0, time.time() - frame.captured_at) if live else None
        result = Result(frame, evidence, verdict, watch.timings_ms, regions, error, age_ms=age_ms)
        self._remember(frame.time_s, verdict.score)
        return result

    def _tell(self, frame: Frame, error: str | None) -> None:
        """Log an error once, not with each of a million frames that have it."""
        told = (frame.source, error)
        if error is not None and told != self._told:
            log.warning("%s, frame %d: %s", frame.source, frame.index, error)
        self._told = told

    def _decide(
        self, time_s: float, regions: tuple[Region, ...]
    ) -> tuple[Evidence | None, Verdict]:
        """The evidence and the verdict of the frame: those of a face, where faces are judged."""
        face = leading(regions)
        if face is not None and face.verdict is not None:
            return face.evidence, face.verdict
        evidence = combine(regions) if regions else None
        logit = math.nan if evidence is None else evidence.logit
        return evidence, self._tracker.update(time_s, logit)

    def silence(self, error: str | None = None, fault: SourceFault | None = None) -> Result:
        """The verdict when no frame came, with a black placeholder of the last frame's size.

        Args:
            error: why none came, where it is known.
            fault: what kind of failure that is.
        """
        height, width = PLACEHOLDER_HW if self._last is None else self._last.size_hw
        frame = Frame(
            image=np.zeros((height, width, 3), np.uint8),
            index=-1 if self._last is None else self._last.index,
            captured_at=time.time(),
            source=self._name,
        )
        self._finished.clear()
        self._faces.clear()
        if self._last is None or self._last.pts is None:
            self._remember(frame.time_s, None)
        return Result(frame, None, self._tracker.no_signal(), error=error, fault=fault)

    def start_anew(self) -> None:
        """Forget all evidence: what comes next has nothing to do with it."""
        self._tracker = VerdictTracker(self._calibration, self._settings)
        self._faces.clear()
        self._history.clear()

    def served(self) -> None:
        """Count a frame that was shown or written, for the rate."""
        self._finished.append(time.perf_counter())

    @property
    def fps(self) -> float | None:
        """Frames per second that were served lately; None while unknown."""
        if len(self._finished) < 2:
            return None
        return (len(self._finished) - 1) / max(self._finished[-1] - self._finished[0], 1e-9)

    def hud(self, heat_map: bool) -> Hud:
        """What the next picture shows besides its result."""
        return Hud(
            patches=self._patches,
            calibration=self._calibration,
            history=tuple(self._history),
            fps=self.fps,
            heat_map=heat_map,
        )

    def paint(self, result: Result, hud: Hud) -> Image:
        """The annotated picture of a result, uint8 [H, W, 3] BGR; from any thread."""
        frame = bgr_frame(result.frame)
        if frame is not result.frame:
            result = dataclasses.replace(result, frame=frame)
        with self._painting:
            return self._painter.paint(result, hud)

    def _remember(self, now_s: float, score: float | None) -> None:
        if self._history and now_s < self._history[-1][0]:
            self._history.clear()
        self._history.append((now_s, score))
        while self._history[0][0] < now_s - HISTORY_S:
            self._history.popleft()


class Picture:
    """The annotated picture of a result, drawn when it is first asked for, once for all who ask.

    Args:
        judge: of its source.
        result: what it shows.
        hud: and besides.

    Attributes:
        result: as given.
        hud: as given.
    """

    def __init__(self, judge: Judge, result: Result, hud: Hud) -> None:
        self.result = result
        self._judge = judge
        self.hud = hud
        self._lock = threading.Lock()
        self._image: Image | None = None

    def __call__(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR; not to be changed. From any thread."""
        with self._lock:
            if self._image is None:
                self._image = self._judge.paint(self.result, self.hud)
            return self._image
