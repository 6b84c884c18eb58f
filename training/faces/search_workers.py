"""The processes of a search on this machine: begun, watched, begun again, and stopped together."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from edge.errors import ModelError, UsageError
from edge.signals import Stopped, stop_signals
from training.faces.storage import first_number, storage_errors
from training.faces.trials import FAILED, Count, Search, begin_worker, has_failed, is_running

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

DEATHS = 5
"""So many killed workers, with no trial finished between them, end the search."""

STOP_WAIT_S = 60.0
"""A worker that is stopped may take so long to save its state."""

_LOOK_S = 1.0


@dataclass(slots=True)
class _Running:
    number: int
    process: BaseProcess
    receiver: Connection


def run_workers(search: Search, study: Study, count: int, out: Console) -> int:
    """Search with so many processes until enough trials are finished, or a stop signal.

    Args:
        search: what to do.
        study: the same one, to look at.
        count: trials at once on this machine.
        out: where people read.

    Returns:
        0, or 128 + signal; finished trials are kept in both cases.

    Raises:
        UsageError: a configuration that no training takes, or nothing but failures.
        ModelError: workers end by themselves.
        SinkError: the storage fails.
    """
    pool = _Pool(search, count)
    with stop_signals(), _bar(out) as progress:
        board = _Board(search, study, count, progress)
        try:
            with pool.stopped_at_the_end():
                pool.begin()
                while pool.has_work():
                    board.look()
                    pool.look(board.ended)
                board.look()
        except Stopped as stopped:
            progress.stop()
            out.print("Stopped. The same command goes on; what was finished is kept.")
            return stopped.exit_code
    return 0


def _bar(out: Console) -> Progress:
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=out)


class _Pool:
    def __init__(self, search: Search, count: int) -> None:
        self._search = search
        # A fork would take along threads and the state of CUDA.
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._workers: list[_Running] = []
        self._deaths, self._ended = 0, 0

    def _begin(self, number: int) -> _Running:
        receiver, sender = self._context.Pipe(duplex=False)
        # No daemon, as a training has processes of its own.
        process = self._context.Process(
            target=begin_worker, args=(self._search, number, sender), daemon=False
        )
        with _no_ctrl_c():
            process.start()
        sender.close()
        return _Running(number, process, receiver)

    def begin(self) -> None:
        """Start all workers."""
        for number in range(self._count):
            self._workers.append(self._begin(number))

    def has_work(self) -> bool:
        """Whether some worker is still at it."""
        return bool(self._workers)

    def look(self, ended: int) -> None:
        """Wait a little, then see to the workers that ended.

        Args:
            ended: trials that are finished by now.
        """
        wait([worker.process.sentinel for worker in self._workers], timeout=_LOOK_S)
        for worker in [w for w in self._workers if w.process.exitcode is not None]:
            self._workers.remove(worker)
            if worker.process.exitcode:
                self._after_failure(worker, ended)

    def _after_failure(self, worker: _Running, ended: int) -> None:
        code = worker.process.exitcode
        if code == FAILED and worker.receiver.poll():
            exit_code, sentence = worker.receiver.recv()
            raise (UsageError if exit_code == UsageError.exit_code else ModelError)(sentence)
        if code is not None and code > 0:
            raise ModelError(f"a worker ended with an error of its own (exit code {code}).")
        self._deaths = self._deaths + 1 if ended == self._ended else 1
        self._ended = ended
        if self._deaths >= DEATHS:
            raise ModelError(
                f"{DEATHS} workers were killed (signal {-(code or 0)}) with no trial finished "
                "between. Is the memory too small? Lower --workers or the largest batch."
            )
        # Another number, as it must not draw what the first one drew.
        self._workers.append(self._begin(worker.number + self._count))

    @contextmanager
    def stopped_at_the_end(self) -> Iterator[None]:
        """Whatever happens, no worker is left behind; each may save its state."""
        try:
            yield
        finally:
            for worker in self._workers:
                worker.process.terminate()
            deadline = time.monotonic() + STOP_WAIT_S
            for worker in self._workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
                worker.process.kill()


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """A process that begins here is deaf to Ctrl-C until it says what that should do."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class _Board:
    """What a person sees: a bar, a line for each trial that ends, the time left."""

    def __init__(self, search: Search, study: Study, count: int, progress: Progress) -> None:
        self._search, self._study, self._count = search, study, count
        self._progress = progress
        self._told: set[int] = set()
        self._task = progress.add_task("", total=search.config.trials, note="")
        self.ended = 0
        self._tell_before()

    def look(self) -> None:
        """Tell what is new."""
        trials = self._trials()
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._told:
                self._told.add(trial.number)
                self._progress.console.print(describe(trial), soft_wrap=True, markup=False)
        self.ended = Count.of(trials).ended
        self._progress.update(self._task, completed=self.ended, note=self._note(trials))

    def _trials(self) -> list[FrozenTrial]:
        with storage_errors(self._search.address):
            return self._study.get_trials(deepcopy=False)

    def _tell_before(self) -> None:
        trials = self._trials()
        self._told = {t.number for t in trials if t.state.is_finished()}
        self.ended = Count.of(trials).ended
        if self.ended:
            self._progress.console.print(f"{self.ended} trials were finished before.")

    def _note(self, trials: Sequence[FrozenTrial]) -> str:
        best = [t for t in trials if t.state.name == "COMPLETE"]
        parts = [f" {sum(map(is_running, trials))} under way"]
        if best:
            first = max(best, key=lambda t: t.value or 0.0)
            parts.append(f"best {first.value:.4f} (trial {first.number})")
        left = time_left(trials, self._search.config.trials, self._count)
        if left is not None:
            parts.append(f"about {timedelta(seconds=round(left))} left")
        return ", ".join(parts)


def describe(trial: FrozenTrial) -> str:
    """One line on a trial that ended."""
    name = f"trial {trial.number}"
    if first_number(trial) != trial.number:
        name += f" (again {first_number(trial)})"
    if has_failed(trial):
        return f"{name}: failed: {trial.user_attrs['error']}"
    if trial.state.name == "FAIL":
        return f"{name}: its worker is gone; it is tried again"
    verb = "pruned" if trial.state.name == "PRUNED" else "finished"
    score = "" if trial.value is None else f", score {trial.value:.4f}"
    return f"{name}: {verb} after {len(trial.intermediate_values)} epochs{score}"


def time_left(trials: Sequence[FrozenTrial], wanted: int, workers: int) -> float | None:
    """Seconds until enough trials are finished, from how long those so far took on average.

    Args:
        trials: of the study.
        wanted: finished ones in all.
        workers: trials at once.

    Returns:
        None where nothing is finished yet.
    """
    took = [t.duration.total_seconds() for t in trials if t.duration and t.state.name != "FAIL"]
    if not took:
        return None
    left = max(0, wanted - Count.of(trials).ended)
    return left * sum(took) / len(took) / max(workers, sum(map(is_running, trials)), 1)
