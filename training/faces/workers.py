"""Work that is shared out over processes, and stops cleanly.

A video that brings its process down (a decoder may) is found out; the others go on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

from edge.cpus import find_cpus
from edge.signals import uninterrupted
from edge.terminal import positive
from training.files import stamp
from training.loading_process import leave_signals_to_parent
from training.progress import progress_bar

J = TypeVar("J")
R = TypeVar("R")

_AHEAD = 2
"""Jobs that are handed out for each process, so that none waits for the next."""


class _EndedError(Exception):
    """The parent wants no more results."""


_ending: Event | None = None


def check_wanted() -> None:
    """To be called between steps of the work; leaves it where the parent was stopped."""
    if _ending is not None and _ending.is_set():
        raise _EndedError


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare --workers, one for each core unless it says otherwise."""
    usual = find_cpus().usable
    help = "processes (all cores)"
    parser.add_argument("--workers", type=positive, default=usual, metavar="N", help=help)


def for_each_video(
    title: str, paths: Sequence[Path], work: Callable[[Path], R], workers: int
) -> Generator[tuple[Path, R | None], None, None]:
    """As `share_out`, with a bar that knows the time left by the bytes of files."""
    sizes = {path: stamp(path)[1] for path in paths}
    with progress_bar() as progress, closing(share_out(paths, work, workers)) as results:
        task = progress.add_task(title, total=sum(sizes.values()) or 1, note="")
        for number, (path, result) in enumerate(results, 1):
            yield path, result
            note = f"{number} of {len(paths)} videos"
            progress.update(task, advance=sizes[path], note=note)


def share_out(
    jobs: Sequence[J], work: Callable[[J], R], workers: int
) -> Generator[tuple[J, R | None], None, None]:
    """Do all jobs, in any order; gives each with its result, None where its process ended.

    Jobs can be sent to another process, and `work` is a function of a module or a
    `functools.partial` of one; what it raises ends all. With one worker, or for a single job, it
    is done in this process.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, work(job)
        return
    waiting = deque(jobs)
    while waiting:
        suspects = yield from _pooled(waiting, work, min(workers, len(waiting)))
        for job in suspects:
            if (yield from _pooled(deque([job]), work, 1)):
                yield job, None


def _pooled(
    waiting: deque[J], work: Callable[[J], R], workers: int
) -> Generator[tuple[J, R | None], None, list[J]]:
    """Results until all is done, or a process ended; gives the jobs that it may have ended in."""
    running: dict[Future[R], J] = {}
    with _pool(workers) as pool:
        while waiting or running:
            broken = not _hand_out(pool, waiting, work, running, workers * _AHEAD)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                else:
                    yield running.pop(future), future.result()
            if broken and all(
                f.done() and isinstance(f.exception(), BrokenProcessPool) for f in running
            ):
                return list(running.values())
    return []


def _hand_out(
    pool: ProcessPoolExecutor,
    waiting: deque[J],
    work: Callable[[J], R],
    running: dict[Future[R], J],
    most: int,
) -> bool:
    """Keep the processes busy; whether they take work."""
    while waiting and len(running) < most:
        try:
            with uninterrupted(), _sheltered():
                running[pool.submit(work, waiting[0])] = waiting[0]
        except BrokenProcessPool:
            return False
        waiting.popleft()
    return True


@contextmanager
def _sheltered() -> Iterator[None]:
    """Let processes that begin now be spared by Ctrl-C, as each would print where it was met."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked, as there are threads in this process, a progress bar's for one.
    context = multiprocessing.get_context("spawn")
    ending = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (ending,))
    try:
        yield pool
    finally:
        ending.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(ending: Event) -> None:
    global _ending
    _ending = ending
    leave_signals_to_parent(0)
