"""The set of YouTube videos that was published beside the first model trained on both.

    ROOT/{real,fake}/*.mp4              train
    ROOT/val/{real,fake}/*.mp4          val

Also train/ and test/ are taken where they are. Pictures that were extracted into frames/ folders
are not needed: frames are taken from the videos.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge.errors import SourceError
from training.faces.clips import Clip, Tree
from training.faces.files import is_video
from training.faces.sets import LABELS, SPLITS, Split

ADDRESS: Final = "https://deepfake-detection.s3.amazonaws.com/augment_deepfake.tar.gz"
ACCESS: Final = (
    f"The YouTube set was published at {ADDRESS}, which answers 403 (forbidden) by now; it can be "
    "used where you have a copy. Nobody states a licence: the videos are their makers'."
)
_NO_PEOPLE: Final = (
    "The YouTube set does not say who is to be seen: whether a person is in two of its splits "
    "cannot be checked. Its splits are those of its folders."
)


def find_youtube(root: Path) -> Tree:
    """The videos of the folders; what is missing becomes a note.

    Args:
        root: the unpacked set.

    Raises:
        SourceError: nothing is there.
    """
    clips = [clip for split, folder in _places(root) for clip in _clips(folder, split)]
    if not clips:
        frames = " There are frames/ folders, but frames are taken from videos." * _has_frames(root)
        raise SourceError(
            f"{root}: expected videos in real/, fake/, val/real/ and val/fake/, found none."
            f"{frames} {ACCESS}"
        )
    return Tree(root, tuple(clips), (_NO_PEOPLE, *_missing(clips)))


def _places(root: Path) -> list[tuple[Split, Path]]:
    return [("train", root), *((split, root / split) for split in SPLITS)]


def _clips(folder: Path, split: Split) -> list[Clip]:
    return [
        Clip(path, label, split)
        for label in LABELS
        if (folder / label).is_dir()
        for path in sorted((folder / label).iterdir())
        if is_video(path)
    ]


def _missing(clips: list[Clip]) -> list[str]:
    there = {(clip.split, clip.label) for clip in clips}
    notes = [
        f"Missing: {split} has no {label} videos."
        for split in ("train", "val")
        for label in LABELS
        if (split, label) not in there
    ]
    if not any(clip.split == "test" for clip in clips):
        notes.append("The YouTube set has no test videos, only train and val.")
    return notes


def _has_frames(root: Path) -> bool:
    return any(
        (place / label / "frames").is_dir() for _, place in _places(root) for label in LABELS
    )
