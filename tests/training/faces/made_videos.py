"""Short videos of real faces, fakes of them, and whole data sets of them, made on the spot.

The faces are the astronaut Eileen Collins's and the admiral Grace Hopper's, public photographs that
scikit-image and matplotlib ship. They move about and turn; people with even numbers are tints of
the one, those with odd numbers of the other. `clip_faces` takes the people of real clips instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.cbook import get_sample_data
from skimage import data

from edge.faces import FaceFinder
from edge.types import Image
from training.faces.sampling import sampled

FPS = 8
SIZE_WH = (240, 240)
_FACE_XYXY = (170, 60, 280, 190)
"""About the face in the photograph of 512 × 512."""

_LOOKS_XYXY = (105, 0, 345, 240)
"""What the camera sees of it."""


_POINTS = np.array([(203, 104), (248, 104), (224, 128), (204, 143), (243, 144)], np.float64)
"""Of the face in it."""


@functools.cache
def photograph(person: int, index: int = 0) -> Image:
    """A person in the frame of that index, uint8 [512, 512, 3] BGR; the face is at `_FACE_XYXY`."""
    if person % 2 == 0:
        astronaut: Image = data.astronaut()  # type: ignore[no-untyped-call]
        return np.ascontiguousarray(astronaut[:, :, ::-1])
    admiral = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert admiral is not None
    place = np.array([[0.51, 0, 88], [0, 0.51, 3]])
    return _placed(admiral.astype(np.uint8), place)


def clip_faces(clips: Sequence[Path]) -> Callable[[int, int], Image]:
    """In place of `photograph`: the people of clips, as many as there are."""

    @functools.cache
    def frames(number: int) -> list[Image]:
        with FaceFinder(threads=1) as finder:
            shown = [frame.image for frame in sampled(clips[number], 100)]
            points = next(found[0].points for frame in shown if (found := finder.find(frame)))
        place = np.array(cv2.estimateAffinePartial2D(points, _POINTS)[0], np.float64)
        return [_placed(frame, place) for frame in shown]

    def face(person: int, index: int = 0) -> Image:
        those = frames(person % len(clips))
        return those[index % len(those)]

    return face


def _placed(image: Image, place: npt.NDArray[np.float64]) -> Image:
    return cv2.warpAffine(image, place, (512, 512), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def person_frames(person: int, count: int, size_wh: tuple[int, int] = SIZE_WH) -> Iterator[Image]:
    """A person who moves about: `count` frames, uint8 [h, w, 3] BGR."""
    faces = (_tinted(photograph(person, index), person) for index in range(count))
    yield from _filmed(faces, person, size_wh)


def fake_frames(
    target: int, source: int, count: int, size_wh: tuple[int, int] = SIZE_WH
) -> Iterator[Image]:
    """The film of one person with the other's face, re-made coarsely and blended in."""
    faces = (
        _swapped(_tinted(photograph(target, i), target), _tinted(photograph(source, i), source))
        for i in range(count)
    )
    yield from _filmed(faces, target, size_wh)


def empty_frames(count: int, size_wh: tuple[int, int] = SIZE_WH) -> Iterator[Image]:
    """A wall in changing light: nobody is there."""
    for index in range(count):
        ramp = np.linspace(60, 180, size_wh[0]) + 2 * index
        yield np.repeat(np.tile(ramp, (size_wh[1], 1))[..., None], 3, axis=2).astype(np.uint8)


def crowd_frames(count: int) -> Iterator[Image]:
    """The face fifty times in a frame of 1280 × 800, ten beside and five above each other."""
    face = cv2.resize(photograph(0)[25:225, 145:305], (128, 160))
    crowd = np.tile(face, (5, 10, 1)).astype(np.uint8)
    for index in range(count):
        yield np.clip(crowd.astype(np.int16) + index, 0, 255).astype(np.uint8)


