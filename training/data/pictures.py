"""Labelled pictures by the million: objects are made on access, what is kept is columns.

A million `Picture` objects with their paths take most of a gigabyte; the columns of `Pictures` take
36 bytes a picture beside the bytes of its path, and go to another process as a handful of arrays.
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

ROW = np.dtype(
    [
        ("label", "u1"),
        ("source", "u4"),
        ("width", "u4"),
        ("height", "u4"),
        ("format", "u1"),
        ("note", "u1"),
        ("phash", "u8"),
        ("reason", "u4"),
    ]
)
"""What is known of a picture: label (real 0, fake 1); place of its source's name; size as a person
sees it, 0 if unknown; place of its format's name; place in `training.data.probe.NOTES`; perceptual
hash, 0 unless asked for; place of the reason why it is left out, 0 for none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture (real 0, fake 1) and the camera, set or generator that it comes from."""

    path: Path
    label: int
    source: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is left out, and why, in a sentence that names it."""

    path: Path
    reason: str


class Paths:
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

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> bytes:
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return bytes(self._text[start : self._ends[place]])


class Pictures(Sequence[Picture]):
    """A sequence of pictures, held as columns: paths, [N] of `ROW`, and the names it points to."""

    def __init__(
        self,
        paths: Paths,
        rows: npt.NDArray[np.void],
        source_names: Sequence[str],
        format_names: Sequence[str] = ("",),
        reasons: Sequence[str] = ("",),
    ) -> None:
        self.paths, self.rows = paths, rows
        self.source_names, self.format_names = tuple(source_names), tuple(format_names)
        self.reasons = tuple(reasons)

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> Pictures:
        """The columns of pictures that are at hand one by one."""
        if isinstance(pictures, Pictures):
            return pictures
        return cls.collected((os.fsencode(p.path), p.label, p.source) for p in pictures)

    @classmethod
    def collected(cls, found: Iterable[tuple[bytes, int, str]]) -> Pictures:
        """The columns of paths, as the system's bytes, with label and source."""
        paths, labels, sources = Paths(), array("B"), array("I")
        names: dict[str, int] = {}
        for path, label, source in found:
            paths.append(path)
            labels.append(label)
            sources.append(names.setdefault(source, len(names)))
        rows = np.zeros(len(paths), ROW)
        rows["label"], rows["source"] = labels, sources
        return cls(paths, rows, tuple(names))

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Picture | Pictures:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        path, row = Path(os.fsdecode(self.paths[index])), self.rows[index]
        return Picture(path, int(row["label"]), self.source_names[row["source"]])

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
        names = self.source_names, self.format_names, self.reasons
        return Pictures(paths, self.rows[indices], *names)

    def rejected(self, index: int) -> Rejected:
        """One that is left out, with its reason."""
        path = self[index].path
        return Rejected(path, f"{path}: {self.reasons[self.rows[index]['reason']]}")

    def groups(self) -> dict[tuple[int, str], Indices]:
        """Places of the pictures of each label and source, by label, then name."""
        if not len(self):
            return {}
        count = len(self.source_names)
        keys = self.rows["label"].astype(np.int64) * count + self.rows["source"]
        order = np.argsort(keys, kind="stable")
        found, starts = np.unique(keys[order], return_index=True)
        groups = {
            (int(key) // count, self.source_names[int(key) % count]): group
            for key, group in zip(found, np.split(order, starts[1:]), strict=True)
        }
        return dict(sorted(groups.items()))


class BalancedDraw:
    """Draws a picture of a label: a source evenly among those of the label, then a picture evenly.

    Beside the pictures, which are not copied, it keeps 8 bytes for each. What is drawn depends on
    the generator and the pictures alone, and not on the order in which sources were found.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = Pictures.of(pictures)
        self._groups: dict[int, list[Indices]] = {}
        for (label, _), places in self.pictures.groups().items():
            self._groups.setdefault(label, []).append(places)

    def draw(self, label: int, rng: np.random.Generator) -> Picture:
        """One picture of a label; a KeyError where none has it."""
        groups = self._groups[label]
        places = groups[int(rng.integers(len(groups)))]
        return self.pictures[int(places[rng.integers(len(places))])]
