"""Data sets of videos as their publishers lay them out: a function for each.

FaceForensics++, by its own script:

    ROOT/original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4              real
    ROOT/manipulated_sequences/<manipulation>/{raw,c23,c40}/videos/*.mp4             fake

The names say who is to be seen: 033.mp4 is film 033, 033_097.mp4 film 033 with the face (or the
expression) of 097; 01__kitchen_pan.mp4 shows actor 01, 01_02__kitchen_pan__ABCDEFGH.mp4 actor 01
with the face of 02. `c0` is another name of `raw`.

The set of YouTube videos that was published beside the first model trained on both:

    ROOT/{real,fake}/*.mp4              train
    ROOT/val/{real,fake}/*.mp4          val

Also train/ and test/ are taken where they are. Pictures that were extracted into frames/ folders
are not needed: frames are taken from the videos. base_deepfake/ and both_deepfake/, which the
scripts of that model made beside it, lie in the same way; their names still say which fakes are of
FaceForensics++ (face2face_033_097.mp4), and T_deepfake/ is FaceForensics++ as above.

Clips by their source:

    ROOT/{train,val,test}/{0_real,1_fake}/SOURCE/*.mp4

A fake source NAME-anything beside a real one NAME-person holds pairs: files of one name are the two
halves of one video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge.errors import SourceError
from edge.labels import FORM, LabelFolders
from edge.sources.images import VIDEO_SUFFIXES
from training.data.folders import named_files
from training.faces.sets import LABELS, SHOWN, SPLITS, LabelWord, Source, Split
from training.faces.split import ACTOR, YOUTUBE, person

COMPRESSIONS: Final = ("raw", "c0", "c23", "c40")
DEFAULT_COMPRESSION: Final = "c23"
MANIPULATIONS: Final = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "DeepFakeDetection")
_LATER: Final = "FaceShifter"
"""Was published later, so that a tree without it lacks nothing."""

FACEFORENSICS_ACCESS: Final = (
    "FaceForensics++ is given by its authors to whoever fills in their form "
    "(github.com/ondyari/FaceForensics, section Access) and is used under the FaceForensics Terms "
    "of Use; nothing is downloaded here. Crops of it fall under the same terms."
)
YOUTUBE_ACCESS: Final = (
    "The YouTube set was published at https://deepfake-detection.s3.amazonaws.com/"
    "augment_deepfake.tar.gz, which answers 403 (forbidden) by now; it can be used where you have "
    "a copy. Nobody states a licence: the videos are their makers'."
)
CLIPS_ACCESS: Final = "The clips are your own; their sources' terms hold for what is made of them."
_NO_PEOPLE: Final = (
    "The YouTube set does not say who is to be seen: whether a person is in two of its splits "
    "cannot be checked. Its splits are those of its folders."
)

_Names = tuple[str, "re.Pattern[str]"]
"""Kind of people, and the form of the names of files."""

_FILM: _Names = (YOUTUBE, re.compile(r"(\d+)"))
_FILMS: _Names = (YOUTUBE, re.compile(r"(\d+)_(\d+)"))
_ACTOR: _Names = (ACTOR, re.compile(r"(\d+)__.+"))
_ACTORS: _Names = (ACTOR, re.compile(r"(\d+)_(\d+)__.+"))

_COPIED = re.compile(r"(deepfake|face2face|faceswap|neuraltextures|deepfakedetection)_(.+)")

_FOLDERS: Mapping[str, tuple[LabelWord, str | None, _Names]] = MappingProxyType(
    {
        "original_sequences/youtube": ("real", None, _FILM),
        "original_sequences/actors": ("real", None, _ACTOR),
        **{
            f"manipulated_sequences/{name}": (
                "fake",
                name,
                _ACTORS if name == "DeepFakeDetection" else _FILMS,
            )
            for name in (*MANIPULATIONS, _LATER)
        },
    }
)


@dataclass(frozen=True, slots=True)
class Clip:
    """A video with what its place and its name say of it; without a split until people are dealt
    out.
    """

    path: Path
    label: LabelWord
    split: Split | None = None
    manipulation: str | None = None
    compression: str | None = None
    people: tuple[str, ...] = ()
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """What was found of a data set: its videos, and sentences on what is missing."""

    root: Path
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]


def named(text: str, names: Sequence[object]) -> str:
    """A sentence's beginning with the names that it is about, the first of them if many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{text}: {', '.join(str(name) for name in names[:SHOWN])}{more}."


