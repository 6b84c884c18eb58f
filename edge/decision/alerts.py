"""From verdicts to events: one for each incident, however the verdict flickers meanwhile.

A verdict that lasts `debounce_s` raises an event, the start of an incident. The same verdict again
in less than `cooldown_s` belongs to it, so that a score which hovers at the threshold gives one
event and not a hundred. An incident is over once the verdict was another for `cooldown_s`; it ended
when the verdict changed.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, replace

from pydantic import Field

from edge.schema import Strict
from edge.types import Frame, State, Verdict


class AlertSettings(Strict):
    """When a verdict becomes an event."""

    states: tuple[State, ...] = Field(
        default=("fake",),
        description="Verdicts that are incidents: fake, no_signal, uncertain, real.",
    )
    debounce_s: float = Field(
        default=1.0, ge=0, description="A verdict must last this long to become an event."
    )
    cooldown_s: float = Field(
        default=10.0, ge=0, description="An incident ends this long after its verdict did."
    )


@dataclass(frozen=True, slots=True)
class Event:
    """An incident, as it was raised or as it ended.

    `began` and `raised` are Unix seconds on the clock of the alerts, so that a system clock that is
    set meanwhile makes no contradiction; `duration_s` is from `began` to when the verdict changed
    again, or up to now. Scores are P(fake) in 0..1, None where there is none.
    """

    id: str
    state: State
    began: float
    raised: float
    duration_s: float
    score: float | None
    highest_score: float | None
    over: bool = False

    @property
    def ended(self) -> float | None:
        """When the verdict changed again, Unix time in seconds; None while it lasts."""
        return self.began + self.duration_s if self.over else None


class AlertTracker:
    """Follows the verdicts of one source. Not thread-safe."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._incidents: dict[State, _Incident | None] = dict.fromkeys(settings.states)
        self._now_s = -math.inf

    def update(self, time_s: float, verdict: Verdict, now_unix: float) -> list[Event]:
        """Take the verdict of a result, at a time in seconds that never falls (`FrameClock`).

        `now_unix` is the same time as Unix time, for the event; it may leap. Returns the events
        that are over now, and then those raised now, whose `over` is False.
        """
        self._now_s = time_s
        events = []
        for state, incident in self._incidents.items():
            if incident is not None and incident.away_s is None and state != verdict.state:
                incident.away_s = time_s
            if incident is None or incident.away_s is None:
                continue
            # At once if no event was raised.
            if incident.event is None or time_s - incident.away_s >= self._settings.cooldown_s:
                events += self._ended(state)
        if verdict.state in self._incidents:
            events += self._seen(verdict, now_unix)
        return events

    def finish(self) -> list[Event]:
        """End what still lasts, at the time of the latest result."""
        return [event for state in self._incidents for event in self._ended(state)]

    def _ended(self, state: State) -> list[Event]:
        """Forget an incident; returns its event if one was raised."""
        incident, self._incidents[state] = self._incidents[state], None
        if incident is None or incident.event is None:
            return []
        until_s = self._now_s if incident.away_s is None else incident.away_s
        lasted_s, highest = until_s - incident.began_s, incident.highest
        return [replace(incident.event, duration_s=lasted_s, highest_score=highest, over=True)]

    def _seen(self, verdict: Verdict, now_unix: float) -> list[Event]:
        """Take note of a verdict; returns the event if that raises one."""
        incident = self._incidents[verdict.state] or _Incident(self._now_s, now_unix)
        self._incidents[verdict.state] = incident
        incident.away_s = None
        score, highest = verdict.score, incident.highest
        if score is not None and (highest is None or score > highest):
            incident.highest = highest = score
        began, lasted_s = incident.began, self._now_s - incident.began_s
        if incident.event is not None or lasted_s < self._settings.debounce_s:
            return []
        raised = began + lasted_s
        incident.event = Event(
            uuid.uuid4().hex, verdict.state, began, raised, lasted_s, score, highest
        )
        return [incident.event]


@dataclass(slots=True)
class _Incident:
    """A stretch of one verdict, and the event that belongs to it once one was raised."""

    began_s: float  # on the clock of the alerts
    began: float  # the same as Unix time
    highest: float | None = None
    away_s: float | None = None  # when the verdict changed to another
    event: Event | None = None


def unix_time(frame: Frame) -> float:
    """When a frame was captured; the present where its clock gave no number."""
    return frame.captured_at if math.isfinite(frame.captured_at) else time.time()
