"""Labelled pictures in folders: `SPLIT/0_real/<source>/…` and `SPLIT/1_fake/<source>/…`.

The label comes from the two named folders and from nothing else in a path. The folder below one is
the source (a camera, a generator); pictures that lie directly in `0_real` or `1_fake` form the
source `unsorted`.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from edge.errors import SourceError
from edge.sources.images import IMAGE_SUFFIXES
from training.data.ledger import Ledger, Stamp
from training.data.pictures import Paths, Picture, Pictures, Rejected
from training.data.probe import Probed, probe

__all__ = ["LABEL_FOLDERS", "LABEL_WORDS", "UNSORTED", "Part", "Picture", "PictureFolder"]
__all__ += ["Rejected", "find_pictures", "index_folder", "index_pictures"]

LABEL_FOLDERS = ("0_real", "1_fake")
"""Folder names at the index of their label."""

LABEL_WORDS = ("photographs", "generated pictures")
UNSORTED = "unsorted"

_SUFFIXES = frozenset(os.fsencode(suffix) for suffix in IMAGE_SUFFIXES)
_MOST_THREADS = 32
_AHEAD = 4 * _MOST_THREADS
"""Files that are decoded, or wait for it, before who asks has taken those before them."""


@dataclass(frozen=True, slots=True)
class Part:
    """A folder whose pictures have one label (real 0, fake 1), searched to the bottom.

    `source` is that of all of them; None for the name of the folder below, or `UNSORTED`.
    """

    folder: Path
    label: int
    source: str | None = None


class RejectedPictures(Sequence[Rejected]):
    """The files that are left out, with the label and source that they would have had.

    `small` of them are sound, and only have too few pixels.
    """

    def __init__(self, pictures: Pictures, small: int) -> None:
        self.pictures, self.small = pictures, small

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> Rejected: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rejected]: ...
    def __getitem__(self, index: int | slice) -> Rejected | list[Rejected]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.pictures.rejected(index)


@dataclass(frozen=True, slots=True, eq=False)
class PictureFolder:
    """The pictures of one split that can be used, by path, and those that are left out."""

    pictures: Pictures
    rejected: RejectedPictures

    def sources(self, label: int) -> dict[str, int]:
        """Pictures per source of a label, by name."""
        groups = self.pictures.groups().items()
        return {name: len(places) for (of, name), places in groups if of == label}

    def describe(self) -> str:
        """How many pictures of which sources, in one line."""
        counts = [(word, self.sources(label)) for label, word in enumerate(LABEL_WORDS)]
        return " and ".join(f"{sum(c.values())} {word} ({', '.join(c)})" for word, c in counts)


def index_folder(split: Path, smallest: int = 1) -> PictureFolder:
    """The pictures of a split folder that holds `0_real` and `1_fake`, each decoded once.

    Raises:
        SourceError: the folder or one of its classes is missing, or has no picture to use.
    """
    if not split.is_dir():
        raise SourceError(
            f"{split} is no folder. Expected one that holds {LABEL_FOLDERS[0]}/<source>/… with "
            f"photographs and {LABEL_FOLDERS[1]}/<source>/… with generated pictures."
        )
    missing = [name for name in LABEL_FOLDERS if not (split / name).is_dir()]
    if missing:
        raise SourceError(
            f"{split} has no folder {' and none '.join(missing)}. Expected both "
            f"{' and '.join(LABEL_FOLDERS)}: a detector learns from the difference."
        )
    parts = [Part(split / name, label) for label, name in enumerate(LABEL_FOLDERS)]
    with Ledger(None, split) as ledger:
        return index_pictures(find_pictures(parts), parts, ledger, smallest)


def find_pictures(parts: Sequence[Part]) -> Pictures:
    """The files named as pictures, none opened, and the folders that cannot be read."""
    return Pictures.collected(found for part in parts for found in _found(part))


def index_pictures(
    found: Pictures,
    parts: Sequence[Part],
    ledger: Ledger,
    smallest: int = 1,
    hashed: bool = False,
    on_file: Callable[[], None] = lambda: None,
) -> PictureFolder:
    """Set apart what can be used: each file is decoded in threads, unless the ledger knows it.

    `found` is as `find_pictures` gave it for `parts`, and is filled with what is learned;
    `smallest` is the least side in pixels, `hashed` computes perceptual hashes.

    Raises:
        SourceError: a label among the parts has no picture to use.
    """
    formats, reasons = {"": 0}, {"": 0}
    small = 0
    # Entered before there are threads, as the list of filters belongs to the whole process.
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool,
    ):
        warnings.simplefilter("ignore")
        for place, probed in enumerate(_probed(found.paths, ledger, hashed, pool)):
            reason = probed.fault
            if not reason and min(probed.width, probed.height) < smallest:
                reason = f"{probed.width}×{probed.height} pixels, smaller than {smallest}."
                small += 1
            found.rows[place] = (
                *found.rows[place].item()[:2],
                probed.width,
                probed.height,
                formats.setdefault(probed.format, len(formats)),
                probed.note,
                int.from_bytes(probed.phash or b"", "big"),
                reasons.setdefault(reason, len(reasons)),
            )
            on_file()
    found.format_names, found.reasons = tuple(formats), tuple(reasons)
    left_out = found.rows["reason"] != 0
    rejected = RejectedPictures(found.take(np.flatnonzero(left_out)), small)
    kept = found.take(np.flatnonzero(~left_out)) if len(rejected) else found
    folder = PictureFolder(kept, rejected)
    _require_every_label(parts, folder)
    return folder


def is_picture(name: bytes) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def walk(
    folder: bytes,
    wanted: Callable[[bytes], bool] = is_picture,
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[bytes]:
    """Every file below a folder that is wanted, and every folder that cannot be read, by path.

    Links to folders are followed, but not into a folder that is being walked already (`above`). In
    memory are the names of one folder and of those above it. Paths are the system's bytes.
    """
    names = []
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir()
                if is_folder or wanted(entry.name):
                    names.append((entry.name, is_folder))
    except OSError:
        yield folder
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for name, is_folder in sorted(names):
        path = os.path.join(folder, name)
        if is_folder:
            yield from walk(path, wanted, above | {here})
        else:
            yield path


def _found(part: Part) -> Iterator[tuple[bytes, int, str]]:
    folder = os.path.join(os.fsencode(part.folder), b"")
    for path in walk(folder):
        first, separator, _ = path[len(folder) :].partition(os.fsencode(os.sep))
        inside = os.fsdecode(first) if separator else UNSORTED
        yield path, part.label, part.source or inside


def _probed(
    paths: Paths, ledger: Ledger, hashed: bool, pool: ThreadPoolExecutor
) -> Iterator[Probed]:
    """What each file holds, decoded some files ahead of who asks."""
    waiting: deque[tuple[Stamp, Future[Probed]] | Probed] = deque()

    def next_one() -> Probed:
        entry = waiting.popleft()
        if isinstance(entry, Probed):
            return entry
        stamp, future = entry
        try:
            probed = future.result()
        except OSError as error:  # a file that cannot be opened may be, later
            return Probed(fault=f"cannot be read ({error.strerror or error}).")
        ledger.keep(stamp, probed)
        return probed

    for path in paths:
        stamp = _stamp(path)
        known = stamp if isinstance(stamp, Probed) else ledger.get(stamp)
        if known and (known.fault or not hashed or known.phash):
            waiting.append(known)
        elif not isinstance(stamp, Probed):
            waiting.append((stamp, pool.submit(probe, os.fsdecode(path), hashed)))
        if len(waiting) > _AHEAD:
            yield next_one()
    while waiting:
        yield next_one()


def _stamp(path: bytes) -> Stamp | Probed:
    try:
        status = os.stat(path)
    except OSError as error:
        return Probed(fault=f"cannot be read ({error.strerror or error}).")
    if stat.S_ISDIR(status.st_mode):
        return Probed(fault="the folder cannot be read. Check its permissions.")
    if not stat.S_ISREG(status.st_mode):
        return Probed(fault="no regular file.")
    return path, status.st_size, status.st_mtime_ns


def _require_every_label(parts: Sequence[Part], folder: PictureFolder) -> None:
    for label in sorted({part.label for part in parts}):
        if folder.sources(label):
            continue
        places = [str(part.folder) for part in parts if part.label == label]
        more = f" (nor have {len(places) - 1} folders beside it)" if len(places) > 1 else ""
        lost = int((folder.rejected.pictures.rows["label"] == label).sum())
        raise SourceError(
            f"{places[0]} has no picture that can be used ({lost} unreadable or too small){more}. "
            f"Put {LABEL_WORDS[label]} there as {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
