"""Labelled pictures in folders: `SPLIT/0_real/<source>/…` and `SPLIT/1_fake/<source>/…`.

The label comes from the two named folders and from nothing else in a path. The folder below one is
the source (a camera, a generator); pictures that lie directly in `0_real` or `1_fake` form the
source `unsorted`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError
from edge.sources.images import IMAGE_SUFFIXES, is_image, read_image

LABEL_FOLDERS = ("0_real", "1_fake")
"""Folder names at the index of their label."""

LABEL_WORDS = ("photographs", "generated pictures")
UNSORTED = "unsorted"


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


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """The pictures of one split, in the order of their paths.

    Attributes:
        pictures: those that can be used; both labels occur.
        rejected: files that cannot be read or are too small.
    """

    pictures: tuple[Picture, ...]
    rejected: tuple[Rejected, ...]

    def sources(self, label: int) -> dict[str, int]:
        """Pictures per source of a label, by name."""
        return dict(sorted(Counter(p.source for p in self.pictures if p.label == label).items()))

    def describe(self) -> str:
        """How many pictures of which sources, in one line."""
        return " and ".join(self._describe(label) for label in range(len(LABEL_FOLDERS)))

    def _describe(self, label: int) -> str:
        sources = self.sources(label)
        return f"{sum(sources.values())} {LABEL_WORDS[label]} ({', '.join(sources)})"


def index_folder(split: Path, smallest: int = 1) -> PictureFolder:
    """Find the pictures of a split; every file is decoded once, so that training meets no bad one.

    Args:
        split: the folder that holds `0_real` and `1_fake`.
        smallest: least height and width in pixels.

    Raises:
        SourceError: the folder or one of its classes is missing, or has no picture to use.
    """
    _require_classes(split)
    found = [picture for label in range(len(LABEL_FOLDERS)) for picture in _find(split, label)]
    with ThreadPoolExecutor() as pool:
        faults = list(pool.map(lambda picture: _fault(picture.path, smallest), found))
    folder = PictureFolder(
        tuple(picture for picture, fault in zip(found, faults, strict=True) if fault is None),
        tuple(Rejected(p.path, f) for p, f in zip(found, faults, strict=True) if f is not None),
    )
    _require_both_labels(split, folder)
    return folder


def _find(split: Path, label: int) -> Iterator[Picture]:
    folder = split / LABEL_FOLDERS[label]
    for path in sorted(folder.rglob("*")):
        if is_image(path) and path.is_file():
            inside = path.relative_to(folder).parts
            yield Picture(path, label, inside[0] if len(inside) > 1 else UNSORTED)


def _fault(path: Path, smallest: int) -> str | None:
    try:
        height, width = read_image(path).shape[:2]
    except SourceError as error:
        return str(error)
    if min(height, width) < smallest:
        return f"{path}: {width}×{height} pixels, smaller than {smallest}."
    return None


def _require_classes(split: Path) -> None:
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


def _require_both_labels(split: Path, folder: PictureFolder) -> None:
    for label, name in enumerate(LABEL_FOLDERS):
        if not folder.sources(label):
            lost = sum(split / name in rejected.path.parents for rejected in folder.rejected)
            raise SourceError(
                f"{split / name} has no picture that can be used ({lost} unreadable or too small). "
                f"Put {LABEL_WORDS[label]} there as {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
