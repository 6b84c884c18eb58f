"""Frames per second of finding, following and cutting out faces at 720p.

    python -m benchmarks.faces
    python -m benchmarks.faces --rounds 2 --report faces.json
    python -m benchmarks.faces --finder yunet.onnx

A clip of real faces that move, turn and come nearer is decoded as `patchwatch run` decodes it. A
round goes over it once with every candidate in turn: decoding alone, and then with faces looked for
in every Nth frame, followed in between, and cut out in each. What was followed is compared with
where the faces are, which is known, since the clip is made here. Two cores are used.

Exit codes: 0 the promised rate was kept, 1 it was not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.table import Table
from typing_extensions import Self

from benchmarks.end_to_end.clips import HD, Size
from benchmarks.results_file import RESULTS, conditions_now, describe_machine
from benchmarks.section import Row
from benchmarks.stats import median
from edge.errors import MissingDependency, PatchwatchError
from edge.faces.base import LONGEST_SIDE, Face, FaceFinder
from edge.faces.boxes import as_rows, overlaps
from edge.faces.finders import EVERY, Faces, FaceSettings, open_finder
from edge.faces.watch import FaceWatch
from edge.schema import code_commit
from edge.sinks.video import VideoSink
from edge.sources import open_source
from edge.terminal import console, positive
from edge.types import Frame, Image, Picture, Result, Verdict
from training.evaluation.record import now
from training.evaluation.whole_files import write_all

THEME = "faces"
SCHEMA = 1
CORES = 2
FPS = 30.0
DISTANCES = (1, 2, 4, 8)
CROP = 224

LEAST_FPS = 25.0
"""Promised with faces looked for in every `EVERY`th frame, at 720p on two cores."""

PEOPLE = 3
_FACE_XYXY = (179.0, 83.0, 267.0, 171.0)
"""The astronaut's face in the photograph, as dlib finds it there."""

_HEAD_XYXY = (110, 0, 340, 240)
_GRAIN = 3.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        frames: of the clip.
        rounds: over all candidates.
        finder: a YuNet; None for dlib.
    """

    frames: int = 150
    rounds: int = 5
    finder: Path | None = None


@dataclass(slots=True)
class Measured:
    """A candidate's rounds.

    Attributes:
        every: faces are looked for in every so many frames; None for decoding alone.
        seconds: of each round.
        looks: how often they were looked for in a round.
        shown: faces that were cut out in a round.
        overlaps: with where they are, intersection over union, of the faces that are there; 0 for
            one that was not followed.
    """

    every: int | None
    seconds: list[float] = field(default_factory=list)
    looks: int = 0
    shown: int = 0
    overlaps: list[float] = field(default_factory=list)


class Scene:
    """Faces that move before a wall.

    Args:
        size: of the pictures.
        seed: of the wall and the grain.
    """

    def __init__(self, size: Size, seed: int = 0) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._photograph = _photograph()
        small = self._random.integers(60, 180, (9, 16, 3), np.uint8)
        self._wall = cv2.resize(
            small, (size.width, size.height), interpolation=cv2.INTER_CUBIC
        ).astype(np.uint8)

    def picture(self, index: int) -> Image:
        """Picture `index`, uint8 [H, W, 3] BGR."""
        picture = self._wall.copy()
        for person in range(PEOPLE):
            self._draw(picture, self._motion(person, index))
        grain = self._random.normal(0, _GRAIN, (*picture.shape[:2], 1)).astype(np.float32)
        grainy: Image = np.clip(picture + grain, 0, 255).astype(np.uint8)
        return grainy

    def boxes(self, index: int) -> Floats:
        """Where the faces are in it, [n, 4] xyxy in pixels."""
        left, top, right, bottom = _FACE_XYXY
        middle = np.array([(left + right) / 2, (top + bottom) / 2, 1.0])
        rows = []
        for person in range(PEOPLE):
            motion = self._motion(person, index)
            scale = math.hypot(motion[0, 0], motion[0, 1])
            centre, half = motion @ middle, scale * (right - left) / 2
            rows.append([*(centre - half), *(centre + half)])
        return as_rows(rows)

    def _motion(self, person: int, index: int) -> Floats:
        """From the photograph to a picture: an affine map, [2, 3]."""
        t = index / FPS + 2.0 * person
        scale = (2.35 + 0.25 * math.sin(1.3 * t)) * self._size.height / 720
        place_x = (person + 0.5) / PEOPLE + 0.05 * math.sin(1.9 * t)
        place_y = 0.45 + 0.08 * math.sin(1.5 * t + 1)
        left, top, right, bottom = _FACE_XYXY
        middle = (left + right) / 2, (top + bottom) / 2
        turned = cv2.getRotationMatrix2D(middle, 6 * math.sin(0.9 * t), scale)
        motion = np.array(turned, np.float64)
        motion[0, 2] += place_x * self._size.width - middle[0]
        motion[1, 2] += place_y * self._size.height - middle[1]
        return motion

    def _draw(self, picture: Image, motion: Floats) -> None:
        left, top, right, bottom = _HEAD_XYXY
        mask = np.zeros(self._photograph.shape[:2], np.uint8)
        mask[top:bottom, left:right] = 1
        size = self._size.width, self._size.height
        shown = cv2.warpAffine(mask, motion, size, flags=cv2.INTER_NEAREST).astype(np.bool_)
        picture[shown] = cv2.warpAffine(self._photograph, motion, size)[shown]


def write_clip(path: Path, scene: Scene, frames: int) -> Path:
    """Write the scene as H.264 at 30 fps through the program's own video sink."""
    with VideoSink(path, FPS) as video:
        for index in range(frames):
            frame = Frame(scene.picture(index), index, index / FPS, "scene", pts=index / FPS)
            video.write(Result(frame, None, Verdict("real", 0.0)), Picture.of(frame.image))
    return path


