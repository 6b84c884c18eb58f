"""Events: a JSON file for each incident, with the annotated picture of when it was raised."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.decision.alerts import AlertSettings, AlertTracker, Event, unix_time
from edge.errors import SinkError, SourceFault
from edge.files import write_whole
from edge.pace import FrameClock
from edge.sinks.base import SinkContext
from edge.sinks.images import encode_image
from edge.sinks.leftovers import close_events, run_id
from edge.sinks.paths import file_stem, free_name, local_stamp, make_folder, placed
from edge.sinks.retention import Retention
from edge.types import Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import AlertConfig

_log = logging.getLogger(__name__)

# Sinks of several cameras may look for a free name in one folder.
_naming = threading.Lock()

_OWN = re.compile(r"\d{8}-\d{6}_.+_(real|fake|uncertain|no_signal)(-\d+)?\.(json|jpg)")

_UNLIMITED = Retention()

_LOOK_S = 3600.0
"""Old events are looked for this often, though none is raised."""


class EventsSink:
    """Writes `{YYYYmmdd-HHMMSS}_{stem}_{state}.json` per incident, the stem being the source's.

    The time is the local one at which the verdict changed; a name that exists becomes `…-2`. The
    file is there, whole, as soon as the incident is raised, and is replaced when it ends, or when
    the sink is closed. Beside it is the picture, `.jpg`, of when it was raised, unless it is not
    wanted (`snapshot`), or cannot be drawn or written. Old events and pictures are deleted as
    `retention` says when one is raised, and once an hour; those that last are not.
    What a run that died left open is closed at the start, and says `"interrupted": true`.
    """

    name = "events"
    wants_picture = False

    def __init__(
        self,
        folder: Path,
        settings: AlertSettings,
        *,
        threshold: float | None = None,
        snapshot: bool = True,
        retention: Retention = _UNLIMITED,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._threshold = threshold
        self._wants_snapshot = snapshot
        self._retention = retention
        self._looked_s = 0.0
        self._lasting: dict[str, Callable[[Event], None]] = {}  # by their id: writes the file
        self._forget()

    @classmethod
    def from_options(cls, options: AlertConfig, context: SinkContext) -> Self:
        """From the section `alerts`."""
        return cls(
            Path(placed(str(options.folder), context.name)),
            options,
            threshold=context.threshold,
            snapshot=options.snapshot,
            retention=Retention.of(options.keep_days, options.keep_mb),
        )

    def check(self) -> None:
        """Create the folder."""
        make_folder(self._folder, "events")

    def __enter__(self) -> Self:
        """Create the folder; what a failure or a run that died left unfinished is closed."""
        unfinished = set(self._lasting)
        self._forget()
        self.check()
        close_events(self._folder, unfinished.__contains__)
        self._delete_old()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(SinkError) if error is not None else nullcontext():
            for event in self._tracker.finish():
                self._end(event)

    def write(self, result: Result, picture: Picture) -> None:
        """Take a result; a picture is drawn only if an event is raised."""
        frame = result.frame
        time_s = self._clock.place(frame.source, frame.pts, frame.captured_at)
        for event in self._tracker.update(time_s, result.verdict, unix_time(frame)):
            if event.over:
                self._end(event)
            else:
                self._raise(event, result, picture)
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._delete_old()

    def _forget(self) -> None:
        self._tracker = AlertTracker(self._settings)
        self._clock = FrameClock()
        self._lasting.clear()

    def _raise(self, event: Event, result: Result, picture: Picture) -> None:
        base = f"{local_stamp(event.began)}_{file_stem(result.frame.source)}_{event.state}"
        with _naming:
            path = self._folder / f"{free_name(self._folder, base, ['.json', '.jpg'])}.json"
            reason = result.error if event.state == "no_signal" else result.verdict.reason
            _log.info("%s", log_line(event, result.frame.source, path, reason))
            record = partial(
                to_event_record,
                source=result.frame.source,
                threshold=self._threshold,
                reason=reason,
                fault=result.fault,
                snapshot=_saved(picture, path) if self._wants_snapshot else None,
            )
            write = partial(_write, path, record)
            write(event)
        self._lasting[event.id] = write
        self._delete_old()

    def _delete_old(self) -> None:
        self._retention.apply(self._folder, _OWN, _lasts)
        self._looked_s = time.monotonic()

    def _end(self, event: Event) -> None:
        if (write := self._lasting.get(event.id)) is not None:
            write(event)
            del self._lasting[event.id]  # what cannot be written is closed at the next start


def _lasts(path: Path) -> bool:
    return path.suffix == ".json" and '"ended": null' in path.read_text("utf-8", "replace")


def _write(path: Path, record: Callable[[Event], dict[str, object]], event: Event) -> None:
    text = json.dumps(record(event), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # A file name that is not UTF-8 becomes a \udcXX escape, which JSON allows.
    write_whole(path, text.encode("utf-8", "backslashreplace"))


def to_event_record(
    event: Event,
    source: str,
    threshold: float | None,
    reason: str | None,
    fault: SourceFault | None,
    snapshot: str | None,
) -> dict[str, object]:
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
        - `snapshot`: the name of the picture beside the file; null if there is none.
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
        "snapshot": snapshot,
        "run": run_id(),
    }


def log_line(event: Event, source: str, path: Path, reason: str | None = None) -> str:
    """An event in one line for a person."""
    state = event.state.upper().replace("_", " ")
    since = local_stamp(event.began, "%H:%M:%S")
    score = "" if event.score is None else f" (score {event.score:.2f})"
    why = f": {reason}" if reason and event.state != "no_signal" else ""
    return f"{source}: {state} since {since}{score}{why}, {path}"


def _saved(picture: Picture, event_path: Path) -> str | None:
    """The name of the picture beside an event, which is worth more than it; None for none."""
    path = event_path.with_suffix(".jpg")
    try:
        write_whole(path, encode_image(picture(), ".jpg"))
    except Exception as error:
        _log.warning("No picture for an event: %s", error)
        return None
    return path.name
