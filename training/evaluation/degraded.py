"""Every picture and every frame under each degradation, once for all models."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

from edge.errors import SourceError
from edge.sources.images import read_image
from edge.types import Image
from training.evaluation.columns import COLUMNS
from training.evaluation.material import Entry
from training.evaluation.videos import sampled_frames

Versions = Mapping[str, Image]
"""Degradation → the picture after it, uint8 [H, W, 3] BGR."""

_AHEAD = 2
"""Pictures that are prepared ahead per process; bounds the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One picture or frame under each degradation, or why it, and its whole file, is left out.

    Attributes:
        entry: index of the file.
        versions: None where the file cannot be read to its end, or its last frame has gone before.
        reason: why; None at the end of a sound file.
    """

    entry: int
    versions: Versions | None
    reason: str | None = None


def prepared(
    entries: Sequence[Entry], columns: Sequence[str], fps: float, workers: int
) -> Iterator[Prepared]:
    """Yield the frames of each file in order, and after the last of a file one without versions.

    Args:
        entries: files.
        columns: names in `COLUMNS`.
        fps: frames per second of videos.
        workers: processes; 0 for this one.

    Raises:
        SourceError: a process died.
    """
    if not workers:
        for job in _jobs(entries, columns, fps):
            yield job()
        return
    with _pool(workers) as submit:
        yield from _ahead(submit, _jobs(entries, columns, fps), _AHEAD * workers)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What a process does for one picture; a file's end passes through."""

    entry: int
    columns: tuple[str, ...]
    source: Path | Image | None
    reason: str | None = None

    def __call__(self) -> Prepared:
        if self.source is None:
            return Prepared(self.entry, None, self.reason)
        try:
            image = read_image(self.source) if isinstance(self.source, Path) else self.source
        except SourceError as error:  # it was sound when it was found
            return Prepared(self.entry, None, str(error))
        return Prepared(self.entry, {name: COLUMNS[name](image) for name in self.columns})


def _jobs(entries: Sequence[Entry], columns: Sequence[str], fps: float) -> Iterator[_Job]:
    names = tuple(columns)
    for index, entry in enumerate(entries):
        reason = None
        if not entry.video:
            yield _Job(index, names, entry.picture.path)
        else:
            try:
                for frame in sampled_frames(entry.picture.path, fps):
                    yield _Job(index, names, frame)
            except SourceError as error:
                reason = str(error)
        yield _Job(index, names, None, reason)


@contextmanager
def _pool(workers: int) -> Iterator[Callable[[_Job], Future[Prepared]]]:
    """Processes that leave Ctrl-C to this one and do not outlive it; gives what submits a job."""
    # Not forked: the threads of the runtimes do not survive a fork. And the tracker first, for its
    # own start would let signals through in the midst of that of a process.
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()
    pool = ProcessPoolExecutor(workers, context)

    def submit(job: _Job) -> Future[Prepared]:
        with _interrupt_held():
            return pool.submit(job)

    try:
        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Let Ctrl-C wait; a process that is started meanwhile never gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ahead(
    submit: Callable[[_Job], Future[Prepared]], jobs: Iterator[_Job], ahead: int
) -> Iterator[Prepared]:
    waiting: deque[Future[Prepared]] = deque()
    try:
        for job in jobs:
            waiting.append(submit(job))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise SourceError(
            "a process that prepares pictures died, perhaps for want of memory. Use fewer "
            "--workers."
        ) from error
