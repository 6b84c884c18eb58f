"""Labelled pictures by the million: objects are made on access, what is kept is columns.

A million `Picture` objects with their paths take most of a gigabyte; the columns of `Pictures` take
13 bytes a picture beside the bytes of its path, and go to another process as a handful of arrays.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture.

    Attributes:
        path: its file.
        label: real 0, fake 1.
        source: the camera, set or generator that it comes from.
    """

    path: Path
    label: int
    source: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is left out, and why, in a sentence that names it."""

    path: Path
    reason: str


class Paths(Sequence[bytes]):
    """Many paths in one piece of memory, as the system's bytes."""

    def __init__(self, paths: Iterable[bytes] = ()) -> None:
        self._text, self._ends = bytearray(), array("Q")
        for path in paths:
            self.append(path)

    def append(self, path: bytes) -> None:
        """Add one at the end."""
        self._text += path
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> bytes | Paths:
        if isinstance(index, slice):
            return Paths(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return bytes(self._text[start : self._ends[place]])


class Pictures(Sequence[Picture]):
    """A sequence of pictures, held as columns.

    Attributes:
        paths: of the files.
        labels: uint8 [N]; real 0, fake 1.
        source_ids: uint32 [N], places in `source_names`.
        source_names: every source once.
    """

    def __init__(
        self,
        paths: Paths,
        labels: npt.NDArray[np.uint8],
        source_ids: npt.NDArray[np.uint32],
        source_names: tuple[str, ...],
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.source_ids = source_ids
        self.source_names = source_names

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> Pictures:
        """The columns of pictures that are at hand one by one."""
        if isinstance(pictures, Pictures):
            return pictures
        made = PicturesBuilder()
        for picture in pictures:
            made.add(os.fsencode(picture.path), picture.label, picture.source)
        return made.done()

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Picture | Pictures:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        path = Path(os.fsdecode(self.paths[index]))
        return Picture(path, int(self.labels[index]), self.source_names[self.source_ids[index]])

    def __iter__(self) -> Iterator[Picture]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__: Any = None

    def take(self, indices: Indices) -> Pictures:
        """Some of them, in the order of the indices, intp [n]."""
        paths = Paths(self.paths[int(i)] for i in indices)
        return Pictures(paths, self.labels[indices], self.source_ids[indices], self.source_names)


class PicturesBuilder:
    """Collects pictures into columns, one at a time."""

    def __init__(self) -> None:
        self._paths = Paths()
        self._labels, self._sources = array("B"), array("I")
        self._names: dict[str, int] = {}

    def add(self, path: bytes, label: int, source: str) -> None:
        """Append a picture; its path as the system's bytes."""
        self._paths.append(path)
        self._labels.append(label)
        self._sources.append(self._names.setdefault(source, len(self._names)))

    def done(self) -> Pictures:
        """What was collected; add nothing afterwards."""
        labels = np.array(self._labels, np.uint8)
        sources = np.array(self._sources, np.uint32)
        return Pictures(self._paths, labels, sources, tuple(self._names))


class LeftOut(Sequence[Rejected]):
    """The files that are left out, held as columns; what reads `Rejected` may read this.

    Attributes:
        pictures: the files, with the label and source that they would have had.
        reasons: int64 [N], places in `texts`.
        texts: why, in words that follow the path and a colon.
        small: bool [N]; whether the file is sound, and only has too few pixels.
    """

    def __init__(
        self, pictures: Pictures, reasons: Indices, texts: Sequence[str], small: Flags
    ) -> None:
        self.pictures = pictures
        self.reasons = reasons
        self.texts = texts
        self.small = small

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> Rejected: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rejected]: ...
    def __getitem__(self, index: int | slice) -> Rejected | list[Rejected]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        path = self.pictures[index].path
        return Rejected(path, f"{path}: {self.texts[self.reasons[index]]}")