def find_faceforensics(root: Path, compression: str) -> Tree:
    """The videos of one of `COMPRESSIONS`; what is missing becomes a note, a SourceError if it is
    all.
    """
    if not any((root / name).is_dir() for name in ("original_sequences", "manipulated_sequences")):
        raise SourceError(
            f"{root}: expected original_sequences/ and manipulated_sequences/ as the script of "
            f"FaceForensics++ lays them out, found neither. {FACEFORENSICS_ACCESS}"
        )
    clips: list[Clip] = []
    notes: list[str] = []
    odd: list[Path] = []
    for folder, (label, manipulation, (kind, form)) in _FOLDERS.items():
        found = list(_compressed(root / folder, compression))
        if not found and not folder.endswith(_LATER):
            others = [name for name in COMPRESSIONS if any(_compressed(root / folder, name))]
            there = f"; it has {', '.join(others)}" if others else ""
            notes.append(f"Missing: {folder} has no videos of {compression}{there}.")
        for path in found:
            match = form.fullmatch(path.stem)
            if match is None:
                odd.append(path.relative_to(root))
                continue
            people = tuple(dict.fromkeys(person(kind, number) for number in match.groups()))
            clips.append(Clip(path, label, None, manipulation, path.parent.parent.name, people))
    if odd:
        notes.append(named("Left out, as their names do not say who is to be seen", odd))
    if not clips:
        raise SourceError(
            f"{root} holds no video of compression {compression}. {' '.join(notes)} Name another "
            "with --compression."
        )
    return Tree(root, tuple(clips), tuple(notes))


def find_youtube(root: Path) -> Tree:
    """The videos of the folders; what is missing becomes a note, a SourceError if it is all."""
    places: list[tuple[Split, Path]] = [("train", root), *((name, root / name) for name in SPLITS)]
    found = [
        (split, label, path)
        for split, folder in places
        for label in LABELS
        for path in _videos(folder / label)
    ]
    copied = any(_COPIED.fullmatch(path.stem) for _, _, path in found)
    clips = [_copied(*one) if copied else Clip(one[2], one[1], one[0]) for one in found]
    if not clips:
        extracted = any((place / x / "frames").is_dir() for _, place in places for x in LABELS)
        frames = " There are frames/ folders, but frames are taken from videos." * extracted
        if any(root.rglob("*.np[yz]")):  # precomputed/ of the scripts of that model
            frames += " There are arrays, which say of no face whether it is real: give the videos."
        raise SourceError(
            f"{root}: expected videos in real/, fake/, val/real/ and val/fake/, found none."
            f"{frames} {YOUTUBE_ACCESS}"
        )
    there = {(clip.split, clip.label) for clip in clips}
    notes = [
        f"Missing: {split} has no {label} videos."
        for split in ("train", "val")
        for label in LABELS
        if (split, label) not in there
    ]
    if not any(clip.split == "test" for clip in clips):
        notes.append("The YouTube set has no test videos, only train and val.")
    return Tree(root, tuple(clips), (_NO_PEOPLE, *notes))


def _copied(split: Split, label: LabelWord, path: Path) -> Clip:
    """A video of FaceForensics++ that was renamed and copied; any other is of the YouTube set."""
    match = _COPIED.fullmatch(path.stem)
    word, name = match.groups() if match else ("", path.stem)
    made = next((m for m in MANIPULATIONS if m.lower().rstrip("s") == word.rstrip("s")), None)
    forms = (_FILMS, _ACTORS) if made else (_FILM, _ACTOR)
    for kind, form in forms if (label == "fake") == bool(made) else ():
        if people := form.fullmatch(name):
            who = tuple(person(kind, number) for number in people.groups())
            return Clip(path, label, split, made, "raw", who, "faceforensics")
    return Clip(path, label, split)


def find_clips(root: Path, names: LabelFolders) -> Tree:
    """The videos of folders by split, label and source; a SourceError if there is none."""
    clips: list[Clip] = []
    for split, (number, label) in product(SPLITS, enumerate(LABELS)):
        folders = [root / split / name for name in names.names(number)]
        reals = [root / split / name for name in names.names(0)]
        for folder, path in ((f, path) for f in folders for path in _videos(f, deep=True)):
            source = path.relative_to(folder).parts[0]
            name = source.rpartition("-")[0]
            paired = any((real / f"{name}-person").is_dir() for real in reals)
            who = f"{name if name and paired else source}/{path.stem}"
            made = source if label == "fake" else None
            clips.append(Clip(path, label, split, made, None, (who,)))
    if not clips:
        raise SourceError(
            f"{root}: expected videos in train/{names.names(0)[0]}/SOURCE/, "
            f"train/{names.names(1)[0]}/SOURCE/ and the same in val/ or test/, found none. If "
            f"folders of other names say the label, give --label-folders {FORM}."
        )
    return Tree(root, tuple(clips), ())


def _compressed(folder: Path, compression: str) -> Iterator[Path]:
    for name in ("raw", "c0") if compression in ("raw", "c0") else (compression,):
        yield from _videos(folder / name / "videos")


def _videos(folder: Path, deep: bool = False) -> list[Path]:
    found = named_files(folder, VIDEO_SUFFIXES)
    return [path for path in found if (path.parent != folder) == deep]
