"""What decoding the files of a split has shown, as columns."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.ledger import Ledger, Stamp
from training.data.pictures import Indices, Paths, Pictures
from training.data.probe import Known, probe

_BATCH = 500
"""Files in one question to the ledger; older SQLite takes 999 at most."""

_MOST_THREADS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Columns of N pictures.

    Attributes:
        widths, heights: uint32 [N], as a person sees them; 0 if unknown.
        formats: uint8 [N], places in `format_names`.
        notes: uint8 [N], places in `training.data.probe.NOTES`.
        hashes: uint64 [N], perceptual; zeros unless they were asked for.
        format_names: as Pillow calls them; "" if unknown.
    """

    widths: npt.NDArray[np.uint32]
    heights: npt.NDArray[np.uint32]
    formats: npt.NDArray[np.uint8]
    notes: npt.NDArray[np.uint8]
    hashes: npt.NDArray[np.uint64]
    format_names: tuple[str, ...]

    def take(self, indices: Indices) -> Facts:
        """Those of some pictures, intp [n]."""
        return Facts(
            self.widths[indices],
            self.heights[indices],
            self.formats[indices],
            self.notes[indices],
            self.hashes[indices],
            self.format_names,
        )


class Findings:
    """Facts and faults of N files as they come in, one at a time."""

    def __init__(self, size: int) -> None:
        self._sides = np.zeros((2, size), np.uint32)
        self._formats, self._notes = np.zeros((2, size), np.uint8)
        self._hashes = np.zeros(size, np.uint64)
        self._format_names: dict[str, int] = {}
        self.reasons: Indices = np.zeros(size, np.intp)
        self._texts: dict[str, int] = {"": 0}

    def put(self, place: int, known: Known) -> None:
        """Fill one place."""
        self._sides[:, place] = known.width, known.height
        names = self._format_names
        self._formats[place] = names.setdefault(known.format, len(names))
        self._notes[place] = known.note
        self._hashes[place] = known.phash or 0
        if known.fault:
            self.refuse(place, known.fault)

    def refuse(self, place: int, text: str) -> None:
        """Leave a file out, for a reason that follows its path."""
        self.reasons[place] = self._texts.setdefault(text, len(self._texts))

    def facts(self) -> Facts:
        """The columns."""
        widths, heights = self._sides
        names = tuple(self._format_names)
        return Facts(widths, heights, self._formats, self._notes, self._hashes, names)

    def texts(self) -> tuple[str, ...]:
        """What the `reasons` stand for; the first, empty, for none."""
        return tuple(self._texts)


def examine(
    pictures: Pictures, ledger: Ledger, hashed: bool, on_file: Callable[[], None]
) -> Findings:
    """Learn what each file holds: from the ledger, or by decoding it in threads.

    Args:
        pictures: whose files to look at.
        ledger: what is known, and where news is kept.
        hashed: whether perceptual hashes are wanted.
        on_file: called after each.
    """
    findings = Findings(len(pictures))
    # Entered before there are threads, as the list of filters belongs to the whole process.
    with warnings.catch_warnings(), ThreadPoolExecutor(_threads()) as pool:
        warnings.simplefilter("ignore")
        for start in range(0, len(pictures), _BATCH):
            batch = pictures.paths[start : start + _BATCH]
            for place, known in enumerate(_batch(batch, ledger, hashed, pool), start):
                findings.put(place, known)
                on_file()
    return findings


def _batch(paths: Paths, ledger: Ledger, hashed: bool, pool: ThreadPoolExecutor) -> Iterator[Known]:
    stamps = [_stamp(path) for path in paths]
    good = [stamp for stamp in stamps if not isinstance(stamp, Known)]
    known = zip(good, ledger.look_up(good), strict=True)
    old = {stamp: k for stamp, k in known if k is not None and _serves(k, hashed)}
    new: Sequence[Stamp] = [stamp for stamp in good if stamp not in old]
    probed = zip(new, pool.map(lambda stamp: _probed(stamp[0], hashed), new), strict=True)
    fresh: list[tuple[Stamp, Known]] = []
    try:
        for stamp in stamps:
            if isinstance(stamp, Known) or stamp in old:
                yield stamp if isinstance(stamp, Known) else old[stamp]
                continue
            _, (news, lasting) = next(probed)
            fresh += [(stamp, news)] if lasting else []
            yield news
    finally:
        # Also after Ctrl-C: what was decoded until then need not be again.
        ledger.store(fresh)


def _serves(known: Known, hashed: bool) -> bool:
    return bool(known.fault) or not hashed or known.phash is not None


def _stamp(path: bytes) -> Stamp | Known:
    try:
        status = os.stat(path)
    except OSError as error:
        return Known(fault=f"cannot be read ({error.strerror or error}).")
    if stat.S_ISDIR(status.st_mode):
        return Known(fault="the folder cannot be read. Check its permissions.")
    if not stat.S_ISREG(status.st_mode):
        return Known(fault="no regular file.")
    return path, status.st_size, status.st_mtime_ns


def _probed(path: bytes, hashed: bool) -> tuple[Known, bool]:
    """What a file holds, and whether that lasts: a file that cannot be opened may be, later."""
    try:
        return probe(os.fsdecode(path), hashed), True
    except OSError as error:
        return Known(fault=f"cannot be read ({error.strerror or error})."), False


def _threads() -> int:
    return min(os.cpu_count() or 1, _MOST_THREADS)
