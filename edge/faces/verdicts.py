"""From the evidence of faces to a verdict on each, and to one on the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.manifest import Calibration
from edge.types import Evidence, Region, Verdict


class FaceVerdicts:
    """A verdict for each face of a source, each on the evidence of that face alone.

    A face that was not seen for as long as evidence lasts is forgotten.

    Args:
        calibration: turns logits into scores.
        settings: how much evidence a verdict needs.
    """

    def __init__(self, calibration: Calibration, settings: VerdictSettings) -> None:
        self._calibration = calibration
        self._settings = settings
        self._trackers: dict[int, VerdictTracker] = {}
        self._last_s: dict[int, float] = {}

    def __len__(self) -> int:
        """Faces that are remembered."""
        return len(self._trackers)

    def judge(self, time_s: float, regions: Sequence[Region]) -> tuple[Region, ...]:
        """The regions of a frame, each with the verdict on its track.

        Args:
            time_s: the frame's time; a step backwards drops all evidence.
            regions: those of faces; others stay as they are.
        """
        if any(time_s < last_s for last_s in self._last_s.values()):
            self.clear()
        judged = tuple(self._judged(time_s, region) for region in regions)
        for number, last_s in list(self._last_s.items()):
            if last_s < time_s - self._settings.window_s:
                del self._trackers[number], self._last_s[number]
        return judged

    def clear(self) -> None:
        """Forget all evidence."""
        self._trackers.clear()
        self._last_s.clear()

    def _judged(self, time_s: float, region: Region) -> Region:
        if region.track is None:
            return region
        if region.track not in self._trackers:
            tracker = VerdictTracker(self._calibration, self._settings)
            self._trackers[region.track] = tracker
        self._last_s[region.track] = time_s
        verdict = self._trackers[region.track].update(time_s, region.evidence.logit)
        return replace(region, verdict=verdict)


def leading(regions: Sequence[Region]) -> Region | None:
    """The face that stands for its frame: the one that scores highest, a fake one before all.

    A fake one is thus not hidden by one that scores higher and is too new to be judged. None where
    there is no face.
    """
    faces = [region for region in regions if region.track is not None]
    return max(faces, key=_lead, default=None)


def _lead(region: Region) -> tuple[bool, float, float]:
    verdict = region.verdict or Verdict("uncertain")
    score = -1.0 if verdict.score is None else verdict.score
    logit = region.evidence.logit
    return verdict.state == "fake", score, logit if math.isfinite(logit) else -math.inf


def evidence_of_faces(regions: Sequence[Region]) -> Evidence:
    """The evidence of a frame by its faces alone: that of the one that leans most to fake."""
    finite = [region for region in regions if math.isfinite(region.evidence.logit)]
    return max(finite or regions, key=lambda region: region.evidence.logit).evidence
