"""Events: a JSON file for each incident, with the annotated picture of when it was raised."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.decision.alerts import AlertSettings
from edge.errors import SinkError
from edge.files import write_whole
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.feed import EventFeed, Record
from edge.sinks.images import encode_image
from edge.sinks.leftovers import close_events
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


class EventsSink(ConfiguredSink):
    """Writes `{YYYYmmdd-HHMMSS}_{stem}_{state}.json` per incident, the stem being the source's.

    The time is the local one at which the verdict changed; a name that exists becomes `…-2`. The
    file is there, whole, as soon as the incident is raised, and is replaced when it ends, or when
    the sink is closed. Beside it is the picture, `.jpg`, of when it was raised, unless it is not
    wanted (`snapshot`), or cannot be drawn or written. Old events and pictures are deleted as
    `retention` says when one is raised, and once an hour; those that last are not.
    What a run that died left open is closed at the start, and says `"interrupted": true`.
    """

    name = "events"

    def __init__(
        self,
        folder: Path,
        settings: AlertSettings,
        *,
        snapshot: bool = True,
        retention: Retention = _UNLIMITED,
    ) -> None:
        self._folder = folder
        self._feed = EventFeed(settings, None)
        self._wants_snapshot = snapshot
        self._retention = retention
        self._looked_s = 0.0
        self._lasting: dict[str, tuple[Path, str | None]] = {}  # by their id: file and picture

    @classmethod
    def from_options(cls, options: AlertConfig, context: SinkContext) -> Self:
        """From the section `alerts`."""
        return cls(
            Path(placed(str(options.folder), context.name)),
            options,
            snapshot=options.snapshot,
            retention=Retention.of(options.keep_days, options.keep_mb),
        )

    def check(self) -> None:
        """Create the folder."""
        make_folder(self._folder, "events")

    def __enter__(self) -> Self:
        """Create the folder; what a failure or a run that died left unfinished is closed."""
        unfinished = set(self._lasting)
        self._feed.restart()
        self._lasting.clear()
        self.check()
        close_events(self._folder, unfinished.__contains__)
        self._delete_old()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(SinkError) if error is not None else nullcontext():
            for record in self._feed.finish():
                self._end(record)

    def write(self, result: Result, picture: Picture) -> None:
        """Take a result; a picture is drawn only if an event is raised."""
        for record in self._feed.take(result):
            if record["ended"] is None:
                self._raise(record, picture)
            else:
                self._end(record)
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._delete_old()

    def _raise(self, record: Record, picture: Picture) -> None:
        stamp, stem = local_stamp(record["began"]), file_stem(record["source"])
        base = f"{stamp}_{stem}_{record['state']}"
        with _naming:
            path = self._folder / f"{free_name(self._folder, base, ['.json', '.jpg'])}.json"
            _log.info("%s", _log_line(record, path))
            snapshot = _saved(picture, path) if self._wants_snapshot else None
            _write(path, record | {"snapshot": snapshot})
        self._lasting[record["id"]] = path, snapshot
        self._delete_old()

    def _delete_old(self) -> None:
        self._retention.apply(self._folder, _OWN, _lasts)
        self._looked_s = time.monotonic()

    def _end(self, record: Record) -> None:
        if record["id"] in self._lasting:
            path, snapshot = self._lasting[record["id"]]
            _write(path, record | {"snapshot": snapshot})
            del self._lasting[record["id"]]  # what cannot be written is closed at the next start


def _lasts(path: Path) -> bool:
    return path.suffix == ".json" and '"ended": null' in path.read_text("utf-8", "replace")


def _write(path: Path, record: Record) -> None:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # A file name that is not UTF-8 becomes a \udcXX escape, which JSON allows.
    write_whole(path, text.encode("utf-8", "backslashreplace"))


def _log_line(record: Record, path: Path) -> str:
    """An event in one line for a person."""
    state = record["state"].upper().replace("_", " ")
    since = local_stamp(record["began"], "%H:%M:%S")
    score = "" if record["score"] is None else f" (score {record['score']:.2f})"
    why = f": {record['reason']}" if state != "NO SIGNAL" and "reason" in record else ""
    return f"{record['source']}: {state} since {since}{score}{why}, {path}"


def _saved(picture: Picture, event_path: Path) -> str | None:
    """The name of the picture beside an event, which is worth more than it; None for none."""
    path = event_path.with_suffix(".jpg")
    try:
        write_whole(path, encode_image(picture(), ".jpg"))
    except Exception as error:
        _log.warning("No picture for an event: %s", error)
        return None
    return path.name