def _photograph() -> Image:
    """The astronaut Eileen Collins, uint8 [512, 512, 3] BGR; NASA's, in the public domain."""
    try:
        from skimage import data
    except ImportError as error:
        command = "pip install 'patchwatch[demo]'"
        raise MissingDependency("scikit-image", "show a face", command) from error
    return np.ascontiguousarray(data.astronaut()[..., ::-1])  # type: ignore[no-untyped-call]


class _Counted:
    """A finder that counts how often it was asked; whoever opened the other closes it."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self.name, self.key = finder.name, finder.key
        self.looks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def find(self, image: Image) -> list[Face]:
        self.looks += 1
        return self._finder.find(image)


def measure(plan: Plan, scene: Scene, clip: Path) -> tuple[str, list[Measured]]:
    """Run the rounds.

    Returns:
        The finder's key; decoding alone, then one for each of `DISTANCES`.

    Raises:
        MissingDependency: dlib is not installed.
        ModelError: the finder is no YuNet.
    """
    candidates = [Measured(None), *(Measured(every) for every in DISTANCES)]
    truth = [scene.boxes(index) for index in range(plan.frames)]
    with open_finder(plan.finder) as finder:
        finder.find(scene.picture(0))
        for _ in range(plan.rounds):
            for candidate in candidates:
                _visit(candidate, clip, finder, truth)
        return finder.key, candidates


def _visit(candidate: Measured, clip: Path, finder: FaceFinder, truth: Sequence[Floats]) -> None:
    counted = _Counted(finder)
    settings = FaceSettings(every=candidate.every or 1)
    faces = FaceWatch(Faces(settings, counted), CROP)
    found: list[Floats] = []
    start = time.perf_counter()
    candidate.shown = 0
    with open_source(str(clip)) as source:
        for frame in source:
            if candidate.every is not None and frame is not None:
                faces.follow(frame.image)
                candidate.shown += len(faces.crops(frame.image))
                found.append(as_rows([track.xyxy for track in faces.seen]))
    candidate.seconds.append(time.perf_counter() - start)
    candidate.looks = counted.looks
    candidate.overlaps = _overlaps(found, truth)


def _overlaps(found: Sequence[Floats], truth: Sequence[Floats]) -> list[float]:
    """Of each true face in each frame the best overlap with one that was followed."""
    best: list[float] = []
    for ours, theirs in zip(found, truth, strict=False):
        best += overlaps(theirs, ours).max(axis=1, initial=0.0).tolist()
    return best


def rows(plan: Plan, measured: Sequence[Measured]) -> list[Row]:
    """The figures of all candidates, plain JSON."""
    bare = next(_fps(plan, one) for one in measured if one.every is None)
    return [_row(plan, one, bare) for one in measured]


def _row(plan: Plan, one: Measured, bare: float) -> Row:
    fps = _fps(plan, one)
    row: Row = {
        "candidate": "decode alone" if one.every is None else f"faces in every {one.every}",
        "every": one.every,
        "fps": round(fps, 2),
        "ratio_to_decode": round(fps / bare, 4),
        "frame_ms": round(1e3 / fps, 3),
        "samples_fps": [round(plan.frames / seconds, 2) for seconds in one.seconds],
    }
    if one.every is not None:
        row |= {
            "looks": one.looks,
            "faces_cut": one.shown,
            "followed_share": round(float(np.mean(np.array(one.overlaps) > 0.5)), 4),
            "overlap_mean": round(float(np.mean(one.overlaps)), 4),
            "overlap_least": round(min(one.overlaps), 4),
        }
    return row


def _fps(plan: Plan, one: Measured) -> float:
    return plan.frames / median(one.seconds)


def result(
    plan: Plan, key: str, found: Sequence[Row], conditions: Mapping[str, object]
) -> dict[str, object]:
    """The content of a result file, plain JSON."""
    return {
        "schema": SCHEMA,
        "theme": THEME,
        "time": now(),
        "commit": code_commit(),
        "machine": describe_machine(),
        "config": {
            **asdict(plan),
            "finder": key,
            "size": f"{HD.width}x{HD.height}",
            "faces": PEOPLE,
            "longest_side": LONGEST_SIDE,
            "crop": CROP,
            "cores": len(os.sched_getaffinity(0)),
        },
        "conditions": dict(conditions),
        "rows": list(found),
        "bound": bound_of(found),
    }


def bound_of(found: Sequence[Row]) -> dict[str, object]:
    """The promised rate, what was measured of it, and whether it was kept."""
    fps = next(row["fps"] for row in found if row["every"] == EVERY)
    kept = isinstance(fps, float) and fps >= LEAST_FPS
    return {"every": EVERY, "fps": fps, "least_fps": LEAST_FPS, "kept": kept}


def usual_path(content: Mapping[str, object], folder: Path = RESULTS) -> Path:
    """Where a result goes that nobody named a file for: `faces_<machine>_<date>_<commit>.json`."""
    date = str(content["time"])[:10].replace("-", "")
    machine = f"{platform.machine()}-{os.cpu_count()}core"
    return folder / f"{THEME}_{machine}_{date}_{content['commit']}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print what was found and write its file."""
    args = _parsed(argv)
    plan = Plan(args.frames, args.rounds, args.finder)
    conditions = conditions_now().model_dump()
    try:
        with _two_cores(), tempfile.TemporaryDirectory() as folder:
            scene = Scene(HD)
            clip = write_clip(Path(folder) / "faces.mp4", scene, plan.frames)
            key, measured = measure(plan, scene, clip)
            found = rows(plan, measured)
            content = result(plan, key, found, conditions)
        path = args.report or usual_path(content)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_all(path.parent, {path.name: text.encode()})
    except PatchwatchError as error:
        console().print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    _print(found, bound := bound_of(found))
    sys.stdout.write(f"{path}\n")
    return 0 if bound["kept"] else 1


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    usual = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faces",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--frames", type=positive, default=usual.frames, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=usual.rounds, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--finder", type=Path, metavar="YUNET.onnx", help="what finds faces (default: dlib)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="F.json", help="(default: a name of its own in results/)"
    )
    return parser.parse_args(argv)


@contextmanager
def _two_cores() -> Iterator[None]:
    """On two cores, or on one where there are no more."""
    all_cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    used = sorted(all_cores)[:CORES]
    os.sched_setaffinity(0, used)
    cv2.setNumThreads(len(used))
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)
        cv2.setNumThreads(threads)


def _print(found: Sequence[Row], bound: Mapping[str, object]) -> None:
    table = Table(title="faces at 720p", title_justify="left")
    heads = ("", "fps", "of decoding alone", "followed", "overlap")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for row in found:
        shares = [row.get(key) for key in ("ratio_to_decode", "followed_share", "overlap_mean")]
        table.add_row(str(row["candidate"]), f"{row['fps']:.1f}", *map(_percent, shares))
    console().print(table)
    word = "kept" if bound["kept"] else "NOT KEPT"
    console().print(
        f"faces in every {bound['every']}: {bound['fps']} of at least {LEAST_FPS:g} fps: {word}"
    )


def _percent(share: object) -> str:
    return f"{100 * share:.1f} %" if isinstance(share, float) else ""


if __name__ == "__main__":
    sys.exit(main())
