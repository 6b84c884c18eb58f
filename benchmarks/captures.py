"""How a stream is read through OpenCV and through PyAV, on one machine in one run.

    python -m benchmarks.captures [--size 720p] [--rounds 2] [--seconds 2]

A camera of `benchmarks.soak`, a process of its own, sends H.264 over RTSP on this machine; its
pictures carry their number, so that the age of each is known. One reader watches at a time, in
turns. Measured are:

- the time from nothing to the first picture, and how old that picture is;
- the age of pictures as they come from the reader, and for how many there is a backlog at first;
- processor time for a second of the stream, where every picture is taken and where one in six is,
  as by a model that is slower than the stream (OpenCV's reader converts the others too);
- for how long a read, and opening, block while the camera is frozen, with a limit of two seconds.

Ratios are PyAV's over OpenCV's. Takes little more than a minute. Close other programs first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from rich.table import Table

from benchmarks.end_to_end.clips import FPS, HD, Size
from benchmarks.end_to_end.stamp import read_stamp
from benchmarks.results_file import RESULTS, Conditions, conditions_now, describe_machine
from benchmarks.section import Row
from benchmarks.soak.film import PICTURES, make_film
from benchmarks.soak.run import SIZES
from benchmarks.soak.scenery import CameraProcess
from benchmarks.soak.watch import CameraClock
from benchmarks.stats import median, percentiles
from edge.errors import PatchwatchError, SourceError
from edge.schema import code_commit
from edge.sources.opencv import cv2, open_ffmpeg
from edge.sources.policy import Limits
from edge.sources.streams import open_stream
from edge.terminal import console, positive
from edge.types import Image
from training.evaluation.options import finite_above_0
from training.evaluation.record import now
from training.evaluation.whole_files import write_all

THEME, SCHEMA = "captures", 1
LIMITS = Limits(open_s=10.0, read_s=10.0)
FROZEN = Limits(open_s=2.0, read_s=2.0)
TAKEN = {"each": 1, "one in six": 6}
SETTLING_S = 1.0
"""What came in a burst at first is over after so long, and told apart."""

LATE_FRAMES = 2.0
"""A picture that is older than the steady ones by more frames belongs to the backlog."""


class Reader(Protocol):
    """An open stream."""

    def read(self, wanted: bool) -> Image | None:
        """Block for the next picture; convert it if it is wanted, or if that cannot be helped.

        Raises:
            SourceError: none came.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


class OpenCvReader:
    """As the program read streams before: every picture is converted as it is read.

    Args:
        url: rtsp.
        limits: how long to wait.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self._capture = open_ffmpeg(
            url,
            (
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(limits.open_s * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(limits.read_s * 1000),
                cv2.CAP_PROP_N_THREADS,
                1,
            ),
        )
        if not self._capture.isOpened():
            raise SourceError("OpenCV cannot open the stream.")

    def read(self, wanted: bool) -> Image | None:
        """The next picture, whether it is wanted or not."""
        came, image = self._capture.read()
        if not came:
            raise SourceError("OpenCV gives no more pictures.")
        return image  # type: ignore[return-value]  # cv2's stubs do not know that it is uint8

    def close(self) -> None:
        """Close it."""
        self._capture.release()


class PyAvReader:
    """As the program reads streams.

    Args:
        url: rtsp.
        limits: how long to wait.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self._capture = open_stream(url, limits, name="camera")

    def read(self, wanted: bool) -> Image | None:
        """The next picture; None where it was not wanted."""
        shot = self._capture.read()
        return shot.image() if wanted else None

    def close(self) -> None:
        """Close it."""
        self._capture.close()


