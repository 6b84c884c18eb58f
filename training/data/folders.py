"""Labelled pictures in folders: `SPLIT/0_real/<source>/…` and `SPLIT/1_fake/<source>/…`.

The label comes from the two named folders, or from others that --label-folders names, and from
nothing else in a path. The folder below one is the source (a camera, a generator); pictures that
lie directly in `0_real` or `1_fake` form the source `unsorted`, those directly in another one of
its name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge.cpus import find_cpus
from edge.errors import SourceError
from edge.labels import LABEL_FOLDERS, LABEL_WORDS, UNSORTED, LabelFolders
from edge.sources.images import IMAGE_SUFFIXES, readable_suffixes
from edge.sources.stills import left_out_note
from edge.sources.walk import walk as files_below
from training.data.ledger import Ledger
from training.data.probe import Probed, probe
from training.files import stamp

_log = logging.getLogger(__name__)

_SUFFIXES = frozenset(os.fsencode(suffix) for suffix in IMAGE_SUFFIXES)
_MOST_THREADS = 32
_AT_ONCE = 256
"""Files that are decoded before what was learnt of them is kept."""


@dataclass(frozen=True, slots=True)
class Part:
    """A folder whose pictures have one label (real 0, fake 1), searched to the bottom.

    `source` is that of all of them; None for the name of the folder below, and `direct` for what
    lies in none.
    """

    folder: Path
    label: int
    source: str | None = None
    direct: str = UNSORTED

    def source_of(self, below: Sequence[str]) -> str:
        """Of a file, by its path below the folder in parts."""
        return self.source or (below[0] if len(below) > 1 else self.direct)


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture (real 0, fake 1) and the camera, set or generator that it comes from."""

    path: Path
    label: int
    source: str


