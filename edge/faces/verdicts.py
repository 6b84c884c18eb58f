"""From the evidence of faces to a verdict on each, and to one on the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.manifest import Calibration
from edge.types import Evidence, Region, State, Verdict

SEVERITY: tuple[State, ...] = ("no_signal", "real", "uncertain", "fake")
"""Of verdicts on parts of one frame: the last that is among them is that of the frame."""


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

    def __len__(self) -> int:
        """Faces that are remembered."""
        return len(self._trackers)

    def judge(self, time_s: float, regions: Sequence[Region]) -> tuple[Region, ...]:
        """The regions of a frame, each with the verdict on its track.

        Args:
            time_s: the frame's time; a step backwards drops all evidence.
            regions: those of faces; others stay as they are.
        """
        judged = tuple(self._judged(time_s, region) for region in regions)
        seen = {region.track for region in regions}
        for number, tracker in list(self._trackers.items()):
            if number not in seen and tracker.update(time_s, math.nan).score is None:
                del self._trackers[number]
        return judged

    def has_enough(self, region: Region) -> bool:
        """Whether the evidence of a face that was judged is enough for a verdict."""
        return region.track in self._trackers and self._trackers[region.track].has_enough

    def _judged(self, time_s: float, region: Region) -> Region:
        if region.track is None:
            return region
        if region.track not in self._trackers:
            tracker = VerdictTracker(self._calibration, self._settings)
            self._trackers[region.track] = tracker
        verdict = self._trackers[region.track].update(time_s, region.evidence.logit)
        return replace(region, verdict=verdict)


def leading(regions: Sequence[Region]) -> Region | None:
    """The face that stands for its frame; None where there is none.

    One judged fake before all, then one that is uncertain, and of equals the highest score.
    """
    return max((r for r in regions if r.track is not None), key=_lead, default=None)


def _lead(region: Region) -> tuple[int, float, float]:
    verdict = region.verdict or Verdict("uncertain")
    logit = region.evidence.logit if math.isfinite(region.evidence.logit) else -math.inf
    if verdict.score is None:  # nothing is known of it
        return -1, -1.0, logit
    return SEVERITY.index(verdict.state), verdict.score, logit


def combined(picture: Verdict | None, faces: Sequence[Region]) -> Verdict:
    """The verdict of a source, and why: `fake` where its picture or a face is, else the picture's.

    A face that is unclear says little, and leaves the verdict on a picture as it is. Where faces
    alone are judged the gravest verdict among them counts.

    Args:
        picture: None where faces alone are judged.
        faces: regions with their verdicts.
    """
    lead = leading(faces)
    face = lead.verdict if lead else None
    if picture is not None and face is not None and face.state != "fake":
        face = None
    verdicts = [verdict for verdict in (picture, face) if verdict is not None]
    if not verdicts:
        return Verdict("uncertain")
    gravest = max(verdicts, key=lambda verdict: SEVERITY.index(verdict.state))
    peers = [verdict.score for verdict in verdicts if verdict.state == gravest.state]
    score = max((score for score in peers if score is not None), default=None)
    return Verdict(gravest.state, score, _reason(gravest.state, picture, faces))


def _reason(state: State, picture: Verdict | None, faces: Sequence[Region]) -> str | None:
    peers = [face.track or 0 for face in faces if face.verdict and face.verdict.state == state]
    numbers = [str(number) for number in sorted(peers)]
    several = len(numbers) > 1
    who = f"faces {', '.join(numbers[:-1])} and" if several else "face"
    who = " ".join([who, *numbers[-1:]])
    if state == "fake":
        parts = ["picture looks generated"] if picture and picture.state == "fake" else []
        parts += [f"{who} look{'' if several else 's'} swapped"] if numbers else []
        return ", ".join(parts)
    if picture is not None:
        return picture.reason
    if state == "uncertain" and numbers:
        return f"{who} {'are' if several else 'is'} unclear"
    return None


def evidence_of_faces(regions: Sequence[Region]) -> Evidence:
    """The evidence of a frame by its faces alone: that of the one that leans most to fake."""
    finite = [region for region in regions if math.isfinite(region.evidence.logit)]
    return max(finite or regions, key=lambda region: region.evidence.logit).evidence
