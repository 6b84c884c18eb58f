"""A prepared set: which videos belong to it, and where their face crops are.

A set is a folder with `manifest.json`. The crops lie in a store, a folder that sets share, below
`crops/<first two digits>/<sha256 of the video>/`, each as `<frame>_<face>.jpg` (or .png) beside a
`faces.json` that lists them.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edge.errors import SourceError
from edge.files import write_whole
from edge.schema import Strict, fault
from edge.words import counted

MANIFEST = "manifest.json"
FACES = "faces.json"
SCHEMA: Literal[1] = 1

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
LabelWord = Literal["real", "fake"]
LABELS: dict[LabelWord, int] = {"real": 0, "fake": 1}
Source = Literal["faceforensics", "youtube", "clips"]
SHOWN = 10
"""Names that a note lists; the manifest holds all."""


class Origin(Strict):
    """Where videos come from."""

    source: Source
    root: str = Field(description="Folder that the videos' paths are below of.")
    access: str = Field(description="On what terms they are had, in sentences.")


class Store(Strict):
    """Where crops are, and how they were cut."""

    folder: str = Field(description="Absolute, or from the set's folder on.")
    detector: str = Field(description="Its name.")
    detector_key: str = Field(description="Its name, version and settings.")
    face_side: float = Field(description="Side of the aligned crop in eye distances.")
    size: int = Field(description="Side of a crop in pixels.")
    fps: float = Field(description="Moments per second of a video.")
    most_faces: int = Field(description="Faces kept of a frame, the largest first.")
    format: Literal["jpg", "png"]


class Video(Strict):
    """One video of a set."""

    path: str = Field(description="Below the root of its origin.")
    sha256: str
    split: Split
    label: LabelWord
    source: Source
    manipulation: str | None = None
    compression: str | None = None
    people: tuple[str, ...] = Field(
        default=(), description="Who is to be seen; empty where not known."
    )
    frames: int = Field(description="Looked at.")
    faces: int = Field(description="Crops.")
    without_face: int = Field(description="Frames in which no face was found.")
    further_faces: int = Field(
        default=0, description="Found, and not kept, as a frame had too many."
    )
    fault: str = Field(
        default="", description="What is wrong with the file, as it follows its path."
    )
    origin: int = Field(default=0, description="Place in `origins`.")
    store: int = Field(default=0, description="Place in `stores`.")

    @property
    def folder(self) -> str:
        """What figures are balanced over: the folder of a clip, else the manipulation or set."""
        clip = self.source == "clips"
        return Path(self.path).parts[2] if clip else self.manipulation or self.source


class SetManifest(Strict):
    """What a set's `manifest.json` holds."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    origins: tuple[Origin, ...]
    stores: tuple[Store, ...]
    notes: tuple[str, ...] = Field(
        default=(), description="What one should know of it, in sentences."
    )
    videos: tuple[Video, ...]


@dataclass(frozen=True, slots=True)
class FaceItem:
    """One crop of a face: its label (real 0, fake 1), what tells its video from the others, how a
    fake was made (None where it is not known), the data set, and whose video it is or was made of.
    """

    path: Path
    label: int
    video: str
    manipulation: str | None
    source: str
    person: str


