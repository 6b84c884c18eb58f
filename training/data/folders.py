"""Labelled pictures in folders: `SPLIT/0_real/<source>/…` and `SPLIT/1_fake/<source>/…`.

The label comes from the two named folders and from nothing else in a path. The folder below one is
the source (a camera, a generator); pictures that lie directly in `0_real` or `1_fake` form the
source `unsorted`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import SourceError
from edge.sources.images import IMAGE_SUFFIXES
from training.data.facts import Facts, Findings, examine
from training.data.ledger import Ledger
from training.data.pictures import LeftOut, Picture, Pictures, PicturesBuilder, Rejected
from training.data.scan import walk

__all__ = ["LABEL_FOLDERS", "LABEL_WORDS", "UNSORTED", "Part", "Picture", "PictureFolder"]
__all__ += ["Rejected", "find_pictures", "index_folder", "index_pictures"]

LABEL_FOLDERS = ("0_real", "1_fake")
"""Folder names at the index of their label."""

LABEL_WORDS = ("photographs", "generated pictures")
UNSORTED = "unsorted"


@dataclass(frozen=True, slots=True)
class Part:
    """A folder whose pictures have one label.

    Attributes:
        folder: searched to the bottom.
        label: real 0, fake 1.
        source: of all of them; None for the name of the folder below, or `UNSORTED`.
    """

    folder: Path
    label: int
    source: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PictureFolder:
    """The pictures of one split, in the order of their paths.

    Attributes:
        pictures: those that can be used; every label that was asked for occurs.
        rejected: files that cannot be read or are too small.
        facts: what decoding the pictures has shown.
    """

    pictures: Pictures
    rejected: LeftOut
    facts: Facts

    def sources(self, label: int) -> dict[str, int]:
        """Pictures per source of a label, by name."""
        names = self.pictures.source_names
        ids = self.pictures.source_ids[self.pictures.labels == label]
        counts = zip(names, np.bincount(ids, minlength=len(names)).tolist(), strict=True)
        return {name: count for name, count in sorted(counts) if count}

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
    parts = [Part(split / name, label) for label, name in enumerate(LABEL_FOLDERS)]
    with Ledger(None, split) as ledger:
        return index_pictures(find_pictures(parts), parts, ledger, smallest)


def find_pictures(parts: Sequence[Part]) -> Pictures:
    """The files named as pictures, none opened, and the folders that cannot be read."""
    found = PicturesBuilder()
    for part in parts:
        folder = os.path.join(os.fsencode(part.folder), b"")
        for path in walk(folder):
            found.add(path, part.label, part.source or _source(path[len(folder) :]))
    return found.done()


def index_pictures(
    found: Pictures,
    parts: Sequence[Part],
    ledger: Ledger,
    smallest: int = 1,
    hashed: bool = False,
    on_file: Callable[[], None] = lambda: None,
) -> PictureFolder:
    """Set apart what can be used.

    Args:
        found: as `find_pictures` gave them.
        parts: where they were found.
        ledger: what is known of them from before.
        smallest: least height and width in pixels.
        hashed: compute perceptual hashes.
        on_file: called after each file.

    Raises:
        SourceError: a label among the parts has no picture to use.
    """
    findings = examine(found, ledger, hashed, on_file)
    folder = _divided(found, findings, smallest)
    _require_every_label(parts, folder)
    return folder


def _divided(found: Pictures, findings: Findings, smallest: int) -> PictureFolder:
    facts = findings.facts()
    small = np.minimum(facts.widths, facts.heights) < smallest
    small &= findings.reasons == 0
    for place in np.flatnonzero(small):
        size = f"{facts.widths[place]}×{facts.heights[place]}"
        findings.refuse(int(place), f"{size} pixels, smaller than {smallest}.")
    out = np.flatnonzero(findings.reasons)
    rejected = LeftOut(found.take(out), findings.reasons[out], findings.texts(), small[out])
    if not len(out):
        return PictureFolder(found, rejected, facts)
    kept = np.flatnonzero(findings.reasons == 0)
    return PictureFolder(found.take(kept), rejected, facts.take(kept))


def _source(inside: bytes) -> str:
    first, separator, _ = inside.partition(os.fsencode(os.sep))
    return os.fsdecode(first) if separator else UNSORTED


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


def _require_every_label(parts: Sequence[Part], folder: PictureFolder) -> None:
    for label in sorted({part.label for part in parts}):
        if folder.sources(label):
            continue
        places = [str(part.folder) for part in parts if part.label == label]
        more = f" (nor have {len(places) - 1} folders beside it)" if len(places) > 1 else ""
        lost = int((folder.rejected.pictures.labels == label).sum())
        raise SourceError(
            f"{places[0]} has no picture that can be used ({lost} unreadable or too small){more}. "
            f"Put {LABEL_WORDS[label]} there as {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
