"""From results to the records of events, for sinks that send them or keep them by the record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from edge.decision.alerts import AlertSettings, AlertTracker, Event, unix_time
from edge.pace import FrameClock
from edge.sinks.events import to_event_record
from edge.types import Result

Record = dict[str, Any]


class EventFeed:
    """Follows one source. A record is as `to_event_record` documents it, `source` the camera's."""

    def __init__(self, settings: AlertSettings, camera: str, threshold: float | None) -> None:
        self._settings, self._camera, self._threshold = settings, camera, threshold
        self.restart()

    def restart(self) -> None:
        """Forget what lasts."""
        self._tracker = AlertTracker(self._settings)
        self._clock = FrameClock()
        self._lasting: dict[str, Any] = {}

    def take(self, result: Result) -> Iterator[Record]:
        """The events that are over with a result, and those that it raises (`ended` null)."""
        frame = result.frame
        time_s = self._clock.place(frame.source, frame.pts, frame.captured_at)
        for event in self._tracker.update(time_s, result.verdict, unix_time(frame)):
            if not event.over:
                silent = event.state == "no_signal"
                self._lasting[event.id] = partial(
                    to_event_record,
                    source=self._camera,
                    threshold=self._threshold,
                    reason=result.error if silent else result.verdict.reason,
                    fault=result.fault,
                    snapshot=None,
                )
            yield from self._record(event)

    def finish(self) -> Iterator[Record]:
        """What still lasts, ended now."""
        for event in self._tracker.finish():
            yield from self._record(event)

    def _record(self, event: Event) -> Iterator[Record]:
        make = self._lasting.pop(event.id, None) if event.over else self._lasting.get(event.id)
        if make is not None:
            yield make(event)
