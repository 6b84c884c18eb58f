"""A worker of a search: it takes trials until enough are finished, each a whole training."""

from __future__ import annotations

import fcntl
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edge.config import checked
from edge.errors import ModelError, PatchwatchError, SinkError, UsageError
from edge.signals import Stopped, stop_signals, uninterrupted
from training.faces.config import FacesConfig
from training.faces.sets import load_set
from training.faces.space import SearchConfig, draw, laid_over
from training.faces.storage import (
    ERROR,
    Address,
    Artifacts,
    experimental,
    fail_one,
    fail_silent,
    first_number,
    make_pruner,
    open_storage,
    queue_again,
    require_optuna,
    storage_errors,
)
from training.run_folder import CONFIG
from training.run_state import STATE
from training.settings import Machine

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

STOPPED, FAILED = 3, 4
"""Exit codes of a worker: ended by a signal; ended by an error, which it has sent."""

HOPELESS = 3
"""So many failures before anything was finished end the search."""

_POLL_S = 1.0
CHECKPOINT, WORKER = "checkpoint", "worker"
"""User attributes of a trial: where its best model lies, and who trains it."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a training tells after each epoch.

    Attributes:
        number: counted from 1.
        score: the mean over the validation sets; higher is better.
        files: what is kept should the trial be pruned here.
        is_last: where there is nothing left to prune.
    """

    number: int
    score: float
    files: Sequence[Path]
    is_last: bool = False


OnEpoch = Callable[[Epoch], None]
"""What it raises ends the training."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training of a search.

    Attributes:
        settings: the training's configuration, as YAML gives it.
        sets: `base`, `augment` and so on → prepared set.
        folder: of the run; it may hold one that was interrupted.
        licence: of the weights, for the card.
        machine: device and loading processes.
    """

    settings: Mapping[str, Any]
    sets: Mapping[str, Path]
    folder: Path
    licence: str
    machine: Machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training gave.

    Attributes:
        score: of the best epoch, the mean over the validation sets; higher is better.
        figures: name → value, or a text, for the table.
        checkpoint: the best model, with its card beside it.
        files: what else is kept with the trial.
    """

    score: float
    figures: Mapping[str, float | str]
    checkpoint: Path
    files: Sequence[Path] = ()


Train = Callable[[Job, OnEpoch], Outcome]
"""Trains; a job whose folder holds an interrupted run goes on with it."""


@dataclass(frozen=True, slots=True)
class Search:
    """All that a worker must know; it is handed to other processes.

    Attributes:
        address: of the storage.
        study: its name.
        config: of the search, with `trials` as wanted now.
        settings: the training's configuration.
        sets: name → prepared set.
        output: folder of the trials' runs and, in `artifacts`, of what is kept of them.
        train: does one training.
        licence: of the weights, for the cards.
        machine: device and loading processes of each training.
        cores: threads of each worker; None for torch's choice.
    """

    address: Address
    study: str
    config: SearchConfig
    settings: Mapping[str, Any]
    sets: Mapping[str, Path]
    output: Path
    train: Train
    licence: str
    machine: Machine
    cores: int | None = None

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts."""
        return self.output / "artifacts"

    def run_folder(self, number: int) -> Path:
        """Folder of a trial's run."""
        return self.output / f"trial-{number:04d}"


class TrialFailed(Exception):
    """A training that failed by itself, where another may succeed."""


def begin_worker(search: Search, number: int, sender: Connection) -> None:
    """The body of a worker's process; sends the sentence of an error before it ends.

    Args:
        search: what to do.
        number: of the worker, from 0.
        sender: takes (exit code of the error, its sentence).
    """
    from training.loading_process import leave_signals_to_parent

    os.setpgid(0, 0)  # Ctrl-C is the parent's, which then stops its workers one by one
    leave_signals_to_parent(number)
    code = 0
    with stop_signals():
        try:
            _use_machine(search, number)
            with open_storage(search.address, search.config) as storage:
                Worker(search, storage, number).work()
        except Stopped:
            code = STOPPED
        except PatchwatchError as error:
            sender.send((error.exit_code, str(error)))
            code = FAILED
    raise SystemExit(code)


def _use_machine(search: Search, number: int) -> None:
    import torch

    require_optuna()
    if search.cores:
        torch.set_num_threads(search.cores)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