class FaceSet:
    """A prepared set, opened."""

    def __init__(self, folder: Path, manifest: SetManifest) -> None:
        self.folder, self.manifest = folder, manifest

    def videos(self, split: Split | None = None) -> list[Video]:
        """The videos of a split, or all, in the order of the manifest."""
        return [video for video in self.manifest.videos if split in (None, video.split)]

    def items(self, split: Split) -> list[FaceItem]:
        """Every crop of a split, in the order of videos, frames and faces.

        Raises:
            SourceError: crops that the manifest counts are not there.
        """
        return [item for video in self.videos(split) for item in self._of(video)]

    def store_of(self, video: Video) -> Path:
        """The folder that the crops of a video are in."""
        folder = self.folder / self.manifest.stores[video.store].folder
        return crops_of(folder, video.sha256)

    def _of(self, video: Video) -> Iterator[FaceItem]:
        if not video.faces:
            return
        folder, label = self.store_of(video), LABELS[video.label]
        identity = f"{video.source}/{video.path}#{video.sha256[:8]}"
        for name in self._names(folder, video):
            who = video.people[0] if video.people else identity
            yield FaceItem(folder / name, label, identity, video.manipulation, video.source, who)

    def _names(self, folder: Path, video: Video) -> Sequence[str]:
        try:
            names = [
                str(crop["file"]) for crop in json.loads((folder / FACES).read_bytes())["crops"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{self.folder}: expected the crops of {video.path} in {folder}, found none. "
                "Prepare the set again."
            ) from error
        if len(names) != video.faces:
            raise SourceError(
                f"{self.folder}: {video.path} was counted with {video.faces} crops, found "
                f"{len(names)} in {folder}. Prepare the set again."
            )
        return names


def is_set(folder: Path) -> bool:
    """Whether a folder has a manifest of ours, which may be damaged; other programs have theirs."""
    try:
        found = (folder / MANIFEST).read_bytes()
    except OSError:
        return False
    return b'"schema"' in found and b'"origins"' in found


def load_set(path: Path) -> FaceSet:
    """Open a prepared set's folder; a SourceError where its manifest is absent, broken or
    another's.
    """
    file = path / MANIFEST
    try:
        return FaceSet(path, SetManifest.model_validate_json(file.read_bytes()))
    except OSError as error:
        raise SourceError(
            f"{path}: expected a prepared set, found no {MANIFEST} that can be read. Make one with "
            "'patchwatch data prepare'."
        ) from error
    except ValidationError as error:
        raise SourceError(
            f"{file}: expected a set's manifest of schema {SCHEMA}; {fault(error, MANIFEST)}. "
            "Prepare the set again."
        ) from error


def write_set(folder: Path, manifest: SetManifest) -> FaceSet:
    """Write a set's manifest at once.

    Raises:
        SinkError: it cannot be written.
    """
    write_whole(folder / MANIFEST, manifest.model_dump_json(by_alias=True, indent=1) + "\n")
    return FaceSet(folder, manifest)


def crops_of(store: Path, sha256: str) -> Path:
    """The folder of a video's crops in a store."""
    return store / "crops" / sha256[:2] / sha256


def shown_from(folder: Path, other: Path) -> str:
    """How a set names a folder: from its own on where both lie together, so that they may move."""
    here, there = folder.resolve(), other.resolve()
    if there.is_relative_to(here.parent) and here.parent != Path(here.anchor):
        return Path(os.path.relpath(there, here)).as_posix()
    return str(there)


def without_copies(videos: Iterable[Video]) -> tuple[list[Video], list[str]]:
    """Each file once, in their order: of equal ones, one of test is kept, else of val, else the
    first.

    A file that is labelled both real and fake is left out. Also sentences on what was left out.
    """
    everything, groups = list(videos), defaultdict[str, list[Video]](list)
    for video in everything:
        groups[video.sha256].append(video)
    kept, notes = set(), []
    for group in groups.values():
        chosen = min(group, key=lambda video: ("test", "val", "train").index(video.split))
        one_label = len({video.label for video in group}) == 1
        if one_label:
            kept.add(id(chosen))
        if len(group) > 1:
            paths = " and ".join(f"{video.path} ({video.split}, {video.label})" for video in group)
            notes.append(
                f"One file is there more than once, and counts in {chosen.split} alone: {paths}."
                if one_label
                else f"One file is labelled both real and fake, and left out: {paths}."
            )
    if len(notes) > SHOWN:
        more = f"{counted(len(notes) - SHOWN, 'more file')} there more than once; each counts once."
        notes = [*notes[:SHOWN], more]
    return [video for video in everything if id(video) in kept], notes


def combined(sets: Sequence[FaceSet], folder: Path) -> SetManifest:
    """The manifest, for a folder, of several prepared sets as one; their crops stay there."""
    videos: list[Video] = []
    origins: list[Origin] = []
    stores: list[Store] = []
    for one in sets:
        for video in one.manifest.videos:
            places = {"origin": video.origin + len(origins), "store": video.store + len(stores)}
            videos.append(video.model_copy(update=places))
        origins += one.manifest.origins
        for store in one.manifest.stores:
            place = Path(os.path.normpath(one.folder.resolve() / store.folder))
            stores.append(store.model_copy(update={"folder": shown_from(folder, place)}))
    kept, copies = without_copies(videos)
    notes = [note for one in sets for note in one.manifest.notes]
    notes.append(
        "Whether a person of one set is also in another cannot be known: only equal files were "
        "looked for."
    )
    if len({store.model_dump_json(exclude={"folder"}) for store in stores}) > 1:
        notes.append(
            "The sets' faces were not cut in the same way (detector, size, rate or format differ): "
            "a model may learn the set from that. Prepare them in the same way."
        )
    return SetManifest(
        schema=1,
        origins=tuple(origins),
        stores=tuple(stores),
        notes=tuple(dict.fromkeys([*notes, *copies])),
        videos=tuple(kept),
    )