Open = Callable[[str, Limits], Reader]
READERS: dict[str, Open] = {"opencv": OpenCvReader, "pyav": PyAvReader}


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What is measured.

    Attributes:
        size: of the stream.
        fps: of the stream.
        rounds: turns of each reader.
        seconds: each look at a stream that runs.
        opens: how often each reader opens the stream in each round.
    """

    size: Size
    fps: float = FPS
    rounds: int = 2
    seconds: float = 2.0
    opens: int = 3


@dataclass(slots=True)
class Samples:
    """What was measured of one reader; one value for each time it was measured, but ages: each.

    Attributes:
        open_ms: to open the stream.
        first_ms: from nothing to the first picture.
        first_age_ms: how old the first picture was when it was there.
        age_ms: of each picture, once the burst at the start is over.
        backlog_frames: pictures at the start that were clearly older than the later ones.
        cpu_ms_per_s: which are taken → processor time for each second of the stream.
        frozen_read_s: how long a read blocked after the camera had been frozen.
        frozen_open_s: how long opening blocked while it was.
    """

    open_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    first_age_ms: list[float] = field(default_factory=list)
    age_ms: list[float] = field(default_factory=list)
    backlog_frames: list[float] = field(default_factory=list)
    cpu_ms_per_s: dict[str, list[float]] = field(default_factory=lambda: {t: [] for t in TAKEN})
    frozen_read_s: list[float] = field(default_factory=list)
    frozen_open_s: list[float] = field(default_factory=list)


class Bench:
    """Measures readers on one camera.

    Args:
        camera: runs.
        plan: what to do.
    """

    def __init__(self, camera: CameraProcess, plan: CapturePlan) -> None:
        self._camera = camera
        self._plan = plan
        self._clock = CameraClock(plan.fps, camera.zero_s, PICTURES)

    def round(self, open_reader: Open, samples: Samples) -> None:
        """One turn of a reader.

        Raises:
            SourceError: the stream cannot be read.
        """
        for _ in range(self._plan.opens):
            self._first_picture(open_reader, samples)
        self._ages(open_reader, samples)
        for taken, every in TAKEN.items():
            samples.cpu_ms_per_s[taken].append(self._cpu(open_reader, every))

    def frozen(self, open_reader: Open, samples: Samples) -> None:
        """What a reader does while the camera is frozen; it runs on afterwards.

        Raises:
            SourceError: the stream cannot be read before.
        """
        reader = open_reader(self._camera.address, replace(FROZEN, open_s=LIMITS.open_s))
        try:
            reader.read(wanted=False)
            self._camera.freeze()
            samples.frozen_read_s.append(_time_of_failure(lambda: reader.read(wanted=False)))
            samples.frozen_open_s.append(
                _time_of_failure(lambda: open_reader(self._camera.address, FROZEN))
            )
        finally:
            self._camera.thaw()
            reader.close()

    def _first_picture(self, open_reader: Open, samples: Samples) -> None:
        began_s = time.monotonic()
        with self._opened(open_reader) as reader:
            samples.open_ms.append((time.monotonic() - began_s) * 1e3)
            image = reader.read(wanted=True)
            there_s = time.monotonic()
        samples.first_ms.append((there_s - began_s) * 1e3)
        age_ms = self._age_ms(image, there_s)
        if age_ms is not None:
            samples.first_age_ms.append(age_ms)

    def _ages(self, open_reader: Open, samples: Samples) -> None:
        early: list[float] = []
        steady: list[float] = []
        with self._opened(open_reader) as reader:
            for elapsed_s, image in self._watch(reader, SETTLING_S + self._plan.seconds, every=1):
                age_ms = self._age_ms(image, time.monotonic())
                if age_ms is not None:
                    (early if elapsed_s < SETTLING_S else steady).append(age_ms)
        bound_ms = median(steady) + LATE_FRAMES * 1e3 / self._plan.fps
        samples.backlog_frames.append(sum(age_ms > bound_ms for age_ms in early))
        samples.age_ms += steady

    def _cpu(self, open_reader: Open, every: int) -> float:
        with self._opened(open_reader) as reader:
            for _ in self._watch(reader, SETTLING_S, every):
                pass
            began_s, used_s = time.monotonic(), time.process_time()
            for _ in self._watch(reader, self._plan.seconds, every):
                pass
            used_s, took_s = time.process_time() - used_s, time.monotonic() - began_s
        return used_s / took_s * 1e3

    @contextmanager
    def _opened(self, open_reader: Open) -> Iterator[Reader]:
        reader = open_reader(self._camera.address, LIMITS)
        try:
            yield reader
        finally:
            reader.close()

    def _watch(
        self, reader: Reader, seconds: float, every: int
    ) -> Iterator[tuple[float, Image | None]]:
        began_s, count = time.monotonic(), 0
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            yield elapsed_s, reader.read(wanted=count % every == 0)
            count += 1

    def _age_ms(self, image: Image | None, at_s: float) -> float | None:
        place = None if image is None else read_stamp(image)
        return None if place is None else self._clock.age_s(place, at_s) * 1e3


def _time_of_failure(call: Callable[[], object]) -> float:
    """How long the last one of some calls took, which failed."""
    while True:
        began_s = time.monotonic()
        try:
            call()
        except SourceError:
            return time.monotonic() - began_s


def measure(plan: CapturePlan, tell: Callable[[str], None]) -> dict[str, Samples]:
    """Measure both readers in turns.

    Args:
        plan: what to do.
        tell: told what is measured next.

    Returns:
        Reader → what was measured of it.

    Raises:
        SourceError: the stream cannot be read.
        RuntimeError: the camera did not start.
    """
    measured = {name: Samples() for name in READERS}
    with tempfile.TemporaryDirectory() as folder:
        tell("making the film")
        film = make_film(Path(folder) / "film", plan.size, plan.fps)
        with CameraProcess(film, plan.fps, time.monotonic()) as camera:
            bench = Bench(camera, plan)
            for turn in range(plan.rounds):
                for name, samples in measured.items():
                    tell(f"round {turn + 1} of {plan.rounds}: {name}")
                    bench.round(READERS[name], samples)
            for name, samples in measured.items():
                tell(f"frozen camera: {name}")
                bench.frozen(READERS[name], samples)
    return measured


def rows(measured: dict[str, Samples]) -> list[Row]:
    """One row for each figure: of OpenCV, of PyAV, and PyAV's over OpenCV's (None over 0)."""
    return [_row(figure, *(get(measured[name]) for name in READERS)) for figure, get in _FIGURES]


_FIGURES: tuple[tuple[str, Callable[[Samples], list[float]]], ...] = (
    ("open_ms", lambda s: s.open_ms),
    ("first_picture_ms", lambda s: s.first_ms),
    ("first_picture_age_ms", lambda s: s.first_age_ms),
    ("backlog_frames", lambda s: s.backlog_frames),
    ("age_p50_ms", lambda s: s.age_ms),
    ("age_p99_ms", lambda s: [percentiles(s.age_ms, (99,))["p99"]]),
    *(
        (f"cpu_ms_per_s, {taken} taken", lambda s, taken=taken: s.cpu_ms_per_s[taken])
        for taken in TAKEN
    ),
    ("frozen_read_s", lambda s: s.frozen_read_s),
    ("frozen_open_s", lambda s: s.frozen_open_s),
)


def _row(figure: str, opencv: list[float], pyav: list[float]) -> Row:
    theirs, ours = median(opencv), median(pyav)
    return {
        "figure": figure,
        "opencv": round(theirs, 3),
        "pyav": round(ours, 3),
        "ratio": round(ours / theirs, 4) if theirs else None,
        "opencv_samples": [round(value, 3) for value in opencv],
        "pyav_samples": [round(value, 3) for value in pyav],
    }


def result(
    plan: CapturePlan, measured: dict[str, Samples], conditions: Conditions
) -> dict[str, object]:
    """The content of a result file, plain JSON."""
    return {
        "schema": SCHEMA,
        "theme": THEME,
        "time": now(),
        "commit": code_commit(),
        "machine": describe_machine(),
        "config": {
            "size": f"{plan.size.width}x{plan.size.height}",
            "fps": plan.fps,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "opens": plan.opens,
            "frozen_limit_s": FROZEN.read_s,
        },
        "conditions": conditions.model_dump(),
        "rows": rows(measured),
    }


def usual_path(content: dict[str, object], folder: Path = RESULTS) -> Path:
    """Where a result goes without a name: `captures_<machine>_<date>_<commit>.json`."""
    date = str(content["time"])[:10].replace("-", "")
    machine = f"{platform.machine()}-{os.cpu_count()}core"
    return folder / f"{THEME}_{machine}_{date}_{content['commit']}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the result file."""
    args = _parsed(argv)
    plan = CapturePlan(SIZES[args.size], rounds=args.rounds, seconds=args.seconds)
    conditions = conditions_now()
    out = console()
    try:
        with out.status("starting") as status:
            measured = measure(plan, status.update)
        content = result(plan, measured, conditions)
        path = args.report or usual_path(content)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_all(path.parent, {path.name: text.encode()})
    except PatchwatchError as error:
        out.print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    out.print(_table(rows(measured)))
    sys.stdout.write(f"{path}\n")
    return 0


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.captures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="720p", help="(default: 720p)")
    parser.add_argument(
        "--rounds", type=positive, default=CapturePlan(HD).rounds, metavar="N", help="turns of each"
    )
    parser.add_argument(
        "--seconds",
        type=finite_above_0,
        default=CapturePlan(HD).seconds,
        metavar="S",
        help="of each look at the stream",
    )
    parser.add_argument(
        "--report", type=Path, metavar="F.json", help="(default: a name of its own in results/)"
    )
    return parser.parse_args(argv)


def _table(found: Sequence[Row]) -> Table:
    table = Table()
    for name in ("figure", "opencv", "pyav", "ratio"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for row in found:
        figures = (row[name] for name in ("opencv", "pyav", "ratio"))
        table.add_row(str(row["figure"]), *("" if f is None else f"{f:.4g}" for f in figures))
    return table


if __name__ == "__main__":
    sys.exit(main())
