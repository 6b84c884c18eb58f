"""Small prepared sets on the disk: one photographed face, and fakes with a trace in them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from edge.regions import resize_antialiased
from edge.types import Image
from tests.training.pictures import with_trace
from training.faces.sets import (
    FACES,
    SPLITS,
    FaceSet,
    Origin,
    SetManifest,
    Source,
    Split,
    Store,
    Video,
    crops_of,
    write_set,
)

SIDE = 48
MANIPULATIONS: dict[Source, str | None] = {"faceforensics": "Deepfakes", "youtube": None}


@functools.cache
def photograph() -> Image:
    """The astronaut's face, uint8 [160, 160, 3] BGR."""
    from skimage.data import astronaut

    picture: Image = astronaut()  # type: ignore[no-untyped-call]  # the library types nothing
    return np.ascontiguousarray(picture[30:190, 140:300, ::-1])


def face(seed: int, fake: bool) -> Image:
    """The face from a little aside and in other light; uint8 [SIDE, SIDE, 3] BGR."""
    rng = np.random.default_rng(seed)
    top, left, side = (int(x) for x in rng.integers((0, 0, 120), (20, 20, 140)))
    part = photograph()[top : top + side, left : left + side].astype(float)
    lit = np.clip(part * rng.uniform(0.8, 1.1), 0, 255).astype(np.uint8)
    small = resize_antialiased(lit, SIDE, SIDE)
    return with_trace(small, 60) if fake else small


def write_faces(
    folder: Path,
    source: Source,
    splits: Sequence[Split] = SPLITS,
    *,
    videos: int = 2,
    faces: int = 6,
    seed: int = 0,
) -> FaceSet:
    """A set with so many videos of each split and label, and so many faces of each video."""
    listed = []
    for split in splits:
        for fake in (False, True):
            for number in range(videos):
                name = f"{source}/{split}/{'fake' if fake else 'real'}/{number}.mp4"
                listed.append(_video(folder, name, source, split, fake, faces, seed))
    origin = Origin(source=source, root="/videos", access="Made up.")
    store = Store(
        folder=".",
        detector="none",
        detector_key="none",
        face_side=1.3,
        size=SIDE,
        fps=1.0,
        most_faces=1,
        format="png",
    )
    manifest = SetManifest(schema=1, origins=(origin,), stores=(store,), videos=tuple(listed))
    return write_set(folder, manifest)


def _video(
    folder: Path, name: str, source: Source, split: Split, fake: bool, faces: int, seed: int
) -> Video:
    sha256 = hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
    place = crops_of(folder, sha256)
    place.mkdir(parents=True)
    files = [f"{frame:06d}_0.png" for frame in range(faces)]
    for frame, file in enumerate(files):
        image = face(int(sha256[:6], 16) + frame, fake)
        PillowImage.fromarray(np.ascontiguousarray(image[..., ::-1])).save(place / file)
    (place / FACES).write_text(json.dumps({"crops": [{"file": file} for file in files]}))
    return Video(
        path=name,
        sha256=sha256,
        split=split,
        label="fake" if fake else "real",
        source=source,
        manipulation=MANIPULATIONS[source] if fake else None,
        frames=faces,
        faces=faces,
        without_face=0,
    )
