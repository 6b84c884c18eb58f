"""Clips as one decision each, by the windows and alerts of `patchwatch run`.

Frame by frame a video says the same thing many times. What a person who watches a camera asks is
how soon a generated clip is found, and how often a real one raises an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge.decision.recording import STRETCH_S, Judgement, RecordingJudge
from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.manifest import Calibration
from training.evaluation.metrics import Estimate, share_estimate
from training.evaluation.record import Record, ScoredModel, auc

WATCHED_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""After so many seconds a clip is ranked; a shorter one by all of it."""

FOUND, ALARMED, UNDECIDED = "generated clips found", "real clips called fake", "uncertain"
ALARMS, UNTIL_FOUND = "false alarms per hour", "seconds until found"

ClipFigures = dict[str, Estimate | float | None]
"""Measure → share with its interval, or a number; None where it is not defined."""


class Watched(NamedTuple):
    """A clip's label and source, its logit after each of `WATCHED_S`, and the verdict on it."""

    label: int
    source: str
    logits: tuple[float, ...]
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Clip:
    """The logits of a video's frames, NaN where a frame has none, at a rate per second."""

    label: int
    source: str
    logits: Sequence[float]
    fps: float

    def after(self, seconds: float) -> float:
        """The mean logit of what was seen by then, the first frame at least; NaN without any."""
        seen = np.array(self.logits[: max(1, math.ceil(seconds * self.fps))])
        finite = seen[np.isfinite(seen)]
        return float(finite.mean()) if len(finite) else math.nan

    def judgement(self, calibration: Calibration) -> Judgement | None:
        """As `patchwatch score` judges the file; None where no frame has a logit."""
        if not self.logits:
            return None
        settings = VerdictSettings().for_recording(len(self.logits), self.fps)
        tracker, judge = VerdictTracker(calibration, settings), RecordingJudge(settings)
        for index, logit in enumerate(self.logits):
            time_s = index / self.fps
            judge.add(time_s, tracker.update(time_s, logit))
        return judge.judge()


def clips_of(record: Record, model: ScoredModel, column: str) -> list[Clip]:
    """The videos of a record, as a model scored them under a degradation."""
    logits = [math.nan if x is None else x for x in model.logits[column]]
    clips, start = [], 0
    for item in record.items:
        end = start + item.frames
        if item.video and record.fps:
            clips.append(Clip(item.label, item.source, logits[start:end], record.fps))
        start = end
    return clips


def clip_figures(clips: Sequence[Clip], calibration: Calibration, seed: int) -> ClipFigures:
    """The figures of clips; empty where there is none.

    AUC is the mean over generators, each against all real clips, of the mean logit of what was
    seen, without the clips of which nothing was judged by then; the other rows come from the
    verdicts. A false alarm is an event, of which a real clip can raise several. Seconds until found
    are the median over the generated clips that are found, from the start of the clip until its
    alert.
    """
    watched = [
        Watched(c.label, c.source, tuple(map(c.after, WATCHED_S)), judgement)
        for c in clips
        if (judgement := c.judgement(calibration)) is not None
    ]
    if not watched:
        return {}
    rows: ClipFigures = {
        f"AUC after {seconds:g} s": _mean_auc(watched, place)
        for place, seconds in enumerate(WATCHED_S)
    }
    rows[FOUND] = _share(watched, "fake", seed, 1)
    rows[ALARMED] = _share(watched, "fake", seed, 0)
    rows[UNDECIDED] = _share(watched, "uncertain", seed)
    return rows | {ALARMS: _alarms_per_hour(watched), UNTIL_FOUND: _until_found(watched)}


def _mean_auc(watched: Sequence[Watched], place: int) -> float | None:
    seen = [one for one in watched if math.isfinite(one.logits[place])]
    reals = np.array([one.logits[place] for one in seen if one.label == 0])
    fakes: dict[str, list[float]] = {}
    for one in seen:
        if one.label == 1:
            fakes.setdefault(one.source, []).append(one.logits[place])
    if not len(reals) or not fakes:
        return None
    return round(float(np.mean([auc(reals, np.array(x)) for x in fakes.values()])), 4)


def _share(watched: Sequence[Watched], state: str, seed: int, *labels: int) -> Estimate | None:
    by_source: dict[str, list[bool]] = {}
    for one in watched:
        if one.label in (labels or (0, 1)):
            by_source.setdefault(one.source, []).append(one.judgement.verdict == state)
    found = share_estimate({name: np.array(flags) for name, flags in by_source.items()}, seed)
    if found is None:
        return None
    value, low, high = (round(float(x), 4) for x in found)
    return value, low, high


def _alarms_per_hour(watched: Sequence[Watched]) -> float | None:
    reals = [w.judgement for w in watched if w.label == 0]
    hours = sum(judgement.seconds for judgement in reals) / 3600
    return round(sum(len(j.stretches) for j in reals) / hours, 2) if hours else None


def _until_found(watched: Sequence[Watched]) -> float | None:
    first = [w.judgement.stretches[0] for w in watched if w.label and w.judgement.stretches]
    seconds = [s.begin_s + min(STRETCH_S, s.end_s - s.begin_s) for s in first]
    return round(float(np.median(seconds)), 2) if seconds else None
