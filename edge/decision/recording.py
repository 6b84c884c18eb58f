"""From the verdicts over a recording to one on all of it, by the windows that `run` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from edge.decision.alerts import AlertSettings, AlertTracker, Event
from edge.decision.verdict import VerdictSettings
from edge.types import State, Verdict

STRETCH_S = AlertSettings().debounce_s
"""A verdict that lasts this long decides on a recording; one of `fake` is an event of `run` too."""


class Stretch(NamedTuple):
    """A part of a recording, in seconds from its start, and the highest score in it, 0..1."""

    begin_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a recording: that of its worst stretch of `STRETCH_S`.

    A shorter recording is one stretch, from where there is enough evidence on.

    Attributes:
        verdict: `fake` if one stretch is fake; `uncertain` if one is not real, or less than half of
            it is; else `real`.
        score: the highest of a window with that verdict, P(fake) in 0..1.
        seconds: how long it is, as far as it was scored.
        fake_share: share of that time with the verdict `fake`, 0..1.
        stretches: those that are fake, as `run` raises events for them.
        worst: the window with the highest score.
    """

    verdict: State
    score: float
    seconds: float
    fake_share: float
    stretches: tuple[Stretch, ...]
    worst: Stretch


class _Moment(NamedTuple):
    time_s: float
    state: State
    score: float | None


class RecordingJudge:
    """Takes the verdicts over a recording in order, and judges all of it."""

    def __init__(self, settings: VerdictSettings) -> None:
        self._settings = settings
        self._moments: list[_Moment] = []

    def add(self, time_s: float, verdict: Verdict) -> None:
        """The verdict up to a frame, at its time in seconds, which never falls."""
        self._moments.append(_Moment(time_s, verdict.state, verdict.score))

    def judge(self) -> Judgement | None:
        """The verdict on all of it; None where nothing was scored."""
        first_s, last_s = self._moments[0].time_s, self._moments[-1].time_s
        count = len(self._moments)
        step_s = (last_s - first_s) / max(1, count - 1)
        # What comes before is uncertain for lack of evidence, and no verdict on the recording.
        judged = [m for m in self._moments[self._settings.min_frames - 1 :] if m.score is not None]
        judged = [m for m in judged if m.time_s - first_s >= self._settings.min_evidence_s]
        if not judged:
            return None
        # A hundredth less than what is left of a short one, as times are rounded.
        lasts_s = min(STRETCH_S, 0.99 * (last_s - judged[0].time_s))
        fakes = _stretches(judged, "fake", lasts_s, ("fake",))
        state: State = "real"
        if fakes:
            state = "fake"
        elif _stretches(judged, "uncertain", lasts_s, ("fake", "uncertain")) or 2 * sum(
            m.state == "real" for m in judged
        ) < len(judged):
            state = "uncertain"
        worst = max(judged, key=_score)
        alike = max((m for m in judged if m.state == state), key=_score, default=worst)
        ends = [m.time_s for m in self._moments[1:]] + [last_s + step_s]
        fake_s = sum(
            end - m.time_s for m, end in zip(self._moments, ends, strict=True) if m.state == "fake"
        )
        seconds = last_s + step_s - first_s
        begin_s = max(first_s, worst.time_s - self._settings.window_s)
        return Judgement(
            state,
            _score(alike),
            seconds,
            fake_s / seconds if seconds else float(state == "fake"),
            tuple(fakes),
            Stretch(begin_s, worst.time_s, _score(worst)),
        )


def _score(moment: _Moment) -> float:
    return moment.score or 0.0


def _stretches(
    moments: list[_Moment], state: State, lasts_s: float, alike: tuple[State, ...]
) -> list[Stretch]:
    """The incidents of a state, for which several may count."""
    tracker = AlertTracker(AlertSettings(states=(state,), debounce_s=lasts_s))
    events: list[Event] = []
    for moment in moments:
        shown = state if moment.state in alike else "real"
        events += tracker.update(moment.time_s, Verdict(shown, moment.score), moment.time_s)
    ended = [event for event in (*events, *tracker.finish()) if event.over]
    return [Stretch(e.began, e.began + e.duration_s, e.highest_score or 0.0) for e in ended]
