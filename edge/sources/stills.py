"""Pictures as a source: one, a folder of them, or those that match a pattern."""

from __future__ import annotations

import glob
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.errors import SourceError
from edge.sources.images import VIDEO_SUFFIXES, is_image, read_image
from edge.sources.reader import Feed, RecordedSource
from edge.types import Frame

log = logging.getLogger(__name__)


class StillsSource(RecordedSource):
    """Pictures that each stand alone.

    Args:
        name: fit to be shown.
        paths: the files, in order. A single one that cannot be read is an error; of several, the
            unreadable ones are skipped and listed in `failures`.
        unlisted: failures met while the files were looked for.
    """

    def __init__(self, name: str, paths: Sequence[Path], unlisted: Sequence[str] = ()) -> None:
        # One ahead only, because pictures may be large.
        super().__init__(name, "stills", self._open, ahead=1)
        self.length = len(paths)
        self.failures = list(unlisted)
        self._paths = paths
        self._unlisted = unlisted

    def _open(self) -> Feed:
        self.failures = list(self._unlisted)
        return self._read_all(), lambda: None

    def _read_all(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except SourceError as error:
                if len(self._paths) == 1:
                    raise
                self.failures.append(str(error))
                log.warning("skipped %s", error)
            else:
                yield Frame(image, index, time.time(), str(path))
        unread = self.failures[len(self._unlisted) :]
        if len(unread) == len(self._paths):
            raise SourceError(
                f"{self.name}: none of its {len(unread)} pictures can be read. The first: "
                f"{unread[0]}"
            )


def folder_source(folder: Path, name: str) -> StillsSource:
    """The pictures in a folder and its subfolders, in natural order (2 before 10).

    Hidden files are left out, and links to folders are not followed.

    Raises:
        SourceError: no picture is there.
    """
    unlisted: list[str] = []

    def note(error: OSError) -> None:
        unlisted.append(f"{error.filename}: cannot be listed ({error.strerror}).")
        log.warning("skipped %s", unlisted[-1])

    walk = os.walk(folder, onerror=note)
    found = [Path(where, file) for where, _, files in walk for file in files if file[0] != "."]
    if unlisted and not found:
        raise SourceError(unlisted[0])
    return StillsSource(name, _pictures_among(found, name), unlisted)


def glob_source(pattern: str) -> StillsSource:
    """The pictures whose paths match a pattern (`**` for any depth), in natural order.

    Raises:
        SourceError: nothing that matches is a picture.
    """
    found = [Path(path) for path in glob.glob(pattern, recursive=True)]
    return StillsSource(pattern, _pictures_among(found, pattern))


def _pictures_among(found: Sequence[Path], name: str) -> list[Path]:
    pictures = sorted((path for path in found if is_image(path)), key=_natural_order)
    if pictures:
        return pictures
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in found)
    what = f"{len(found)} files of other kinds" if found else "no file"
    if videos:
        what = f"{videos} videos; give one of them"
    raise SourceError(f"{name}: expected pictures (.jpg, .png, …), found {what}.")


def _natural_order(path: Path) -> list[list[str | int]]:
    # Splitting at numbers alternates texts and numbers, so that like is compared with like.
    return [
        [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name.casefold())]
        for name in path.parts
    ]
