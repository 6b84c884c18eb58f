"""A recording that goes on for months: one video after another, the oldest thrown away."""

from __future__ import annotations

import logging
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.errors import SinkError
from edge.signals import uninterrupted
from edge.sinks.base import SinkContext
from edge.sinks.paths import placed, refuse_source
from edge.sinks.stamped import free_name, local_stamp
from edge.sinks.video import TICKS_PER_S, Timeline, VideoSink, usual_fps
from edge.types import Frame, Picture, Result

if TYPE_CHECKING:
    from edge.config import OutputConfig

_log = logging.getLogger(__name__)


class RecordingSink:
    """Writes the annotated video, as `VideoSink` does, in one file or in many.

    With a limit of time or size, files are called `{stem}_{YYYYmmdd-HHMMSS}.mp4` after the local
    time of their first frame, with `-2` where that exists. The frame that comes when a limit has
    been reached begins the next one, as does a frame of another size, so that none is lost between
    two files and none is letterboxed. A file ends at its limit also while there is no signal; the
    next begins with the first picture, as `VideoSink` leaves out placeholders before it. Time is
    that of the video, which clocks that are set do not disturb.

    Without a limit it is one file, by the name that was given. Entered again, after a failure, it
    goes on in a new file with a stamp and leaves what was written as it is.

    Args:
        path: `.mp4`, `.mov` or `.mkv`; its name is what the names of many begin with.
        fps: what the source announces, if anything; guides the encoder, never the time stamps.
        rotate_s: begin a new file after so many seconds.
        rotate_bytes: begin a new file once one is so large on the disk.
        keep_files: of a recording with a limit, keep so many files, the newest, those of earlier
            runs counted; None for all. Deletes nothing but files of its own pattern, and never the
            source.
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
    ) -> None:
        self._path = path
        self._fps = fps
        self._rotate_s = rotate_s
        self._rotate_bytes = rotate_bytes
        self._keep_files = keep_files
        self._files: list[Path] = []
        self._part: _Part | None = None
        self._began = False

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """As `save`, `rotate_s`, `rotate_mb` and `keep_files` of the section `output` want it."""
        return cls(
            Path(placed(str(options.save), context.name)),
            context.fps,
            rotate_s=options.rotate_s,
            rotate_bytes=None if options.rotate_mb is None else round(options.rotate_mb * 1e6),
            keep_files=options.keep_files,
        )

    def check(self) -> None:
        """Check all that can be checked before the first frame.

        Raises:
            SinkError: the suffix, the encoder or the place does not do; nothing was harmed.
        """
        VideoSink(self._next_path(time.time()), self._fps).check()

    def __enter__(self) -> Self:
        """Check the place; the file is created with the first frame.

        Raises:
            SinkError: as `check`.
        """
        self.check()
        if self._rotates and not self._began:
            self._files = earlier_files(self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.sink.__exit__(kind, error, trace)
            self._count(part)
        elif error is None and not self._began:
            _log.warning("No picture came, so nothing was recorded as %s.", self._path)

    def write(self, result: Result, picture: Picture) -> None:
        """Record one picture.

        Raises:
            SinkError: it cannot be written (disk full, for instance), or is the source itself.
        """
        silent = result.verdict.state == "no_signal"
        height, width = result.frame.size_hw
        if self._part is not None and self._is_full(
            self._part, result.frame, None if silent else (height, width)
        ):
            self._finish(self._part)
        if self._part is None:
            if silent:
                return
            self._part = self._next_part(result.frame, (height, width))
        self._part.sink.write(result, picture)
        self._count(self._part)

    @property
    def _rotates(self) -> bool:
        return self._rotate_s is not None or self._rotate_bytes is not None

    def _is_full(self, part: _Part, frame: Frame, hw: tuple[int, int] | None) -> bool:
        """Whether a frame (of a size that counts, or None) no longer belongs into a file."""
        elapsed_s = part.timeline.place(frame) / TICKS_PER_S
        if not self._rotates:
            return False
        return (
            (self._rotate_s is not None and elapsed_s >= self._rotate_s)
            or (self._rotate_bytes is not None and _size(part.path) >= self._rotate_bytes)
            or (hw is not None and hw != part.hw)
        )

    def _finish(self, part: _Part) -> None:
        self._part = None
        with uninterrupted():
            part.sink.__exit__(None, None, None)
        self._count(part)

    def _next_part(self, frame: Frame, hw: tuple[int, int]) -> _Part:
        part = _Part(self._next_path(frame.captured_at), self._fps, hw, frame)
        part.sink.__enter__()
        self._began = True
        return part

    def _next_path(self, began: float) -> Path:
        if not (self._rotates or self._began):
            return self._path
        base = f"{self._path.stem}_{local_stamp(began)}"
        name = free_name(self._path.parent, base, [self._path.suffix])
        return self._path.with_name(name + self._path.suffix)

    def _count(self, part: _Part) -> None:
        """Make room once a new file is there: one that cannot be written costs no older one."""
        if part.counted or not self._rotates or not _size(part.path):
            return
        part.counted = True
        self._files.append(part.path)
        while self._keep_files is not None and len(self._files) > self._keep_files:
            _delete(self._files.pop(0), part.source)


class _Part:
    """One file, with the height and width of its first picture, and its clock from that on."""

    def __init__(self, path: Path, fps: float | None, hw: tuple[int, int], first: Frame) -> None:
        self.path = path
        self.hw = hw
        self.source = first.source
        self.counted = False
        self.sink = VideoSink(path, fps)
        self.timeline = Timeline(1 / usual_fps(fps))
        self.timeline.place(first)


def earlier_files(path: Path) -> list[Path]:
    """The files that recordings by this name left, the oldest first.

    By when they were last written to, for a name may hold the time of a clock that was wrong; a
    board without a battery begins in 1970.

    Args:
        path: as given to `RecordingSink`.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    pattern = re.compile(rf"{stem}_([0-9]{{8}}-[0-9]{{6}})(?:-([0-9]+))?{suffix}")
    found: list[tuple[int, str, int, Path]] = []
    for file in path.parent.iterdir():
        match = pattern.fullmatch(file.name)
        # A file may go meanwhile; a link or a folder is nothing that a recording left.
        with suppress(OSError):
            if match and stat.S_ISREG((status := file.lstat()).st_mode):
                found.append((status.st_mtime_ns, match[1], int(match[2] or 1), file))
    return [file for *_, file in sorted(found)]


def _delete(path: Path, source: str) -> None:
    try:
        refuse_source(path, source)
        path.unlink(missing_ok=True)
    except (OSError, SinkError) as error:
        # No reason to end a recording that goes well.
        reason = error.strerror if isinstance(error, OSError) else "it is the source itself"
        _log.warning("The old recording %s was not deleted: %s.", path, reason)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not there before the first packet; if it was deleted, writing goes on
        return 0