class Worker:
    """Takes trials one after another.

    Args:
        search: what to do.
        storage: of the search, with its marks.
        number: of the worker, from 0; two with the same number would draw the same.
    """

    def __init__(self, search: Search, storage: RDBStorage, number: int) -> None:
        self._search, self._storage = search, storage
        self._unmarked: dict[int, float] = {}
        with storage_errors(search.address):
            self._study = self._load(number)

    def _load(self, number: int) -> Study:
        import numpy as np
        import optuna
        from optuna.samplers import TPESampler

        search = self._search
        study = optuna.load_study(study_name=search.study, storage=self._storage)
        seeds = np.random.SeedSequence([search.config.seed, number, len(study.get_trials())])
        with experimental():
            study.sampler = TPESampler(
                n_startup_trials=search.config.first_trials,
                seed=int(seeds.generate_state(1)[0]),
                constant_liar=True,  # keeps away from what others are trying just now
            )
        study.pruner = make_pruner(search.config)
        return study

    def work(self) -> None:
        """Train until so many trials are finished as are wanted.

        Raises:
            SinkError: the storage fails.
            UsageError: nothing but failures.
            PatchwatchError: what no other trial would do better, such as pictures that are gone.
        """
        while True:
            with storage_errors(self._search.address):
                if self._is_done():
                    return
                if self._take_one():
                    continue
                self._fail_lost()
            time.sleep(_POLL_S)

    def _count(self) -> Count:
        return Count.of(self._study.get_trials(deepcopy=False))

    def _is_done(self) -> bool:
        counted = self._count()
        if counted.failed >= HOPELESS and counted.failed == counted.ended:
            raise UsageError(
                f"the first {counted.failed} trials failed, the last one with: {counted.failure} "
                "Correct the configuration, and name a new study: --study."
            )
        return counted.ended >= self._search.config.trials

    def _take_one(self) -> bool:
        """One trial, unless those that are under way will be enough."""
        with _Turn(self._search.output / ".turn") as turn:
            counted = self._count()
            if counted.ended + counted.running >= self._search.config.trials:
                return False

            def objective(trial: Trial) -> float:
                self._mark(trial)
                turn.leave()
                return self._train(trial)

            self._study.optimize(objective, n_trials=1, catch=(TrialFailed,))
        return True

    def _mark(self, trial: Trial) -> None:
        """From here on Optuna misses the trial if its marks stop; see `_fail_lost`."""
        self._storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(WORKER, f"{platform.node()}:{os.getpid()}")

    def _fail_lost(self) -> None:
        """Queue again what was running on workers that are gone.

        Optuna never misses a trial whose worker was killed between its beginning and its first
        mark. Such a one has no name of a worker, and still has none after a while.
        """
        fail_silent(self._study)
        now = time.monotonic()
        running = [t for t in self._study.get_trials(deepcopy=False) if is_running(t)]
        unmarked = {t.number: t for t in running if WORKER not in t.user_attrs}
        self._unmarked = {n: self._unmarked.get(n, now) for n in unmarked}
        for number, since in self._unmarked.items():
            if now - since > self._search.config.silence_s:
                fail_one(self._study, self._storage, unmarked[number], self._search.config.retries)

    def _train(self, trial: Trial) -> float:
        search = self._search
        frozen = self._storage.get_trial(trial._trial_id)
        folder = search.run_folder(first_number(frozen))
        try:
            values = draw(trial, search.config.space)
            settings = laid_over(search.settings, values)
            job = Job(settings, search.sets, folder, search.licence, search.machine)
            outcome = search.train(job, self._reporter(trial, set(frozen.intermediate_values)))
            return self._judged(trial, outcome)
        except Stopped:
            with uninterrupted():
                self._give_back(trial)
            raise
        except (ModelError, RuntimeError) as error:
            sentence = (str(error).strip().splitlines() or [type(error).__name__])[0]
            trial.set_user_attr(ERROR, sentence)
            raise TrialFailed(sentence) from error

    def _reporter(self, trial: Trial, known: set[int]) -> OnEpoch:
        from optuna import TrialPruned

        def report(epoch: Epoch) -> None:
            if not math.isfinite(epoch.score):
                raise ModelError(f"the score of epoch {epoch.number} is {epoch.score}.")
            if epoch.number not in known:  # else of the run that this one continues
                trial.report(epoch.score, epoch.number)
            if not epoch.is_last and trial.should_prune():
                self._keep(trial, epoch.files)
                raise TrialPruned(f"after epoch {epoch.number}")

        return report

    def _judged(self, trial: Trial, outcome: Outcome) -> float:
        if not math.isfinite(outcome.score):
            raise ModelError(f"the score is {outcome.score}, no finite number.")
        for name, value in outcome.figures.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr(CHECKPOINT, str(outcome.checkpoint.absolute()))
        card = outcome.checkpoint.with_suffix(".json")
        self._keep(trial, [outcome.checkpoint, card, *outcome.files])
        return outcome.score

    def _keep(self, trial: Trial, files: Sequence[Path]) -> None:
        from optuna.artifacts import upload_artifact

        store = Artifacts([self._search.artifacts])
        try:
            for path in files:
                upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)
        except OSError as error:
            raise SinkError(
                f"{self._search.artifacts} cannot be written to: {error.strerror or error}."
            ) from error

    def _give_back(self, trial: Trial) -> None:
        """A trial that was stopped is no one's fault: it goes on when the search does."""
        frozen = self._storage.get_trial(trial._trial_id)
        queue_again(self._study, frozen, list(frozen.system_attrs.get("retry_history", [])))


