"""Crops of the faces of videos, cut once and kept.

They are found again by the hash of the video's file and by how they were cut: the detector with
its version and settings, the scale, the size, the rate and the format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import SourceError
from edge.faces import FACE_SIDE, FaceFinder, aligned_crops
from edge.files import sha256_of, write_whole
from training.faces.sampling import DECODER, Sampled, sampled
from training.faces.sets import FACES, crops_of
from training.faces.workers import check_wanted, for_each_video
from training.files import JsonLines, Stamp, folder_whole, save_picture, stamp

SIZE = 224
RECIPE, HASHES = "recipe.json", "hashes.jsonl"

Opener = Callable[[], FaceFinder]
"""Opens a face finder; can be sent to another process."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How crops are cut: by which detector (its key has version and settings), how often, how
    large, how many of a frame, and in which format.
    """

    detector: str
    detector_key: str
    fps: float = 1.0
    size: int = SIZE
    most_faces: int = 1
    png: bool = False
    side: float = FACE_SIDE

    @property
    def format(self) -> str:
        """Suffix of the pictures, without a dot."""
        return "png" if self.png else "jpg"

    @property
    def key(self) -> str:
        """Tells it from every other, in 16 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Cut:
    """What became of a video.

    `frames` were looked at; `further_faces` were found and not kept; `fault` says what is wrong
    with the file, as it follows its path. The hash is empty where it cannot be read.
    """

    sha256: str
    frames: int = 0
    without_face: int = 0
    further_faces: int = 0
    fault: str = ""
    decoder: str = DECODER
    crops: list[dict[str, Any]] = field(default_factory=list)

    @property
    def faces(self) -> int:
        """How many crops there are."""
        return len(self.crops)


class CropCache:
    """The folder that sets share: a store for each recipe, and the hashes of files."""

    def __init__(self, folder: Path, recipe: Recipe, opener: Opener) -> None:
        self._folder, self.recipe, self._opener = folder, recipe, opener
        self.store = folder / recipe.key
        write_whole(self.store / RECIPE, json.dumps(asdict(recipe), indent=1) + "\n")

    def cut_all(self, paths: Sequence[Path], workers: int) -> dict[Path, Cut]:
        """Cut the faces of videos, but for those that are kept already; what became of each."""
        lines = JsonLines(self._folder / HASHES)
        hashes = dict(filter(None, map(_hash_line, lines.read())))
        known: dict[Path, Cut | None] = {}
        for path in paths:
            sha256 = hashes.get(stamp(path), "")
            known[path] = _kept(self.store, sha256) if sha256 else None
        new = [path for path, cut in known.items() if cut is None]
        work = partial(cut_one, store=self.store, recipe=self.recipe, opener=self._opener)
        with (
            closing_finders(),
            closing(for_each_video("cutting faces", new, work, workers)) as results,
        ):
            for path, result in results:
                ended = "the process that worked on it ended; the file may be damaged."
                known[path] = cut = result or Cut("", fault=ended)
                if cut.sha256 and hashes.get(stamp(path)) != cut.sha256:
                    hashes[stamp(path)] = cut.sha256
                    lines.add([*stamp(path), cut.sha256])
        return {path: cut for path, cut in known.items() if cut is not None}


_finders: dict[str, FaceFinder] = {}


def held_finder(key: str, opener: Opener) -> FaceFinder:
    """The finder of this process with a key, opened when it is needed, as that takes long."""
    if key not in _finders:
        _finders[key] = opener().__enter__()
    return _finders[key]


@contextmanager
def closing_finders() -> Iterator[None]:
    """Close the finders of this process at the end."""
    try:
        yield
    finally:
        while _finders:
            _finders.popitem()[1].__exit__(None, None, None)


def cut_one(path: Path, store: Path, recipe: Recipe, opener: Opener) -> Cut:
    """Cut the faces of one video, unless they are kept already.

    Raises:
        SinkError: a crop cannot be written.
    """
    try:
        sha256 = sha256_of(path, check_wanted)
    except OSError as error:
        return Cut("", fault=f"cannot be read ({error.strerror or error}).")
    kept = _kept(store, sha256)
    if kept is not None:
        return kept
    cut = Cut(sha256)
    finder = held_finder(recipe.detector_key, opener)
    with folder_whole(crops_of(store, sha256)) as folder:
        try:
            for frame in sampled(path, recipe.fps):
                check_wanted()
                _cut_frame(frame, finder, recipe, folder, cut)
        except SourceError as error:
            # The same file may lie elsewhere another time.
            cut.fault = str(error).removeprefix(f"{path}: ")
        write_whole(folder / FACES, json.dumps(asdict(cut), indent=1) + "\n")
    return cut


def _cut_frame(frame: Sampled, finder: FaceFinder, recipe: Recipe, folder: Path, cut: Cut) -> None:
    faces = finder.find(frame.image)
    cut.frames += 1
    cut.without_face += not faces
    cut.further_faces += max(0, len(faces) - recipe.most_faces)
    kept = faces[: recipe.most_faces]
    crops = aligned_crops(frame.image, [face.points for face in kept], recipe.size, recipe.side)
    for place, (face, crop) in enumerate(zip(kept, crops, strict=True)):
        name = f"{frame.index:06d}_{place}.{recipe.format}"
        save_picture(folder / name, crop)
        cut.crops.append(
            {
                "file": name,
                "time_s": round(frame.time_s, 6),
                "face_xyxy": list(face.xyxy),
                "points": np.round(face.points, 2).tolist(),
                "score": round(float(face.score), 4),
            }
        )


def _kept(store: Path, sha256: str) -> Cut | None:
    """What is kept of a video; None where nothing is, or where another decoder may do better."""
    try:
        notes = json.loads((crops_of(store, sha256) / FACES).read_bytes())
        cut = Cut(**{"sha256": sha256, **notes})
    except (OSError, ValueError, TypeError):
        return None
    return None if cut.fault and cut.decoder != DECODER else cut


def _hash_line(line: Any) -> tuple[Stamp, str] | None:
    try:
        name, size, changed_ns, sha256 = line
        return (str(name), int(size), int(changed_ns)), str(sha256)
    except (ValueError, TypeError):
        return None
