"""Pictures as a source: one, a folder of them, or those that match a pattern."""

from __future__ import annotations

import glob
import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from edge.errors import SourceError
from edge.sources.images import VIDEO_SUFFIXES, is_image, read_animation
from edge.sources.policy import Selection
from edge.sources.reader import Feed, RecordedSource
from edge.sources.walk import walk
from edge.types import Frame, Image
from edge.words import counted

log = logging.getLogger(__name__)


class StillsSource(RecordedSource):
    """Pictures that each stand alone, those of an animation too.

    Args:
        name: fit to be shown.
        paths: the files, in order. A single one that cannot be read is an error; of several, the
            unreadable ones are skipped and listed in `failures`.
        unlisted: failures met while the files were looked for.
    """

    def __init__(self, name: str, paths: Sequence[Path], unlisted: Sequence[str] = ()) -> None:
        # One ahead only, because pictures may be large.
        super().__init__(name, "stills", lambda: (self._read_all(), lambda: None), ahead=1)
        self.length = len(paths)
        self._paths, self._unlisted = paths, unlisted

    def _read_all(self) -> Iterator[Frame]:
        self.failures = list(self._unlisted)
        for index, path in enumerate(self._paths):
            try:
                for image, _ in read_animation(path):
                    yield Frame(image, index, time.time(), str(path))
            except SourceError as error:
                if len(self._paths) == 1:
                    raise
                self.failures.append(str(error))
                log.warning("skipped %s", error)
        unread = self.failures[len(self._unlisted) :]
        if len(unread) == len(self._paths):
            raise SourceError(
                f"{self.name}: none of its {counted(len(unread), 'picture')} can be read. "
                f"The first: {unread[0]}"
            )


class AnimationSource(RecordedSource):
    """An animation, or the pages of a TIFF, as a clip of `count` pictures.

    `fps` and `length` are of the frames that are selected, as of a video.
    """

    def __init__(self, name: str, path: Path, count: int, selection: Selection) -> None:
        super().__init__(name, "file", self._open)
        self._path, self._count, self._selection = path, count, selection

    def _open(self) -> Feed:
        pictures = read_animation(self._path)
        first = next(pictures)
        fps = 1 / first[1]
        self.fps = fps / self._selection.every
        self.length = self._selection.count(self._count, fps)
        return self._frames(chain([first], pictures)), lambda: None

    def _frames(self, pictures: Iterable[tuple[Image, float]]) -> Iterator[Frame]:
        wanted, pts = self._selection, 0.0
        for index, (image, seconds) in enumerate(pictures):
            if wanted.begin_s <= pts < wanted.end_s and index % wanted.every == 0:
                yield Frame(image, index, time.time(), self.name, pts)
            pts += seconds


def folder_source(folder: Path, name: str) -> StillsSource:
    """The pictures in a folder and its subfolders, in natural order (2 before 10).

    Hidden files are left out, and counted. SourceError without a picture.
    """
    unlisted: list[str] = []
    hidden: list[str] = []

    def note(path: str, error: OSError) -> None:
        unlisted.append(f"{path}: cannot be listed ({error.strerror}).")
        log.warning("skipped %s", unlisted[-1])

    found = [Path(path) for path in walk(str(folder), lambda name: True, hidden.append, note)]
    if hidden:
        log.info("%s: %s", name, left_out_note(hidden))
    if unlisted and not found:
        raise SourceError(unlisted[0])
    return StillsSource(name, _pictures_among(found, name), unlisted)


def left_out_note(hidden: Sequence[str]) -> str:
    """What to say of hidden files and folders that were left out."""
    what = counted(len(hidden), "hidden file or folder is", "hidden ones are")
    return f"{what} left out, such as {hidden[0]}."


def glob_source(pattern: str) -> StillsSource:
    """The pictures whose paths match a pattern (`**` for any depth); SourceError without one."""
    found = [Path(path) for path in glob.glob(pattern, recursive=True)]
    return StillsSource(pattern, _pictures_among(found, pattern))


def _pictures_among(found: Sequence[Path], name: str) -> list[Path]:
    pictures = sorted((path for path in found if is_image(path)), key=_natural_order)
    if pictures:
        return pictures
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in found)
    what = f"{counted(len(found), 'file')} of other kinds" if found else "no file"
    if videos:
        what = "1 video; give it by name" if videos == 1 else f"{videos} videos; give one of them"
    raise SourceError(f"{name}: expected pictures (.jpg, .png, …), found {what}.")


def _natural_order(path: Path) -> list[list[str | int]]:
    # Splitting at numbers alternates texts and numbers, so that like is compared with like.
    return [
        [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name.casefold())]
        for name in path.parts
    ]
