"""The soak itself: real cameras, the program's own loop, and what is measured meanwhile."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.progress import Progress

from benchmarks.cameras import AgeSink, CameraProcess, Trouble
from benchmarks.film import FULL_HD, HD, PICTURES, Size, make_film
from edge.backends import open_backend
from edge.backends.base import Backend
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.live.loop import INFERENCE_THREAD, Camera, LiveLoop
from edge.live.scheduler import batch_that_pays
from edge.live.views import Controls
from edge.regions import parse_region
from edge.signals import hangups
from edge.sinks.jsonl import JsonLinesSink, JsonRotation
from edge.sinks.worker import SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource
from edge.sources.policy import Limits, ReconnectPolicy
from edge.types import Batch, Evidence
from edge.weights import find_model

SIZES = {size.name: size for size in (Size("360p", 360, 640), HD, FULL_HD)}
HELD = "held.jsonl"
"""Of lines, rotated from outside."""

SLOW_MS = 333.0
"""An inference of the usual soak: three frames per second of a stream of thirty."""

QUIET_S = 30.0
"""No trouble is made at the end of a run, nor in its first third; all must be back by the end."""


class SlowBackend:
    """Asks another backend, open, and answers only after `least_s` seconds for each frame."""

    def __init__(self, backend: Backend, least_s: float) -> None:
        self._backend: Any = backend
        self._least_s = least_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def infer(self, frames: Batch) -> list[Evidence]:
        """As the other does, and late."""
        until = time.monotonic() + len(frames) * self._least_s
        evidence: list[Evidence] = self._backend.infer(frames)
        time.sleep(max(0.0, until - time.monotonic()))
        return evidence


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds: resident memory in 10⁶ bytes, file descriptors, threads."""

    rss_mb: float
    files: int
    threads: int


@dataclass(slots=True, eq=False)
class Soak:
    """What was measured so far; whole at any moment.

    The program's cameras with the sinks that watch them; the resident memory of every second; what
    the process held when it was warm and holds now; the newest moment by `time.monotonic`; where
    lines are written and rotate, how many of those that were written are in no file.
    """

    args: argparse.Namespace
    cameras: list[tuple[Camera, AgeSink]] = field(default_factory=list)
    at_s: array[float] = field(default_factory=lambda: array("d"))
    rss_mb: array[float] = field(default_factory=lambda: array("d"))
    begin: Held | None = None
    end: Held | None = None
    ended_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False
    lines: list[tuple[list[SinkWorker], Path]] = field(default_factory=list)
    lines_lost: int | None = None

    @property
    def seconds(self) -> float:
        """How long it shall take."""
        return 60.0 * float(self.args.minutes)

    @property
    def elapsed_s(self) -> float:
        """How long it took."""
        return self.at_s[-1] if self.at_s else 0.0

    @property
    def warm_up_s(self) -> float:
        """How much of it is left out: a minute, or a third of a short one."""
        return min(60.0, self.seconds / 3)

    def note(self, at_s: float) -> None:
        """Look at what the process holds, `at_s` seconds into the run."""
        process = psutil.Process()
        rss_mb = process.memory_info().rss / 1e6
        self.end = Held(rss_mb, process.num_fds(), process.num_threads())
        self.at_s.append(at_s)
        self.rss_mb.append(rss_mb)
        if self.begin is None and at_s > self.warm_up_s:
            self.begin = self.end

    def slope_mb_per_h(self) -> float | None:
        """Growth of memory after the warm-up; None of fewer than three moments."""
        rows = [(t, m) for t, m in zip(self.at_s, self.rss_mb, strict=True) if t >= self.warm_up_s]
        return slope_per_h(*zip(*rows, strict=True)) if len(rows) > 2 else None


