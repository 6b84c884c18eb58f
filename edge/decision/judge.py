"""From evidence to verdicts, for one source."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

import numpy as np
from typing_extensions import Self

from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.detector import Detector, Stopwatch, combine
from edge.errors import SourceFault
from edge.faces.verdicts import FaceVerdicts, combined, leading
from edge.manifest import Calibration, Manifest
from edge.regions import NOTHING_TO_SEE
from edge.types import Evidence, Frame, Region, Result, Verdict

log = logging.getLogger(__name__)

PLACEHOLDER_HW = (360, 640)


class Judge:
    """Follows one source: its picture, its faces, or both. Not thread-safe.

    Args:
        name: of the source, fit to be shown.
        picture: turns the logits of pictures into scores; None where only faces are judged.
        settings: how much evidence a verdict needs.
        faces: the same for faces; None where nobody looks for them.
        model: what judges, for the results; with its calibration.
    """

    def __init__(
        self,
        name: str,
        picture: Calibration | None,
        settings: VerdictSettings,
        faces: Calibration | None = None,
        model: Manifest | None = None,
    ) -> None:
        self._name, self._model = name, model
        self._calibrations = picture, faces
        self._settings = settings
        self._last: Frame | None = None
        # When frames with evidence came, as long as there was never enough for a verdict.
        self._lacking_s: list[float] | None = []
        self._logged: tuple[str, str | None] | None = None
        self._seen: tuple[Region, ...] = ()
        self.reset()

    @classmethod
    def of(
        cls, detector: Detector, name: str, calibration: Calibration, settings: VerdictSettings
    ) -> Self:
        """The judge of what a detector sees, with the calibration of its own model."""
        manifest = detector.backend.manifest
        model = manifest.model_copy(update={"calibration": calibration})
        if detector.region.kind == "faces":
            return cls(name, None, settings, calibration, model)
        faces = None
        if detector.faces is not None:
            faces = settings.calibration(detector.faces.backend.manifest.calibration)
        return cls(name, calibration, settings, faces, model)

    def judge(
        self,
        frame: Frame,
        regions: Sequence[Region],
        error: str | None,
        watch: Stopwatch,
        live: bool = False,
        looked: bool = True,
        unchanged: bool = False,
    ) -> Result:
        """The verdict up to a frame.

        `regions` is what the models gave for it, empty where it could not be taken (`error` says
        why); `unchanged` says that they gave its picture's for an earlier frame. Where nobody
        `looked` for faces, those of the last look are still there. `watch` takes the stage
        `verdict`; only a `live` frame has an age.
        """
        self._last = frame
        parts = [region for region in regions if region.track is None]
        judges_faces = self._faces is not None and error is None
        with watch.stage("verdict"):
            if self._faces is None or error is not None:
                self._seen = ()
            elif looked:
                found = [region for region in regions if region.track is not None]
                self._seen = self._faces.judge(frame.time_s, found)
            evidence = combine(parts) if parts else None
            textured = any(region.textured for region in parts)
            picture = self._on_picture(frame.time_s, evidence, textured)
            verdict = self._overall(picture)
            if picture is None and (lead := leading(self._seen)) is not None:
                evidence = lead.evidence
        logits = [region.evidence.logit for region in regions]
        if not all(map(math.isfinite, logits)):
            error = "the model gave a logit that is not finite"
        # Once, not with each of a million frames that have it.
        if error is not None and (frame.source, error) != self._logged:
            log.warning("%s, frame %d: %s", frame.source, frame.index, error)
        self._logged = frame.source, error
        return Result(
            frame,
            evidence,
            verdict,
            watch.timings_ms,
            (*parts, *self._seen),
            error,
            age_ms=1e3 * max(0.0, time.time() - frame.captured_at) if live else None,
            faces=len(self._seen) if judges_faces else None,
            picture=picture if judges_faces else None,
            unchanged=unchanged,
            model=self._model,
        )

    def silence(self, error: str | None = None, fault: SourceFault | None = None) -> Result:
        """The verdict when no frame came, and why; a black placeholder has the last one's size."""
        height, width = PLACEHOLDER_HW if self._last is None else self._last.shown_hw
        frame = Frame(
            image=np.zeros((height, width, 3), np.uint8),
            index=-1 if self._last is None else self._last.index,
            captured_at=time.time(),
            source=self._name,
        )
        self.reset()
        silent = Verdict("no_signal")
        return Result(frame, None, silent, error=error, fault=fault, model=self._model)

    def reset(self) -> None:
        """Forget all evidence: what comes next has nothing to do with it."""
        picture, faces = self._calibrations
        self._picture = None if picture is None else VerdictTracker(picture, self._settings)
        self._faces = None if faces is None else FaceVerdicts(faces, self._settings)
        self._seen = ()

    def _on_picture(
        self, time_s: float, evidence: Evidence | None, textured: bool
    ) -> Verdict | None:
        if self._picture is None:
            return None
        logit = evidence.logit if evidence is not None and textured else math.nan
        verdict = self._picture.update(time_s, logit)
        if evidence is not None and not textured and verdict.score is None:
            return Verdict("uncertain", reason=NOTHING_TO_SEE)
        if math.isfinite(logit):
            self._warn_if_rare(time_s, self._picture.has_enough)
        return verdict

    def _overall(self, picture: Verdict | None) -> Verdict:
        if picture is None:
            return combined(None, self._seen)
        if self._faces is None:
            return picture
        # A face that was only just seen may be none.
        return combined(picture, [face for face in self._seen if self._faces.has_enough(face)])

    def _warn_if_rare(self, time_s: float, has_enough: bool) -> None:
        """Say it, once for a source, where evidence comes so rarely that it is never enough."""
        settings = self._settings
        if has_enough:
            self._lacking_s = None  # what is lacking later is no news
        if self._lacking_s is None:
            return
        self._lacking_s = [at for at in self._lacking_s if at <= time_s] + [time_s]
        span_s, count = time_s - self._lacking_s[0], len(self._lacking_s) - 1
        if count < 2 * settings.min_frames or span_s <= settings.longest_window_s:
            return
        self._lacking_s = None
        log.warning(
            "%s: a frame is scored every %.0f s, too rarely for a verdict, which needs %d within "
            "%g s. Raise verdict.longest_window_s, and capture.frame_timeout_s where it is "
            "no_signal in between, or lower verdict.min_frames.",
            self._name,
            span_s / count,
            settings.min_frames,
            settings.longest_window_s,
        )