def train_trial(job: Job, on_epoch: OnEpoch) -> Outcome:
    """A face training as one trial; what it tells people goes into a file beside its folder.

    Raises:
        Stopped: by a signal; the state is saved.
        PatchwatchError: as of `train_faces`.
    """
    from training.faces.train import EpochReport, train_faces

    def tell(report: EpochReport) -> None:
        card = report.checkpoint.with_suffix(".json")
        files = [report.checkpoint, card, *_without_twins(report.pictures)]
        on_epoch(Epoch(report.epoch, report.score, files, report.epoch == report.epochs))

    config = checked(FacesConfig, job.settings, "a trial's configuration")
    sets = {name: load_set(path) for name, path in job.sets.items()}
    resume = is_resumable(job.folder)
    if not resume:  # killed before there was anything to go on from
        shutil.rmtree(job.folder, ignore_errors=True)
    with job.folder.with_suffix(".log").open("a", encoding="utf-8") as log:
        trained = train_faces(
            config,
            sets,
            job.folder,
            licence=job.licence,
            out=Console(file=log, width=100, highlight=False),
            machine=job.machine,
            resume=resume,
            on_epoch=tell,
        )
    if trained.code:
        raise Stopped(trained.code - 128)
    figures: dict[str, float | str] = {
        f"{name} {measure}": value
        for name, values in trained.figures.items()
        for measure, value in values.items()
    }
    if trained.failure:
        figures["not calibrated"] = trained.failure
    pictures = _without_twins(trained.pictures)
    return Outcome(trained.score, {"epoch": trained.epoch, **figures}, trained.checkpoint, pictures)


def _without_twins(pictures: Sequence[Path]) -> list[Path]:
    return [path for path in pictures if path.suffix == ".png"]


def is_resumable(folder: Path) -> bool:
    """Whether a run was begun there and left a state."""
    return (folder / CONFIG).is_file() and (folder / STATE).is_file()


@dataclass(frozen=True, slots=True)
class Count:
    """How far a search is.

    Attributes:
        ended: trials that were trained to the end, pruned, or failed by themselves.
        running: on some worker; also on one that was killed and is not missed yet.
        failed: of those that ended.
        failure: the last one's sentence.
    """

    ended: int
    running: int
    failed: int
    failure: str

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> Count:
        """Count the trials of a study; those of killed workers do not count."""
        from optuna.trial import TrialState

        failed = [t for t in trials if has_failed(t)]
        good = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
        running = sum(map(is_running, trials))
        failure = str(failed[-1].user_attrs[ERROR]) if failed else ""
        return cls(good + len(failed), running, len(failed), failure)


def is_running(trial: FrozenTrial) -> bool:
    """Whether some worker has taken a trial and not ended it."""
    from optuna.trial import TrialState

    return trial.state == TrialState.RUNNING


def has_failed(trial: FrozenTrial) -> bool:
    """Whether a trial failed by itself, which is told from a worker that was killed."""
    from optuna.trial import TrialState

    return trial.state == TrialState.FAIL and ERROR in trial.user_attrs


class _Turn:
    """Lets one worker at a time look for room and take it; the kernel frees it at any death.

    Args:
        path: a file that all workers of this machine lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> _Turn:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one in; again is no error."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
