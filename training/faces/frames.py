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
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge.errors import SinkError, SourceError, UsageError
from edge.signals import Stopped, stop_signals, uninterrupted
from edge.terminal import console, positive
from training.faces.files import files_below, folder_whole, is_video, save_picture, writing
from training.faces.progress import video_bar
from training.faces.sampling import DECODER, sampled
from training.faces.workers import Died, check_wanted, processes, share_out

RECORD = "frames.jsonl"


@dataclass(frozen=True, slots=True)
class How:
    """What pictures are wanted.

    Attributes:
        fps: moments per second.
        png: written without loss; else as JPEG of quality 95.
    """

    fps: float
    png: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What was written of a video.

    Attributes:
        video: its path below the folder of videos.
        size, changed_ns: of its file, to know it again.
        how: what was wanted.
        frames: number and time in seconds of each picture.
        fault: what is wrong with the file, in a sentence; empty if nothing is.
        decoder: what decoded it.
    """

    video: str
    size: int
    changed_ns: int
    how: How
    frames: tuple[tuple[int, float], ...]
    fault: str
    decoder: str = DECODER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch frames`."""
    parser.add_argument("videos", type=Path, metavar="VIDEO_DIR", help="folder with videos")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the pictures")
    parser.add_argument(
        "--fps", type=rate, default=1.0, metavar="N", help="pictures per second (default: 1)"
    )
    parser.add_argument("--png", action="store_true", help="PNG instead of JPEG of quality 95")
    parser.add_argument(
        "--workers", type=positive, default=processes(), metavar="N", help="processes (all cores)"
    )


def rate(text: str) -> float:
    """A number above 0 from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (0 < value <= 1000 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(
            f"expected a number above 0, at most 1000; found {text!r}."
        )
    return value


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
            done = write_all(args.videos, paths, args.output, How(args.fps, args.png), args.workers)
    except Stopped as stopped:
        out.print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    faults = [video.fault for video in done if video.fault]
    for line in (*_told(done, others), *faults):
        out.print(line, markup=False, soft_wrap=True)
    return 1 if faults else 0


def write_all(
    videos: Path, paths: Sequence[Path], output: Path, how: How, workers: int
) -> list[Done]:
    """Write the pictures of videos, but for those that are done.

    Args:
        videos: the folder that the paths are below of.
        paths: of the videos.
        output: the folder to write to.
        how: what is wanted.
        workers: processes.

    Returns:
        What there is of each video now, in the order of paths.

    Raises:
        SinkError: a picture cannot be written.
    """
    record = _Record(output)
    known = {path: record.of(path, videos, how) for path in paths}
    new = [path for path, done in known.items() if done is None]
    work = partial(write_one, videos=videos, output=output, how=how)
    with (
        video_bar("writing pictures", [_size(path) for path in new]) as bar,
        closing(share_out(new, work, workers)) as results,  # type: ignore[type-var]
    ):
        for path, result in results:
            known[path] = result = _or_died(result, path, videos, how)
            record.add(result)
            bar.advance(result.size)
    return [done for done in known.values() if done is not None]


def write_one(path: Path, videos: Path, output: Path, how: How) -> Done:
    """Write the pictures of one video; what is wrong with it becomes its fault.

    Raises:
        SinkError: a picture cannot be written.
    """
    name, written, fault = path.relative_to(videos), [], ""
    size, changed_ns = _stamp(path)
    suffix = ".png" if how.png else ".jpg"
    with folder_whole(output / name) as folder:
        try:
            for frame in sampled(path, how.fps):
                check_wanted()
                save_picture(folder / f"{frame.index:06d}{suffix}", frame.image)
                written.append((frame.index, round(frame.time_s, 6)))
        except SourceError as error:
            fault = str(error)
    if not written:
        (output / name).rmdir()
    return Done(name.as_posix(), size, changed_ns, how, tuple(written), fault)


class _Record:
    """What was written earlier, a line for each video; the last one counts."""

    def __init__(self, folder: Path) -> None:
        self._path, self._folder = folder / RECORD, folder
        text = _text_of(self._path)
        self._known = {done.video: done for done in _lines(text)}
        self._torn = bool(text) and not text.endswith("\n")

    def of(self, path: Path, videos: Path, how: How) -> Done | None:
        """What there is of a video, if that is what is wanted."""
        done = self._known.get(path.relative_to(videos).as_posix())
        if done is None or (done.size, done.changed_ns) != _stamp(path) or done.how != how:
            return None
        # A file that gave nothing fails soon again, or was made readable since; and another decoder
        # may get more out of one that this one took for damaged.
        stale = done.fault and (not done.frames or done.decoder != DECODER)
        return None if stale or not (self._folder / done.video).is_dir() else done

    def add(self, done: Done) -> None:
        """Note what was written."""
        with uninterrupted(), writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._torn else "") + json.dumps(asdict(done)) + "\n")
            self._torn = False


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SinkError(f"{path} cannot be read ({error.strerror or error}).") from error


def _lines(text: str) -> Iterator[Done]:
    for line in text.splitlines():
        try:
            yield _done(json.loads(line))
        except (ValueError, TypeError, KeyError):  # torn when a run was killed: done again
            continue


def _done(values: dict[str, Any]) -> Done:
    frames = tuple((int(index), float(time)) for index, time in values.pop("frames"))
    return Done(how=How(**values.pop("how")), frames=frames, **values)


def _or_died(result: Done | Died, path: Path, videos: Path, how: How) -> Done:
    if isinstance(result, Done):
        return result
    size, changed_ns = _stamp(path)
    fault = f"{path}: the process that decoded it ended; the file may be damaged."
    return Done(path.relative_to(videos).as_posix(), size, changed_ns, how, (), fault)


def _found(folder: Path) -> tuple[list[Path], int]:
    """The videos below a folder, and how many other files there are."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder with videos, found none.")
    files = list(files_below(folder))
    videos = [path for path in files if is_video(path)]
    if not videos:
        raise SourceError(f"{folder} has no file that is named as a video (.mp4, .mkv, .avi, …).")
    return videos, len(files) - len(videos)


def _told(done: Sequence[Done], others: int) -> Iterator[str]:
    pictures = sum(len(video.frames) for video in done)
    yield f"{len(done)} videos, {pictures} pictures."
    if others:
        yield f"{others} other files were passed by: their names are not those of videos."
    faults = sum(bool(video.fault) for video in done)
    if faults:
        yield f"{faults} files are damaged or no videos; what could be decoded of them was kept:"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # gone meanwhile, or a broken link: opening it tells
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    return _stamp(path)[0]