def identity(picture: Picture, data: Path) -> str:
    """Twelve hex digits of a picture's path within the data: the same on every machine."""
    inside = picture.path.relative_to(data).as_posix()
    return hashlib.blake2b(inside.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is left out, and why, in a sentence that names it.

    `small` ones are sound, and only have too few pixels.
    """

    picture: Picture
    reason: str
    small: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PictureFolder:
    """The pictures of one split that can be used, what each holds, and what is left out."""

    pictures: tuple[Picture, ...]
    probed: tuple[Probed, ...]
    rejected: tuple[Rejected, ...]

    def sources(self, label: int) -> dict[str, int]:
        """Pictures per source of a label, by name."""
        return dict(sorted(Counter(p.source for p in self.pictures if p.label == label).items()))

    def describe(self) -> str:
        """How many pictures of which sources, in one line."""
        counts = [(word, self.sources(label)) for label, word in enumerate(LABEL_WORDS)]
        return " and ".join(f"{sum(c.values())} {word} ({', '.join(c)})" for word, c in counts)


def named_files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """The files below a folder whose names end so; what is hidden is left out, and said."""
    hidden: list[str] = []
    for path in files_below(
        str(folder), lambda name: Path(name).suffix.lower() in suffixes, hidden.append
    ):
        yield Path(path)
    _say_hidden(folder, hidden)


def _say_hidden(folder: Path, hidden: Sequence[str]) -> None:
    if hidden:
        _log.info("%s: %s", folder, left_out_note(hidden))


def find_pictures(parts: Sequence[Part]) -> list[Picture]:
    """The files named as pictures, none opened, and the folders that cannot be read.

    What is hidden is left out, and said.
    """
    found = []
    for part in parts:
        folder = os.path.join(os.fsencode(part.folder), b"")
        hidden: list[bytes] = []
        for path in walk(folder, left_out=hidden.append):
            below = os.fsdecode(path[len(folder) :]).split(os.sep, 1)
            found.append(Picture(Path(os.fsdecode(path)), part.label, part.source_of(below)))
        _say_hidden(part.folder, [os.fsdecode(path) for path in hidden])
    return found


def label_parts(
    root: Path,
    names: LabelFolders,
    sources: tuple[str | None, str | None] = (None, None),
) -> list[Part]:
    """The folders of both labels in a folder, in the order of labels; with the sources of each."""
    return [
        Part(root / name, label, sources[label], UNSORTED if name == LABEL_FOLDERS[label] else name)
        for label in (0, 1)
        for name in names.names(label)
        if (root / name).is_dir()
    ]


def labelled_parts(root: Path, names: LabelFolders) -> list[Part]:
    """Those of `label_parts` that hold something."""
    return [part for part in label_parts(root, names) if find_pictures([part])]


def index_pictures(
    found: Sequence[Picture],
    parts: Sequence[Part],
    ledger: Ledger,
    smallest: int = 1,
    hashed: bool = False,
    on_file: Callable[[], None] = lambda: None,
) -> PictureFolder:
    """Set apart what can be used: each file is decoded in threads, unless the ledger knows it.

    `found` is as `find_pictures` gave it for `parts`; `smallest` is the least side in pixels,
    `hashed` computes perceptual hashes.

    Raises:
        SourceError: a label among the parts has no picture to use.
    """
    kept, rejected = [], []
    for picture, probed in zip(found, _probed(found, ledger, hashed), strict=True):
        reason, small = probed.fault, False
        if not reason and min(probed.width, probed.height) < smallest:
            reason = f"{probed.width}×{probed.height} pixels, smaller than {smallest}."
            small = True
        if reason:
            rejected.append(Rejected(picture, f"{picture.path}: {reason}", small))
        else:
            kept.append((picture, probed))
        on_file()
    pictures, known = zip(*kept, strict=True) if kept else ((), ())
    folder = PictureFolder(pictures, known, tuple(rejected))
    _require_every_label(parts, folder)
    return folder


def walk(
    folder: bytes,
    wanted: Callable[[bytes], bool] = lambda name: os.path.splitext(name)[1].lower() in _SUFFIXES,
    left_out: Callable[[bytes], object] = lambda path: None,
) -> Iterator[bytes]:
    """`edge.sources.walk`, and every folder that cannot be read among the files."""
    unread: list[bytes] = []
    for path in files_below(folder, wanted, left_out, lambda path, _: unread.append(path)):
        yield from unread
        unread.clear()
        yield path
    yield from unread


def _probed(found: Sequence[Picture], ledger: Ledger, hashed: bool) -> Iterator[Probed]:
    """What each file holds, some files at a time."""
    # Entered before there are threads, as the list of filters belongs to the whole process.
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(find_cpus().usable, _MOST_THREADS)) as pool,
    ):
        warnings.simplefilter("ignore")
        for start in range(0, len(found), _AT_ONCE):
            some = [(p.path, stamp(p.path)) for p in found[start : start + _AT_ONCE]]
            known = {at: ledger.get(at) for _, at in some}
            todo = {at: path for path, at in some if not _suffices(known[at], hashed)}
            results = dict(
                zip(todo, pool.map(partial(_tried, hashed=hashed), todo.values()), strict=True)
            )
            # A file that cannot be opened may be, later.
            ledger.keep((at, x) for at, x in results.items() if isinstance(x, Probed))
            for _, at in some:
                new = results.get(at) or known[at]
                assert new is not None
                yield new if isinstance(new, Probed) else Probed(fault=new)


def _suffices(known: Probed | None, hashed: bool) -> bool:
    return known is not None and (bool(known.fault) or not hashed or known.phash is not None)


def _tried(path: Path, hashed: bool) -> Probed | str:
    try:
        return probe(path, hashed)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})."


def _require_every_label(parts: Sequence[Part], folder: PictureFolder) -> None:
    for label in sorted({part.label for part in parts}):
        if folder.sources(label):
            continue
        places = [str(part.folder) for part in parts if part.label == label]
        more = f" (nor have {len(places) - 1} folders beside it)" if len(places) > 1 else ""
        lost = sum(one.picture.label == label for one in folder.rejected)
        raise SourceError(
            f"{places[0]} has no picture that can be used ({lost} unreadable or too small){more}. "
            f"Put {LABEL_WORDS[label]} there as {', '.join(readable_suffixes())}."
        )
