"""From results to the records of events, for all sinks that write or send them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from edge.decision.alerts import AlertSettings, AlertTracker, Event, unix_time
from edge.errors import SourceFault
from edge.pace import FrameClock
from edge.sinks.leftovers import run_id
from edge.types import Result

Record = dict[str, Any]


class EventFeed:
    """Follows one source. A record is as `to_event_record` documents it, without a snapshot; its
    `source` is the camera, or that of the frame where none is named.
    """

    def __init__(self, settings: AlertSettings, camera: str | None) -> None:
        self._settings, self._camera = settings, camera
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
                    source=self._camera or frame.source,
                    threshold=result.model.calibration.threshold if result.model else None,
                    reason=result.error if silent else result.verdict.reason,
                    fault=result.fault,
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


def to_event_record(
    event: Event,
    source: str,
    threshold: float | None,
    reason: str | None,
    fault: SourceFault | None,
) -> Record:
    """An event as a JSON object, valid under the strict standard.

    Returns:
        - `id`, `source`, `state`: of the event.
        - `began`: when the verdict changed, `raised`: when it had lasted for long enough, `ended`:
          when it changed again or watching ended, null while it lasts; Unix seconds.
        - `duration_s`: from `began` to `ended`, or to `raised` while it lasts.
        - `score`: calibrated P(fake) in 0..1 when it was raised, `highest_score`: the highest while
          it lasted; null where there is none.
        - `threshold`: above which scores are called fake; null if unknown.
        - `reason`: what looked fake or was unclear when it was raised, where there is something to
          say; with `no_signal` why no frame came, null if unknown, and `fault` likewise.
        - `snapshot`: null, and in a file the name of the picture beside it if there is one.
        - `run`: the process that raised it, by which the next start knows that it died.
    """
    why: dict[str, object] = {"reason": reason} if reason else {}
    if event.state == "no_signal":
        why = {"reason": reason, "fault": fault}
    return {
        "id": event.id,
        "source": source,
        "state": event.state,
        "began": round(event.began, 3),
        "raised": round(event.raised, 3),
        "ended": None if event.ended is None else round(event.ended, 3),
        "duration_s": round(event.duration_s, 3),
        # numpy's numbers are no JSON
        "score": None if event.score is None else float(event.score),
        "highest_score": None if event.highest_score is None else float(event.highest_score),
        "threshold": threshold,
        **why,
        "snapshot": None,
        "run": run_id(),
    }