def border_frames(count: int, size_wh: tuple[int, int] = SIZE_WH) -> Iterator[Image]:
    """The face in the upper left corner, its crop larger than what is left of the frame there."""
    left, top = _FACE_XYXY[0] - 8, _FACE_XYXY[1] + 4
    view = photograph(0)[top : top + size_wh[1], left : left + size_wh[0]]
    for index in range(count):
        yield np.clip(view.astype(np.int16) + index, 0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Iterable[Image],
    *,
    fps: int = FPS,
    times_ms: Sequence[int] | None = None,
    rotated: int = 0,
    faststart: bool = False,
) -> Path:
    """Write H.264.

    Args:
        path: its folder is made.
        frames: uint8 [h, w, 3] BGR of even sides.
        fps: of the frames.
        times_ms: when each is shown, in place of `fps`.
        rotated: degrees of the display matrix, against the clock.
        faststart: the index before the pictures, so that a cut file has one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "ultrafast", "threads": "1"}
        if times_ms is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotated:
            stream.set_display_rotation(rotated)
        for index, image in enumerate(frames):
            if not index:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = index if times_ms is None else times_ms[index]
            frame.time_base = Fraction(1, fps) if times_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def audio_only(path: Path) -> Path:
    """An mp4 that holds half a second of silence and nothing to be seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def truncated(path: Path, share: float = 0.6) -> Path:
    """A video whose index came first, and of which only a share was copied."""
    write_video(path, person_frames(7, 16), faststart=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    return path


def faceforensics_tree(
    root: Path,
    pairs: Sequence[tuple[int, int]] = ((0, 3), (1, 5), (2, 6)),
    manipulations: Sequence[str] = ("Deepfakes", "FaceSwap"),
    actors: Sequence[tuple[int, int]] = (),
    compression: str = "c23",
    frames: int = FPS,
) -> Path:
    """A tree of FaceForensics++: each pair's films, and both with each other's faces.

    Args:
        root: made.
        pairs: numbers of films that were swapped with each other.
        manipulations: each pair is swapped in all of them.
        actors: pairs whose first actor wears the second's face, for DeepFakeDetection.
        compression: what the folders are called.
        frames: of each video.
    """
    real, fake = root / "original_sequences", root / "manipulated_sequences"
    for film in sorted({n for pair in pairs for n in pair}):
        path = real / "youtube" / compression / "videos" / f"{film:03d}.mp4"
        write_video(path, person_frames(film, frames))
    for place, manipulation in enumerate(manipulations):
        for pair in pairs:
            for target, source in (pair, pair[::-1]):
                name = f"{target:03d}_{source:03d}.mp4"
                path = fake / manipulation / compression / "videos" / name
                write_video(path, fake_frames(target, source + 20 * place, frames))
    for actor in sorted({n for pair in actors for n in pair}):
        path = real / "actors" / compression / "videos" / f"{actor:02d}__kitchen_still.mp4"
        write_video(path, person_frames(100 + actor, frames))
    for target, source in actors:
        name = f"{target:02d}_{source:02d}__kitchen_still__MADEHERE.mp4"
        path = fake / "DeepFakeDetection" / compression / "videos" / name
        write_video(path, fake_frames(100 + target, 100 + source, frames))
    return root


def youtube_tree(root: Path, train: int = 2, val: int = 1, frames: int = FPS) -> Path:
    """The YouTube set's folders with so many videos of each label."""
    person = 200
    for folder, count in ((root, train), (root / "val", val)):
        for _ in range(count):
            write_video(folder / "real" / f"film{person}.mp4", person_frames(person, frames))
            fakes = fake_frames(person + 1, person + 2, frames)
            write_video(folder / "fake" / f"film{person + 1}.mp4", fakes)
            person += 3
    return root


def _tinted(image: Image, person: int) -> Image:
    rng = np.random.default_rng(person)
    gains = rng.uniform(0.85, 1.15, 3)
    return np.clip(image * gains + rng.uniform(-8, 8), 0, 255).astype(np.uint8)


def _filmed(images: Iterable[Image], person: int, size_wh: tuple[int, int]) -> Iterator[Image]:
    """A hand-held camera on the face."""
    left, top, right, bottom = _LOOKS_XYXY
    scale = size_wh[0] / (right - left), size_wh[1] / (bottom - top)
    centre = (right + left) / 2, (bottom + top) / 2
    for index, image in enumerate(images):
        phase = 0.7 * person + 0.4 * index
        turn = cv2.getRotationMatrix2D(centre, 3 * np.sin(phase), 1 + 0.03 * np.cos(phase))
        move: npt.NDArray[np.float64] = np.diag([*scale, 1.0]) @ np.array(
            [[1, 0, 6 * np.cos(phase) - left], [0, 1, 4 * np.sin(2 * phase) - top], [0, 0, 1]]
        )
        matrix = (move @ np.vstack([turn, [0, 0, 1]]))[:2]
        film = cv2.warpAffine(image, matrix, size_wh, borderMode=cv2.BORDER_REFLECT)
        yield film.astype(np.uint8)


def _swapped(target: Image, source: Image) -> Image:
    """The source's face, mirrored, stretched and drawn anew from a quarter of its pixels."""
    left, top, right, bottom = _FACE_XYXY
    face = source[top:bottom, left:right][:, ::-1]
    height, width = face.shape[:2]
    coarse = cv2.resize(face, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    drawn = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), 5)[..., None]
    blended = soft * drawn + (1 - soft) * target[top:bottom, left:right]
    swapped = target.copy()
    swapped[top:bottom, left:right] = np.clip(blended, 0, 255).astype(np.uint8)
    return swapped
