"""From evidence to verdicts, for one source."""

from __future__ import annotations

import logging
import math
import time

import numpy as np

from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.detector import Stopwatch, combine
from edge.errors import SourceFault
from edge.faces.verdicts import FaceVerdicts, leading
from edge.manifest import Calibration
from edge.types import Evidence, Frame, Region, Result, Verdict

log = logging.getLogger(__name__)

PLACEHOLDER_HW = (360, 640)


class Judge:
    """Follows one source. Not thread-safe.

    Args:
        name: of the source, fit to be shown.
        calibration: turns logits into scores.
        settings: how much evidence a verdict needs.
        faces: whether the regions are faces, which are judged one by one.
    """

    def __init__(
        self, name: str, calibration: Calibration, settings: VerdictSettings, faces: bool = False
    ) -> None:
        self._name = name
        self._calibration = calibration
        self._settings = settings
        self._looks_for_faces = faces
        self._tracker = VerdictTracker(calibration, settings)
        self._faces = FaceVerdicts(calibration, settings)
        self._last: Frame | None = None
        self._logged: tuple[str, str | None] | None = None

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
            regions: what the model gave for it; empty where it could not be taken or has no face.
            error: why it could not be taken.
            watch: its stages so far; takes `verdict`.
            live: whether its age matters.
        """
        self._last = frame
        faces = len(regions) if self._looks_for_faces and error is None else None
        with watch.stage("verdict"):
            if self._looks_for_faces:
                regions = self._faces.judge(frame.time_s, regions)
            evidence, verdict = self._decide(frame.time_s, regions)
        if evidence is not None and not math.isfinite(evidence.logit):
            error = "the model gave a logit that is not finite"
        self._log(frame, error)
        age_ms = 1e3 * max(0.0, time.time() - frame.captured_at) if live else None
        timings_ms = watch.timings_ms
        return Result(frame, evidence, verdict, timings_ms, regions, error, None, age_ms, faces)

    def silence(self, error: str | None = None, fault: SourceFault | None = None) -> Result:
        """The verdict when no frame came, and why; a black placeholder has the last one's size."""
        height, width = PLACEHOLDER_HW if self._last is None else self._last.size_hw
        frame = Frame(
            image=np.zeros((height, width, 3), np.uint8),
            index=-1 if self._last is None else self._last.index,
            captured_at=time.time(),
            source=self._name,
        )
        self._faces.clear()
        return Result(frame, None, self._tracker.no_signal(), error=error, fault=fault)

    def reset(self) -> None:
        """Forget all evidence: what comes next has nothing to do with it."""
        self._tracker = VerdictTracker(self._calibration, self._settings)
        self._faces.clear()

    def _decide(
        self, time_s: float, regions: tuple[Region, ...]
    ) -> tuple[Evidence | None, Verdict]:
        """The evidence and the verdict of the frame: those of a face, where faces are judged."""
        face = leading(regions) if self._looks_for_faces else None
        if face is not None and face.verdict is not None:
            return face.evidence, face.verdict
        evidence = combine(regions) if regions else None
        logit = math.nan if evidence is None else evidence.logit
        return evidence, self._tracker.update(time_s, logit)

    def _log(self, frame: Frame, error: str | None) -> None:
        """Log an error once, not with each of a million frames that have it."""
        current = (frame.source, error)
        if error is not None and current != self._logged:
            log.warning("%s, frame %d: %s", frame.source, frame.index, error)
        self._logged = current