def slope_per_h(at_s: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Theil and Sen), in units of the values per hour.

    Memory comes in steps, of a frame's size for instance, when a hole in it is too small. Of these
    one weighs little here, where least squares would take it for growth; steps that come again and
    again weigh what they are.
    """
    step = max(1, len(at_s) // 300)
    times, found = (np.asarray(row[::step], np.float64) for row in (at_s, values))
    first, second = np.triu_indices(len(times), 1)
    slopes = (found[second] - found[first]) / (times[second] - times[first])
    return float(np.median(slopes) * 3600)


def soak(measured: Soak, progress: Progress | None = None) -> None:
    """Run it; Ctrl-C ends it early and keeps what was measured.

    Raises:
        PatchwatchError: the model cannot be used, or the program failed.
        RuntimeError: a camera did not start.
    """
    with ExitStack() as stack, hangups(lambda: None):
        try:
            processes = _processes(measured.args, stack)
            batch = _add_cameras(measured, processes, stack)
            _watch(measured, processes, batch, progress)
            if measured.lines:
                measured.lines_lost = sum(map(_lost, measured.lines))
        except KeyboardInterrupt:
            measured.interrupted = True


def _processes(args: argparse.Namespace, stack: ExitStack) -> list[CameraProcess]:
    """The cameras, running, each at another place of the same film."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchwatch-soak-")))
    film, zero_s = make_film(folder / "film", SIZES[args.size], args.fps), time.monotonic()
    offsets = [number * PICTURES // args.cameras for number in range(args.cameras)]
    return [stack.enter_context(CameraProcess(film, args.fps, zero_s, at)) for at in offsets]


def _add_cameras(measured: Soak, processes: Sequence[CameraProcess], stack: ExitStack) -> int:
    """Fill in the program's cameras; gives the frames that the model takes together."""
    args = measured.args
    backend = stack.enter_context(open_backend(find_model(args.model)))
    stack.callback(_wait_for_model)
    slow_ms = args.slow_ms if args.slow_ms is not None else SLOW_MS * (args.cameras == 1)
    slow = SlowBackend(backend, slow_ms / 1e3) if slow_ms else backend
    detector = Detector(slow, parse_region(backend.manifest.region))
    detector.warm_up()
    limits, retry = Limits(), ReconnectPolicy()
    if args.faults:
        limits = Limits(open_s=5.0, frame_s=2.0, read_s=5.0)
        retry = ReconnectPolicy(quick_s=0.5, medium_s=1.0, slow_s=2.0)
    settings, calibration = VerdictSettings(), backend.manifest.calibration
    for number, process in enumerate(processes, start=1):
        name, sink = f"camera-{number}", AgeSink(process)
        source = open_source(process.address, name=name, limits=limits, retry=retry)
        assert isinstance(source, LiveSource)
        workers = [SinkWorker(sink)]
        if args.rotate:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lines-")))
            rotating = JsonLinesSink(folder / "own.jsonl", JsonRotation(every_s=args.rotate))
            for sink_of_lines in (rotating, JsonLinesSink(folder / HELD)):
                workers.append(SinkWorker(sink_of_lines))
            measured.lines.append((workers[1:], folder))
        camera = Camera(name, source, detector, settings, calibration, workers=workers)
        measured.cameras.append((camera, sink))
    return 1 if slow_ms else batch_that_pays(detector)


def _lost(lines: tuple[list[SinkWorker], Path]) -> int:
    """Lines that came for the sinks of a folder and are in no file of it."""
    workers, folder = lines
    health = [worker.health() for worker in workers]
    return sum(one.written + one.dropped for one in health) - sum(
        len(path.read_bytes().splitlines()) for path in folder.iterdir()
    )


def rotate_from_outside(folder: Path) -> None:
    """Put the file aside that does not rotate by itself, as logrotate does, and send SIGHUP."""
    with suppress(FileNotFoundError):  # no line has come yet
        (folder / HELD).rename(folder / f"{Path(HELD).stem}.{time.time_ns()}.jsonl")
    os.kill(os.getpid(), signal.SIGHUP)


def _wait_for_model() -> None:
    # The loop does not wait for a model that is at work; but a runtime in C++ must not come back
    # to an interpreter that is being torn down.
    for thread in threading.enumerate():
        if thread.name == INFERENCE_THREAD:
            thread.join()


def _watch(
    measured: Soak, processes: Sequence[CameraProcess], batch: int, progress: Progress | None
) -> None:
    controls, began_s, rotations = Controls(), time.monotonic(), 0
    task = progress.add_task("soaking", total=measured.seconds) if progress else None
    cameras = [camera for camera, _ in measured.cameras]
    with (
        LiveLoop(cameras, controls=controls, batch=batch) as loop,
        Trouble(processes, measured.args.seed) as trouble,
    ):
        measured.faults = trouble.counts

        def tick() -> None:
            nonlocal rotations
            measured.ended_s = time.monotonic()
            measured.note(measured.ended_s - began_s)
            left_s = measured.seconds - measured.elapsed_s
            late = left_s < min(QUIET_S, measured.seconds / 3)
            early = measured.elapsed_s < measured.warm_up_s
            trouble.wanted(measured.args.faults and not late and not early)
            controls.stop = left_s <= 0
            if measured.lines and measured.elapsed_s >= (rotations + 1) * measured.args.rotate:
                rotations += 1
                for _, folder in measured.lines:
                    rotate_from_outside(folder)
            if progress and task is not None:
                progress.update(task, completed=measured.elapsed_s)

        loop.run(tick, 1.0)
