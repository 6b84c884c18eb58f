"""What runs a task over batches with many workers: processes of this machine, or Ray.

Both give what each batch came to in the order in which batches are finished, and take no more than
they can work on.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from edge.cpus import find_cpus
from edge.errors import MissingDependency, PatchwatchError, UsageError
from edge.sources.address import redact

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
Task = Callable[[Sequence[T]], list[R]]
"""What a worker does with a batch; made by each worker for itself."""

_RETRIES = 2
"""How often Ray begins a batch again whose worker died."""

_task: Any = None


def _begin(make: Callable[[], Task[T, R]]) -> None:
    """In a new process: leave stop signals to the parent, end when it ends, make the task."""
    import signal

    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _task = make()


def _call(batch: Sequence[Any]) -> list[Any]:
    done: list[Any] = _task(batch)
    return done


def run_each(
    engine: Processes | Ray, make: Callable[[], Task[T, R]], batches: Sequence[Sequence[T]]
) -> Iterator[tuple[T, R | None]]:
    """Each item and what it came to; None where workers died of it, with others and alone."""
    lost: list[list[T]] = []
    for number, done in engine.run(make, batches) if batches else ():
        if done is None:
            lost += [[item] for item in batches[number]]
        else:
            yield from zip(batches[number], done, strict=True)
    for number, done in engine.alone.run(make, lost) if lost else ():
        yield lost[number][0], done[0] if done else None


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes of this machine; by default as many as its CPUs bear. Each has `ahead` batches in
    hand, so that none waits for the next.
    """

    workers: int | None = None
    threads: int = 1
    ahead: int = 2

    @property
    def count(self) -> int:
        """How many workers there are."""
        return self.workers or max(1, find_cpus().usable // self.threads)

    @property
    def alone(self) -> Processes:
        """One with a single batch in hand, so that who kills its worker is known."""
        return Processes(1, self.threads, ahead=1)

    def run(
        self, make: Callable[[], Task[T, R]], batches: Sequence[Sequence[T]]
    ) -> Iterator[tuple[int, list[R] | None]]:
        """The number of each batch and what it came to; None where its worker, or one beside it,
        died.
        """
        left, spawned = list(range(len(batches)))[::-1], multiprocessing.get_context("spawn")
        while left:
            running: dict[Future[list[R]], int] = {}
            pool = ProcessPoolExecutor(self.count, spawned, initializer=_begin, initargs=(make,))
            try:
                while left or running:
                    while left and len(running) < self.ahead * self.count:
                        running[pool.submit(_call, batches[left[-1]])] = left[-1]
                        left.pop()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        done = future.result()
                        yield running.pop(future), done
            except BrokenProcessPool:
                log.warning("a worker died; what it worked on is begun again")
                yield from ((number, None) for number in running.values())
            finally:
                pool.shutdown(wait=not running, cancel_futures=True)
                for process in multiprocessing.active_children() if running else ():
                    process.terminate()


@dataclass(frozen=True, slots=True)
class Ray:
    """Ray Data on a cluster, one model per actor.

    `address` as `ray.init` takes it; None for the cluster of this machine, started where there is
    none. `gpus` is for each actor.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
            import ray.data
        except ImportError as error:
            install = "pip install 'patchwatch[ray]'"
            raise MissingDependency("Ray Data", "score an archive on a cluster", install) from error
        try:
            ray.init(self.address, logging_level="ERROR", log_to_driver=False)
        except ValueError as error:
            raise UsageError(f"--ray {redact(self.address or '')}: {error}") from error
        except (ConnectionError, RuntimeError) as error:
            raise PatchwatchError(
                f"no Ray cluster responds at {redact(self.address or 'this machine')} ({error}). "
                "Start one: ray start --head; and give its address: --ray HOST:6379."
            ) from error

    @property
    def alone(self) -> Ray:
        """The same, as each actor has a batch of its own."""
        return self

    @property
    def count(self) -> int:
        """How many actors the cluster bears now."""
        import ray

        has = ray.cluster_resources()
        most = has.get("GPU", 0) / self.gpus if self.gpus else has.get("CPU", 1) / self.threads
        return self.workers or max(1, int(most))

    def run(
        self, make: Callable[[], Task[T, R]], batches: Sequence[Sequence[T]]
    ) -> Iterator[tuple[int, list[R] | None]]:
        """The number of each batch and what it came to; None where its workers died."""
        import ray.data

        class Worker:
            def __init__(self) -> None:
                self._task = make()

            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                return {"number": row["number"], "done": self._task(row["work"])}

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # what a worker died of is told from what never comes
        work = [{"number": n, "work": list(batch)} for n, batch in enumerate(batches)]
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=self.count, initial_size=self.count)
        with warnings.catch_warnings():
            # Without a bound a file that kills its worker would be tried without end; Ray has no
            # other name for it yet.
            warnings.simplefilter("ignore")
            results = ray.data.from_items(work, override_num_blocks=len(work)).map(
                Worker,
                compute=pool,
                num_cpus=self.threads,
                num_gpus=self.gpus or None,
                max_task_retries=_RETRIES,
            )
        missing = set(range(len(batches)))
        try:
            for row in results.iter_rows():
                missing.discard(row["number"])
                yield row["number"], row["done"]
        except ray.exceptions.RayError as error:
            why = str(error).strip().splitlines()[-1]
            raise PatchwatchError(
                f"the workers on the Ray cluster cannot go on ({why}). Its machines need the same "
                "version of Patchwatch, and what it needs here."
            ) from error
        for number in sorted(missing):
            yield number, None

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        with suppress(Exception):
            ray.shutdown()
