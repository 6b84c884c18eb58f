"""A recording that runs for months: one video after another, the oldest deleted.

Not FFmpeg's segment muxer: it cuts by time alone, without a limit of size, overwrites names that
exist, deletes nothing of earlier runs, and cannot change the frame size.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.errors import SinkError
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.paths import free_name, local_stamp, placed, refuse_source, stamped_files
from edge.sinks.video import TICKS_PER_S, USUAL_FPS, VideoFile, check_video, close_left_open
from edge.types import Frame, Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import OutputConfig

_log = logging.getLogger(__name__)

_LEFT_OPEN = 3
"""Newest files among which those are looked for that a run left open: it has one open at a time."""


class RecordingSink(ConfiguredSink):
    """Writes the annotated video, see `VideoFile`, in one file or in many.

    With a limit of time or size, files are called `{stem}_{YYYYmmdd-HHMMSS}.mp4` after the local
    time of their first frame, with `-2` where that exists. The frame that comes when a limit has
    been reached begins the next file, as does a frame of another size. A file ends at its limit
    also while there is no signal; the next begins with the first picture. Time is that of the
    video, so clocks that are set do not matter. Of many only the newest `keep_files` are kept,
    those of earlier runs included, and never is the source deleted.

    Without a limit it is one file, by the name that was given; one that exists is replaced when the
    first pictures are written. Placeholders without signal before the first picture are left out.
    Reopened after a failure, it continues in a new file with a stamp.
    """

    name = "encode"
    wants_picture = True

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        *,
        rotate_s: float | None = None,
        rotate_bytes: int | None = None,
        keep_files: int | None = None,
        sound: Path | None = None,
    ) -> None:
        self._path = path
        # What no camera has is not believed.
        self._fps = fps if fps is not None and 1 <= fps <= 1000 else USUAL_FPS
        self._rotate_s = rotate_s
        self._rotate_bytes = rotate_bytes
        self._keep_files = keep_files
        self._sound = sound
        self._files: list[Path] = []
        self._video: VideoFile | None = None
        self._has_begun = self._is_counted = False

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """From the section `output`."""
        return cls(
            Path(placed(str(options.save), context.name)),
            context.fps,
            rotate_s=options.rotate_s,
            rotate_bytes=None if options.rotate_mb is None else round(options.rotate_mb * 1e6),
            keep_files=options.keep_files,
            sound=context.sound,
        )

    def check(self) -> None:
        """Check all that can be checked before the first frame."""
        check_video(self._next_path(time.time()))

    def __enter__(self) -> Self:
        """Check the place; the file is created with the first frame.

        What a run that died left open is closed.
        """
        self.check()
        if not self._has_begun:
            for path in (*stamped_files(self._path)[-_LEFT_OPEN:], self._path):
                if path.is_file():
                    close_left_open(path)
        if self._rotates and not self._has_begun:
            self._files = stamped_files(self._path)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._video is not None:
                self._finish(self._video)
            elif error is None and not self._has_begun:
                _log.warning("No picture came, so nothing was recorded as %s.", self._path)
        except SinkError as failure:
            if error is None:
                raise
            if not isinstance(error, SinkError):
                _log.warning("%s", failure)

    def write(self, result: Result, picture: Picture) -> None:
        """Record one picture."""
        frame, silent = result.frame, result.verdict.state == "no_signal"
        ticks = 0
        if self._video is not None:
            ticks = self._video.place(frame)
            if self._is_full(self._video, ticks, frame, silent):
                self._finish(self._video)
        if self._video is None:
            if silent:
                return
            path = self._next_path(frame.captured_at)
            check_video(path)
            self._video, ticks = VideoFile(path, frame, self._fps, self._sound), 0
            self._has_begun, self._is_counted = True, False
        self._video.add(picture(), ticks)
        self._count(self._video)

    @property
    def _rotates(self) -> bool:
        return self._rotate_s is not None or self._rotate_bytes is not None

    def _is_full(self, video: VideoFile, ticks: int, frame: Frame, silent: bool) -> bool:
        """Whether a frame no longer belongs into a file; the size of a placeholder is no reason."""
        return self._rotates and (
            (self._rotate_s is not None and ticks >= self._rotate_s * TICKS_PER_S)
            or (self._rotate_bytes is not None and _size(video.path) >= self._rotate_bytes)
            or (not silent and frame.size_hw != video.hw)
        )

    def _finish(self, video: VideoFile) -> None:
        self._video = None
        try:
            video.close()
        finally:
            self._count(video)

    def _next_path(self, began: float) -> Path:
        if not (self._rotates or self._has_begun):
            return self._path
        base = f"{self._path.stem}_{local_stamp(began)}"
        name = free_name(self._path.parent, base, [self._path.suffix])
        return self._path.with_name(name + self._path.suffix)

    def _count(self, video: VideoFile) -> None:
        """Make room once a new file is there: one that cannot be written costs no older one."""
        if self._is_counted or not self._rotates or not _size(video.path):
            return
        self._is_counted = True
        self._files.append(video.path)
        while self._keep_files is not None and len(self._files) > self._keep_files:
            _delete(self._files.pop(0), video.source)


def _delete(path: Path, source: str) -> None:
    try:
        refuse_source(path, source)
        path.unlink(missing_ok=True)
    except (OSError, SinkError) as error:  # no reason to end a recording that goes well
        reason = error.strerror if isinstance(error, OSError) else "it is the source itself"
        _log.warning("The old recording %s was not deleted: %s.", path, reason)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not there before the first packet; if it was deleted, writing continues
        return 0
