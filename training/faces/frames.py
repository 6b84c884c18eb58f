"""Write pictures of every video below a folder, one for each moment of its presentation time.

For each moment 0, 1/FPS, 2/FPS, … the nearest frame is written, turned as a player turns it, to
OUT/<path of the video>/<number of the frame>.jpg. A frame is written once, also where a video has
fewer of them than were asked for. frames.jsonl in OUT records what is done, so that the same
command goes on where it was stopped; a video that was changed, or half done, is done again.

    patchwatch frames videos/ frames/               one picture for each second
    patchwatch frames videos/ frames/ --fps 5 --png

Exit codes: 0 done, 1 some files are damaged or no videos (they are listed at the end), 2 wrong
usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from edge.errors import SourceError, UsageError
from edge.schema import Strict
from edge.signals import Stopped, stop_signals
from edge.sources.images import VIDEO_SUFFIXES
from edge.terminal import console
from edge.words import counted
from training.data.folders import walk
from training.faces.sampling import DECODER, sampled
from training.faces.workers import add_workers, check_wanted, for_each_video
from training.files import JsonLines, folder_whole, save_picture, stamp
from training.flags import add_flags

RECORD = "frames.jsonl"


class Extracted(Strict):
    """What was written of a video: number and time in seconds of each picture; what is wrong with
    the file, in a sentence; its size and time of change, to know it again; and what was wanted.
    """

    video: str
    size: int
    changed_ns: int
    fps: float
    png: bool
    frames: tuple[tuple[int, float], ...] = ()
    fault: str = ""
    decoder: str = DECODER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch frames`."""
    parser.add_argument("videos", type=Path, metavar="VIDEO_DIR", help="folder with videos")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the pictures")
    add_flags(parser, "--fps", "--png")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Write what is missing; see the module's text for the exit codes.

    Raises:
        SourceError: there is no such folder, or no video below it.
        SinkError: the pictures cannot be written.
    """
    paths, others = _found(args.videos)
    out = console()
    try:
        with stop_signals():
            done = write_all(args, paths)
    except Stopped as stopped:
        out.print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    faults = [video.fault for video in done if video.fault]
    for line in (*_summary(done, others), *faults):
        out.print(line, markup=False, soft_wrap=True)
    return 1 if faults else 0


def write_all(args: argparse.Namespace, paths: Sequence[Path]) -> list[Extracted]:
    """Write the pictures of videos, but for those that are done; gives all."""
    record = JsonLines(args.output / RECORD)
    earlier: dict[str, Extracted] = {}
    for line in record.read():
        with suppress(ValidationError):  # of another version: done again
            earlier[line["video"]] = Extracted.model_validate(line)
    known: dict[Path, Extracted | None] = {}
    for path in paths:
        done = earlier.get(path.relative_to(args.videos).as_posix())
        known[path] = done if done and _serves(done, _blank(path, args), args.output) else None
    new = [path for path, done in known.items() if done is None]
    work = partial(write_one, args=args)
    with closing(for_each_video("writing pictures", new, work, args.workers)) as results:
        for path, result in results:
            fault = f"{path}: the process that decoded it ended; the file may be damaged."
            known[path] = done = result or _blank(path, args).model_copy(update={"fault": fault})
            record.add(done.model_dump())
    return [done for done in known.values() if done is not None]


def write_one(path: Path, args: argparse.Namespace) -> Extracted:
    """Write the pictures of one video; what is wrong with it becomes its fault.

    Raises:
        SinkError: a picture cannot be written.
    """
    blank, written, fault = _blank(path, args), [], ""
    place, suffix = args.output / blank.video, ".png" if args.png else ".jpg"
    with folder_whole(place) as folder:
        try:
            for frame in sampled(path, args.fps):
                check_wanted()
                save_picture(folder / f"{frame.index:06d}{suffix}", frame.image)
                written.append((frame.index, round(frame.time_s, 6)))
        except SourceError as error:
            fault = str(error)
    if not written:
        place.rmdir()
    return blank.model_copy(update={"frames": tuple(written), "fault": fault})


def _blank(path: Path, args: argparse.Namespace) -> Extracted:
    _, size, changed_ns = stamp(path)
    name = path.relative_to(args.videos).as_posix()
    return Extracted(video=name, size=size, changed_ns=changed_ns, fps=args.fps, png=args.png)


def _serves(done: Extracted, wanted: Extracted, output: Path) -> bool:
    """Whether what was written earlier is what is wanted now."""
    update = {"frames": (), "fault": "", "decoder": DECODER}
    # A file that gave nothing fails soon again, or was made readable since; and another decoder
    # may get more out of one that this one took for damaged.
    stale = done.fault and (not done.frames or done.decoder != DECODER)
    same = done.model_copy(update=update) == wanted
    return same and not stale and (output / done.video).is_dir()


def _found(folder: Path) -> tuple[list[Path], int]:
    """The videos below a folder, and how many other files there are; hidden ones are left out."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder with videos, found none.")
    files = [Path(os.fsdecode(path)) for path in walk(os.fsencode(folder), lambda name: True)]
    for path in files:
        if path.is_dir():
            raise SourceError(f"{path} cannot be read. Check its permissions.")
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise SourceError(f"{folder} has no file that is named as a video (.mp4, .mkv, .avi, …).")
    return videos, len(files) - len(videos)


def _summary(done: Sequence[Extracted], others: int) -> Iterator[str]:
    pictures = sum(len(video.frames) for video in done)
    yield f"{counted(len(done), 'video')}, {counted(pictures, 'picture')}."
    if others:
        files = counted(others, "other file was", "other files were")
        yield f"{files} passed by, not named as a video."
    faults = sum(bool(video.fault) for video in done)
    if faults:
        files = counted(faults, "file is", "files are")
        yield f"{files} damaged or no video; what could be decoded was kept:"
