"""From verdicts to events: one for each incident, however the verdict flickers meanwhile.

A spell is a stretch of results with one verdict. One that lasts `debounce_s` raises an event, the
beginning of an incident. Spells of the same verdict that follow in less than `cooldown_s` belong to
it, so that a score which hovers at the threshold gives one event and not a hundred. An incident is
over once the verdict was away for `cooldown_s`; it ended when the verdict turned away.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from edge.types import Frame, State, Verdict

LONGEST_GAP_S = 3600.0
"""A longer step is a clock that was set, not time: a source that is silent says so far oftener."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """When a verdict becomes an event.

    Attributes:
        states: the verdicts that are incidents, each apart from the others.
        debounce_s: a verdict must last so long to become an event.
        cooldown_s: an incident is over once the verdict was away so long.
    """

    states: tuple[State, ...] = ("fake",)
    debounce_s: float = 1.0
    cooldown_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """An incident, as it was raised or as it ended.

    Times follow the clock of the alerts from `began` on, so that they never contradict each other
    where the system's clock is set meanwhile.

    Attributes:
        id: unlike that of any other event.
        state: the verdict.
        began: when the verdict turned, Unix time in seconds.
        raised: when it had lasted for long enough, likewise.
        duration_s: from `began` to when the verdict turned away, or up to now.
        score: P(fake) in 0..1 when it was raised; None where there is none.
        highest_score: the highest while the verdict was this.
        over: whether it has ended.
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
        """When the verdict turned away, Unix time in seconds; None while it lasts."""
        return self.began + self.duration_s if self.over else None


class AlertTracker:
    """Follows the verdicts of one source. Not thread-safe.

    Args:
        settings: when a verdict becomes an event.
        new_id: gives each event its own.
    """

    def __init__(
        self, settings: AlertSettings, new_id: Callable[[], str] = lambda: uuid.uuid4().hex
    ) -> None:
        self._watches = [
            _Watch(state, settings, new_id) for state in dict.fromkeys(settings.states)
        ]
        self._now_s = -math.inf

    def update(self, time_s: float, verdict: Verdict, now_unix: float) -> list[Event]:
        """Take the verdict of a result.

        Args:
            time_s: on a clock that does not fall, such as `SteadyClock`'s; a step back counts as
                no time.
            verdict: up to this result.
            now_unix: the same moment as Unix time, for the event; may leap.

        Returns:
            Events that are over now, and then those raised now, whose `over` is False.
        """
        if time_s > self._now_s:
            self._now_s = time_s
        over = [event for watch in self._watches for event in watch.turn(verdict, self._now_s)]
        raised = [
            event for watch in self._watches for event in watch.stay(verdict, self._now_s, now_unix)
        ]
        return over + raised

    def finish(self) -> list[Event]:
        """End what still lasts, at the time of the latest result."""
        return [event for watch in self._watches for event in watch.end(self._now_s)]


@dataclass(slots=True)
class _Incident:
    """A spell, and once raised the incident that it began.

    Attributes:
        began_s: when the verdict turned, on the clock of the alerts.
        began: the same as Unix time.
        highest: score so far.
        away_s: when the verdict turned away; None while it is this.
        event: as raised; None before.
    """

    began_s: float
    began: float
    highest: float | None = None
    away_s: float | None = None
    event: Event | None = None

    def see(self, score: float | None) -> None:
        if score is not None and (self.highest is None or score > self.highest):
            self.highest = score


class _Watch:
    """Looks for one state."""

    def __init__(self, state: State, settings: AlertSettings, new_id: Callable[[], str]) -> None:
        self._state = state
        self._settings = settings
        self._new_id = new_id
        self._incident: _Incident | None = None

    def turn(self, verdict: Verdict, now_s: float) -> Iterator[Event]:
        """Notice that the verdict is another; yields the incident that is over by that."""
        incident = self._incident
        if incident is None:
            return
        if verdict.state != self._state and incident.away_s is None:
            incident.away_s = now_s
        if incident.away_s is not None and (
            incident.event is None or now_s - incident.away_s >= self._settings.cooldown_s
        ):
            yield from self.end(now_s)

    def stay(self, verdict: Verdict, now_s: float, now_unix: float) -> Iterator[Event]:
        """Notice that the verdict is this one; yields the incident that is raised by that."""
        if verdict.state != self._state:
            return
        incident = self._incident = self._incident or _Incident(now_s, now_unix)
        incident.away_s = None
        incident.see(verdict.score)
        lasted_s = now_s - incident.began_s
        if incident.event is None and lasted_s >= self._settings.debounce_s:
            incident.event = Event(
                self._new_id(),
                self._state,
                incident.began,
                incident.began + lasted_s,
                lasted_s,
                verdict.score,
                incident.highest,
            )
            yield incident.event

    def end(self, now_s: float) -> Iterator[Event]:
        """Forget the spell; yields the incident if it was one."""
        incident, self._incident = self._incident, None
        if incident is not None and incident.event is not None:
            until_s = now_s if incident.away_s is None else incident.away_s
            yield replace(
                incident.event,
                duration_s=until_s - incident.began_s,
                highest_score=incident.highest,
                over=True,
            )


class _Stamps(NamedTuple):
    source: str
    pts: float | None
    captured_at: float

    def seconds_since(self, last: _Stamps) -> float:
        if self.pts is None or last.pts is None or self.source != last.source:
            step_s = self.captured_at - last.captured_at
        else:
            step_s = self.pts - last.pts
        return step_s if 0 < step_s <= LONGEST_GAP_S else 0.0


class SteadyClock:
    """Makes one time, which never falls, of the stamps that results carry.

    Between two frames it goes on by their presentation times, which the system's clock does not
    disturb; from or to a placeholder, or where there are none, by when they were captured. A step
    back, and one so long that a clock was set, count as no time.
    """

    def __init__(self) -> None:
        self._last: _Stamps | None = None
        self._time_s = 0.0

    def place(self, frame: Frame) -> float:
        """The time of a frame or placeholder, in seconds from the first."""
        stamps = _Stamps(frame.source, frame.pts, frame.captured_at)
        if self._last is not None:
            self._time_s += stamps.seconds_since(self._last)
        self._last = stamps
        return self._time_s


def unix_time(frame: Frame) -> float:
    """When a frame was captured; the present where its clock gave no number."""
    return frame.captured_at if math.isfinite(frame.captured_at) else time.time()
