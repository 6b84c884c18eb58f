"""The tree of FaceForensics++ as its own script lays it out.

    ROOT/original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4              real
    ROOT/manipulated_sequences/<manipulation>/{raw,c23,c40}/videos/*.mp4             fake

The names say who is to be seen: 033.mp4 is film 033, 033_097.mp4 film 033 with the face (or the
expression) of 097; 01__kitchen_pan.mp4 shows actor 01, 01_02__kitchen_pan__ABCDEFGH.mp4 actor 01
with the face of 02. `c0` is another name of `raw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge.errors import SourceError
from training.faces.clips import Clip, Tree, named
from training.faces.files import is_video
from training.faces.sets import LabelWord
from training.faces.split import ACTOR, YOUTUBE, person

COMPRESSIONS: Final = ("raw", "c0", "c23", "c40")
DEFAULT_COMPRESSION: Final = "c23"
MANIPULATIONS: Final = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "DeepFakeDetection")
_LATER: Final = "FaceShifter"
"""Was published later, so that a tree without it lacks nothing."""

ACCESS: Final = (
    "FaceForensics++ is given by its authors to whoever fills in their form "
    "(github.com/ondyari/FaceForensics, section Access) and is used under the FaceForensics Terms "
    "of Use; nothing is downloaded here. Crops of it fall under the same terms."
)

_FILM = re.compile(r"(\d+)")
_FILMS = re.compile(r"(\d+)_(\d+)")
_ACTOR = re.compile(r"(\d+)__.+")
_ACTORS = re.compile(r"(\d+)_(\d+)__.+")

_Folder = tuple[LabelWord, str | None, str, "re.Pattern[str]"]
"""Label, manipulation, kind of people, and the form of the names."""

_FOLDERS: Mapping[str, _Folder] = MappingProxyType(
    {
        "original_sequences/youtube": ("real", None, YOUTUBE, _FILM),
        "original_sequences/actors": ("real", None, ACTOR, _ACTOR),
        **{
            f"manipulated_sequences/{name}": (
                ("fake", name, ACTOR, _ACTORS)
                if name == "DeepFakeDetection"
                else ("fake", name, YOUTUBE, _FILMS)
            )
            for name in (*MANIPULATIONS, _LATER)
        },
    }
)


def find_faceforensics(root: Path, compression: str) -> Tree:
    """The videos of one compression; what is missing becomes a note.

    Args:
        root: the folder with original_sequences and manipulated_sequences.
        compression: one of `COMPRESSIONS`.

    Raises:
        SourceError: nothing is there.
    """
    if not any((root / name).is_dir() for name in ("original_sequences", "manipulated_sequences")):
        raise SourceError(
            f"{root}: expected original_sequences/ and manipulated_sequences/ as the script of "
            f"FaceForensics++ lays them out, found neither. {ACCESS}"
        )
    clips: list[Clip] = []
    notes: list[str] = []
    odd: list[Path] = []
    for folder in _FOLDERS:
        _take(root, folder, compression, clips, odd, notes)
    if odd:
        names = [path.relative_to(root) for path in odd]
        notes.append(named("Left out, as their names do not say who is to be seen", names))
    if not clips:
        raise SourceError(
            f"{root} holds no video of compression {compression}. {' '.join(notes)} Name another "
            "with --compression."
        )
    return Tree(root, tuple(clips), tuple(notes))


def _take(
    root: Path,
    folder: str,
    compression: str,
    clips: list[Clip],
    odd: list[Path],
    notes: list[str],
) -> None:
    """Add what one of the tree's folders holds."""
    found = [path for path in _videos(root / folder, compression) if is_video(path)]
    if not found and not folder.endswith(_LATER):
        notes.append(_missing(root / folder, folder, compression))
    label, manipulation, kind, form = _FOLDERS[folder]
    for path in found:
        match = form.fullmatch(path.stem)
        if match is None:
            odd.append(path)
            continue
        people = tuple(dict.fromkeys(person(kind, number) for number in match.groups()))
        clips.append(Clip(path, label, None, manipulation, path.parent.parent.name, people))


def _videos(folder: Path, compression: str) -> Iterator[Path]:
    names = ("raw", "c0") if compression in ("raw", "c0") else (compression,)
    for name in names:
        place = folder / name / "videos"
        if place.is_dir():
            yield from sorted(place.iterdir())


def _missing(path: Path, folder: str, compression: str) -> str:
    others = [name for name in COMPRESSIONS if any(_videos(path, name))] if path.is_dir() else []
    there = f"; it has {', '.join(others)}" if others else ""
    return f"Missing: {folder} has no videos of {compression}{there}."
