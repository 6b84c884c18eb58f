"""Make training clips of faces: recompressed at drawn rates, and self-blended fakes beside them.

CLIPS/SPLIT/{0_real,1_fake}/SOURCE/ holds videos. Of each, --draws parts are written to the same
place below OUTPUT, reduced and compressed by H.264 as drawn; the draws follow from the file's
name, so that both labels, and both halves of a pair, get the same ones. Of each real video
--blended parts more are written as the target and, to 1_fake/blended-SOURCE, with the face blended
back into itself (Shiohara and Yamasaki, 2022). What is there already is kept: the same command goes
on where it was stopped.

    patchwatch data clips clips/ made/ --blended 4
    patchwatch data clips clips/ crf28/ --splits val --draws 1 --length 36 --crf 28 28 --scale 1 1

Exit codes: 0 done, 1 some videos cannot be read (they are listed at the end), 2 wrong usage, 130
Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from edge.errors import SourceError, UsageError
from edge.faces import FaceFinder
from edge.files import write_whole
from edge.labels import LABEL_FOLDERS, add_label_folders
from edge.signals import Stopped, stop_signals
from edge.terminal import console, positive
from edge.types import Image
from edge.words import counted
from training.faces.blend import BLENDED, self_blended
from training.faces.crops import closing_finders, held_finder
from training.faces.sampling import sampled
from training.faces.trees import find_clips
from training.faces.workers import add_workers, check_wanted, for_each_video

_MOST_FRAMES = 250
"""Frames of a video that parts are taken from."""

_LEAST_FACES = 0.6
"""Of a part's frames that must show a face to be blended."""

_FPS = 25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch data clips`."""
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS", help="folder with train/ and val/")
    add("output", type=Path, metavar="OUTPUT", help="folder for what is made")
    add_label_folders(parser)
    add("--splits", nargs="+", default=["train", "val"], metavar="SPLIT",
        help="folders of CLIPS (default: train val)")  # fmt: skip
    add("--draws", type=positive, default=4, metavar="N", help="parts of each video (default: 4)")
    add("--blended", type=int, default=0, metavar="N", help="blended parts of each real video of "
        "train (default: 0)")  # fmt: skip
    add("--length", type=positive, default=12, metavar="N", help="frames of a part (default: 12)")
    add("--crf", nargs=2, type=int, default=(18, 36), metavar=("LEAST", "MOST"),
        help="H.264 rate factors (default: 18 36)")  # fmt: skip
    add("--scale", nargs=2, type=float, default=(0.5, 1.0), metavar=("LEAST", "MOST"),
        help="half of the parts are reduced to one between; equal: all (0.5 1)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the draws (default: 0)")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Make what is missing; see the module's text for the exit codes.

    Raises:
        SourceError: there is no video.
        SinkError: a clip cannot be written.
    """
    if not (0 <= args.crf[0] <= args.crf[1] <= 51 and 0 < args.scale[0] <= args.scale[1] <= 1):
        raise UsageError(
            "expected --crf between 0 and 51 and --scale above 0 up to 1, the smaller number first."
        )
    found = [c for c in find_clips(args.clips, args.label_folders).clips if c.split in args.splits]
    if not found:
        raise SourceError(f"{args.clips}: no videos in {' or '.join(args.splits)}.")
    work = partial(_make, args=args)
    faults = []
    try:
        with (
            stop_signals(),
            closing_finders(),
            closing(
                for_each_video("making clips", [clip.path for clip in found], work, args.workers)
            ) as results,
        ):
            for path, fault in results:
                if fault is None:
                    fault = f"{path}: the process that worked on it ended; it may be damaged."
                faults += [fault] if fault else []
    except Stopped as stopped:
        console().print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    for fault in faults:
        console().print(fault, markup=False, soft_wrap=True)
    console().print(
        f"{counted(len(found), 'video')}; the clips are in {args.output}.", markup=False
    )
    return 1 if faults else 0


def _make(path: Path, args: argparse.Namespace) -> str:
    """Write the parts of one video; what is wrong with it, in a sentence, or nothing."""
    split, name, source, *below = path.relative_to(args.clips).parts
    stem = Path(*below).with_suffix("").as_posix().replace("/", "-")
    real = name in args.label_folders.names(0)
    label = LABEL_FOLDERS[0 if real else 1]
    plain = [args.output / split / label / source / f"{stem}-{n}.mp4" for n in range(args.draws)]
    twins = [
        tuple(
            args.output / split / folder / name / f"{stem}-b{n}.mp4"
            for folder, name in zip(LABEL_FOLDERS, (source, BLENDED + source), strict=True)
        )
        for n in range(args.blended if real and split == "train" else 0)
    ]
    if all(p.exists() for p in (*plain, *(p for pair in twins for p in pair))):
        return ""
    try:
        frames = [shown.image for shown in islice(sampled(path, 1000), _MOST_FRAMES)]
    except SourceError as error:
        return str(error)
    for number, target in enumerate(plain):
        rng = _rng(args.seed, "plain", stem, number)
        part = _part(frames, args.length, rng)
        _write([target], [part], args, rng)
    for number, pair in enumerate(twins):
        rng = _rng(args.seed, "blended", source, stem, number)
        part = _part(frames, args.length, rng)
        finder = held_finder("blend", FaceFinder)
        seen = [(image, faces[0].points) for image in part if (faces := finder.find(image))]
        if len(seen) >= _LEAST_FACES * len(part):
            images, points = zip(*seen, strict=True)
            _write(pair, self_blended(images, points, rng), args, rng)
    return ""


def _rng(*of: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(of).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _part(frames: Sequence[Image], length: int, rng: np.random.Generator) -> Sequence[Image]:
    start = int(rng.integers(max(1, len(frames) - length + 1)))
    return frames[start : start + length]


def _write(
    paths: Sequence[Path],
    clips: Sequence[Sequence[Image]],
    args: argparse.Namespace,
    rng: np.random.Generator,
) -> None:
    """Write clips, all reduced and compressed by the same draw."""
    least, most = args.scale
    scale = 1.0 if least < most and rng.random() < 0.5 else rng.uniform(least, most)
    crf = int(rng.integers(args.crf[0], args.crf[1] + 1))
    for path, clip in zip(paths, clips, strict=True):
        check_wanted()
        height, width = clip[0].shape[:2]
        size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
        frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip]
        write_whole(path, _mp4(frames, crf))


def _mp4(frames: Sequence[Any], crf: int) -> bytes:
    """Frames of one even size as H.264 in an mp4, on one thread, so that it can be repeated."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": str(crf), "x264-params": "cpu-independent=1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return data.getvalue()
