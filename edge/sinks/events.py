"""Events: a JSON file for each incident, with the annotated picture of when it was raised."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.decision.alerts import AlertSettings, AlertTracker, Event, SteadyClock, unix_time
from edge.errors import SinkError, SourceFault
from edge.files import write_whole
from edge.sinks.base import SinkContext
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem, free_name, local_stamp, make_folder, placed
from edge.types import Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import AlertConfig

_log = logging.getLogger(__name__)

# Sinks of several cameras may look for a free name in one folder.
_naming = threading.Lock()


class EventsSink:
    """Writes `{YYYYmmdd-HHMMSS}_{stem}_{state}.json` per incident, the stem being the source's.

    The time is the local one at which the verdict changed; a name that exists becomes `…-2`. The
    file is there, whole, as soon as the incident is raised, and is replaced when it ends, or when
    the sink is closed. Beside it is the picture, `.jpg`, of when it was raised, unless it cannot be
    drawn or written.

    Args:
        folder: where to write; created with its parents.
        settings: when a verdict becomes an event.
        threshold: above which scores are called fake, for the record; None if unknown.
        snapshot: whether to write the picture.
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
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._threshold = threshold
        self._wants_snapshot = snapshot
        self._forget()

    @classmethod
    def from_options(cls, options: AlertConfig, context: SinkContext) -> Self:
        """From the section `alerts`."""
        return cls(
            Path(placed(str(options.folder), context.name)),
            options,
            threshold=context.threshold,
            snapshot=options.snapshot,
        )

    def check(self) -> None:
        """Create the folder."""
        make_folder(self._folder, "events")

    def __enter__(self) -> Self:
        """Create the folder; what a failure left unfinished is forgotten."""
        self._forget()
        self.check()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(SinkError) if error is not None else nullcontext():
            for event in self._tracker.finish():
                self._end(event)

    def write(self, result: Result, picture: Picture) -> None:
        """Take a result; a picture is drawn only if an event is raised."""
        time_s = self._clock.place(result.frame)
        for event in self._tracker.update(time_s, result.verdict, unix_time(result.frame)):
            if event.over:
                self._end(event)
            else:
                self._raise(event, result, picture)

    def _forget(self) -> None:
        self._tracker = AlertTracker(self._settings)
        self._clock = SteadyClock()
        self._lasting: dict[str, Callable[[Event], None]] = {}  # by their id: writes the file

    def _raise(self, event: Event, result: Result, picture: Picture) -> None:
        base = f"{local_stamp(event.began)}_{file_stem(result.frame.source)}_{event.state}"
        with _naming:
            path = self._folder / f"{free_name(self._folder, base, ['.json', '.jpg'])}.json"
            _log.info("%s", log_line(event, result.frame.source, path))
            record = partial(
                to_event_record,
                source=result.frame.source,
                threshold=self._threshold,
                reason=result.error,
                fault=result.fault,
                snapshot=_saved(picture, path) if self._wants_snapshot else None,
            )
            write = partial(_write, path, record)
            write(event)
        self._lasting[event.id] = write

    def _end(self, event: Event) -> None:
        write = self._lasting.pop(event.id, None)
        if write is not None:
            write(event)


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
        - `reason` and `fault`: why no frame came, only with `no_signal`; null if unknown.
        - `snapshot`: the name of the picture beside the file; null if there is none.
    """
    why = {"reason": reason, "fault": fault} if event.state == "no_signal" else {}
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
    }


def log_line(event: Event, source: str, path: Path) -> str:
    """An event in one line for a person."""
    state = event.state.upper().replace("_", " ")
    since = local_stamp(event.began, "%H:%M:%S")
    score = "" if event.score is None else f" (score {event.score:.2f})"
    return f"{source}: {state} since {since}{score}, {path}"


def _saved(picture: Picture, event_path: Path) -> str | None:
    """The name of the picture beside an event, which is worth more than it; None for none."""
    path = event_path.with_suffix(".jpg")
    try:
        write_whole(path, encode_image(picture(), ".jpg"))
    except Exception as error:
        _log.warning("No picture for an event: %s", error)
        return None
    return path.name
