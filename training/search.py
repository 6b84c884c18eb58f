"""The search over settings of a face training: what is tried, and one trial.

Optuna does the rest: its storage holds the trials, marks those that run, and queues again those
whose process is gone. Start the same command again for another process, on any machine that
reaches the storage and the folder of the trials.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import Field, field_validator, model_validator
from rich.console import Console
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import Self

from edge.config import checked, read_yaml
from edge.errors import HIDDEN, ConfigError, ModelError, SinkError, UsageError, require
from edge.schema import Strict
from edge.signals import Stopped
from edge.sources.address import redact
from training.config import overridden
from training.faces.config import FacesConfig
from training.faces.sets import FaceSet, load_set
from training.faces.train import train_faces
from training.run_folder import is_resumable
from training.settings import Machine

STARTED = "patchwatch:started"
"""User attribute of a study: what it was started with."""

ERROR, CHECKPOINT = "error", "checkpoint"
"""User attributes of a trial: why it failed by itself; where its best model lies."""

HOPELESS = 3
"""Failures before anything was finished that end the search."""

_DRIVERS = {
    "sqlite": ("sqlite", "sqlite3", ""),
    "postgresql": ("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'"),
    "postgres": ("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'"),
    "mysql": ("mysql+pymysql", "pymysql", "pip install pymysql"),
}


def parse_range(key: str, item: Any) -> BaseDistribution:
    """What Optuna draws a key's value from: of choices, or between two numbers.

    Whole numbers are drawn where both ends (and the step) are whole. A ValueError: neither.
    """
    try:
        if set(item) == {"choices"}:
            return CategoricalDistribution(item["choices"])
        whole = all(type(item.get(end, 1)) is int for end in ("low", "high", "step"))
        return IntDistribution(**item) if whole else FloatDistribution(**item)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{key}: expected choices, or low and high, and with these step or log; found {item!r} "
            f"({error})."
        ) from error


class SearchConfig(Strict):
    """Everything that a configuration of `patchwatch search` may say."""

    training: Path = Field(
        description="Configuration of `patchwatch train` whose keys are varied; a relative path "
        "starts at this file's folder."
    )
    space: dict[str, Any] = Field(
        min_length=1,
        description="Dotted key of the training's configuration → what to try: {choices: […]}, or "
        "{low, high} with step or log.",
    )
    trials: int = Field(default=140, gt=0, description="How many are to be finished.")
    pruner: Literal["median", "hyperband", "none"] = Field(
        default="median", description="Ends trials that fall behind."
    )
    first_trials: int = Field(
        default=10, ge=0, description="Drawn at random, and never pruned by the median."
    )
    first_epochs: int = Field(
        default=3, ge=1, description="Epochs that the pruner leaves each trial at least."
    )
    seed: int = Field(default=0, ge=0, description="Of the draws.")
    heartbeat_s: int = Field(default=60, gt=0, description="How often a running trial is marked.")
    silence_s: int = Field(
        default=180, gt=0, description="Without a mark it counts as killed, and is tried again."
    )
    retries: int = Field(default=3, ge=0, description="Of a trial whose process was killed.")

    @field_validator("space")
    @classmethod
    def _drawable(cls, space: dict[str, Any]) -> dict[str, Any]:
        for key, item in space.items():
            parse_range(key, item)
        return space

    @model_validator(mode="after")
    def _marked_in_time(self) -> Self:
        if self.silence_s < 2 * self.heartbeat_s:
            raise ValueError(
                f"silence_s: expected at least twice heartbeat_s ({self.heartbeat_s}), found "
                f"{self.silence_s}."
            )
        return self

    def ranges(self) -> dict[str, BaseDistribution]:
        """Key → what its values are drawn from."""
        return {key: parse_range(key, item) for key, item in self.space.items()}


def load_search_config(path: Path) -> SearchConfig:
    """Read and check a configuration file; `training` is found from here. Else a ConfigError."""
    config = checked(SearchConfig, read_yaml(path), str(path))
    return config.model_copy(update={"training": path.parent / config.training})


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A training's configuration with a trial's values, by dotted key, in place of its own."""
    found: Any = settings
    for key, value in values.items():
        found = overridden(found, key.split("."), value)
    return dict(found)


def corners(config: SearchConfig, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations at both ends of each range, the other keys at their first: all must be legal.

    They find a mistyped key and a range that the training does not take before a trial meets it.
    """
    ends = {
        key: item.get("choices") or [item["low"], item["high"]]
        for key, item in config.space.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    yield with_values(settings, first)
    for key, values in ends.items():
        yield with_values(settings, {**first, key: values[-1]})


@dataclass(frozen=True, slots=True)
class Objective:
    """One training as a trial; its folder outlives the process that trains.

    Attributes:
        settings: the training's configuration, as YAML gives it.
        space: what is varied.
        sets: `base`, `augment` and so on → prepared set.
        output: folder of the trials' runs.
        licence: of the weights, for the cards.
        machine: device and loading processes.
        study: its name, which experiments carry too.
        experiments: as of `training.experiments.Experiment`.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, BaseDistribution]
    sets: Mapping[str, Path]
    output: Path
    licence: str
    machine: Machine
    study: str
    experiments: str | None = None

    def __call__(self, trial: Trial) -> float:
        """Train, and give the score of the best epoch.

        Raises:
            TrialPruned: it fell behind.
            Stopped: by a signal; it is queued again, and goes on from its checkpoint.
            ModelError: it failed by itself.
        """
        frozen = trial.study._storage.get_trial(trial._trial_id)
        known = set(frozen.intermediate_values)  # of the process that was killed
        first = frozen.system_attrs.get("failed_trial", trial.number)
        folder = self.output / f"trial-{first:04d}"
        values = {key: trial._suggest(key, item) for key, item in self.space.items()}
        config = checked(FacesConfig, with_values(self.settings, values), "a trial")

        def report(epoch: int, score: float) -> None:
            if epoch not in known:
                trial.report(score, epoch)
            if epoch < config.epochs and trial.should_prune():
                raise optuna.TrialPruned(f"after epoch {epoch}")

        trial.set_user_attr(CHECKPOINT, str(folder.absolute() / f"{config.name}.safetensors"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with folder.with_suffix(".log").open("a", encoding="utf-8") as log:
                trained = train_faces(
                    config,
                    {name: load_set(path) for name, path in self.sets.items()},
                    folder,
                    licence=self.licence,
                    out=Console(file=log, width=100, highlight=False),
                    machine=self.machine,
                    resume=is_resumable(folder),
                    experiments=self.experiments,
                    study=self.study,
                    on_epoch=report,
                )
        except (ModelError, RuntimeError) as error:
            trial.set_user_attr(ERROR, (str(error).splitlines() or [type(error).__name__])[0])
            raise
        if trained.code:  # stopped, which is no failure of its process
            retry()(trial.study, trial.study._storage.get_trial(trial._trial_id))
            raise Stopped(trained.code - 128)
        for name, figures in trained.figures.items():
            for measure, value in figures.items():
                trial.set_user_attr(f"{name} {measure}", value)
        return trained.score


def retry(most: int | None = None) -> RetryHeartbeatStaleTrialCallback:
    """What queues a trial again; called experimental since 2021, of which nobody needs to hear."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback(most, inherit_intermediate_values=True)


def has_failed(trial: FrozenTrial) -> bool:
    """Whether a trial failed by itself, unlike one whose process was killed."""
    return trial.state == TrialState.FAIL and ERROR in trial.user_attrs


def is_done(study: optuna.Study, wanted: int) -> bool:
    """Whether enough trials are finished; a UsageError where the first of them have all failed."""
    trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials if has_failed(trial)]
    ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    if len(failed) >= HOPELESS and not ended:
        raise UsageError(
            f"the first {len(failed)} trials failed, the last one with: "
            f"{failed[-1].user_attrs[ERROR]} Correct the configuration, and name a new study: "
            "--study."
        )
    return ended + len(failed) >= wanted


def parse_address(text: str) -> URL:
    """The address of a storage: `sqlite:///FILE`, `postgresql://…` or `mysql://…`.

    `${NAME}` stands for a variable of the environment.

    Raises:
        UsageError: another scheme, or none, or a variable that is not set.
        MissingDependency: the library that talks to such a server is absent.
    """

    def from_environment(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UsageError(f"--storage: the environment variable {match[1]} is not set. Set it.")
        return os.environ[match[1]]

    text = re.sub(r"\$\{([A-Za-z_]\w*)\}", from_environment, text)
    try:
        url = make_url(text)
    except SQLAlchemyError:
        url = URL.create("")
    if url.drivername not in _DRIVERS or not (url.database or url.host):
        raise UsageError(
            f"--storage: expected sqlite:///FILE, postgresql://… or mysql://…, found {redact(text)}"
        )
    dialect, module, command = _DRIVERS[url.drivername]
    require(module, f"keep a search in {url.drivername}", command)
    return url.set(drivername=dialect)


@contextmanager
def open_storage(url: URL, config: SearchConfig | None = None) -> Iterator[RDBStorage]:
    """Open a storage; absent tables are made, and connections closed at the end.

    Args:
        url: of it.
        config: with the marks that running trials leave; None for one who only reads.

    Raises:
        SinkError: it cannot be opened, read or written; without the password.
    """
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.drivername == "sqlite":
        options = {"connect_args": {"timeout": 60}}
    elif url.drivername.startswith("postgresql"):
        # Of a database without an encoding the driver would give bytes.
        options["connect_args"] = {"client_encoding": "utf8"}
    full = url.render_as_string(hide_password=False)
    storage = None
    marks: dict[str, Any] = {}
    if config is not None:
        marks = {"heartbeat_interval": config.heartbeat_s, "grace_period": config.silence_s}
        marks["heartbeat_stale_trial_callback"] = retry(config.retries)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = RDBStorage(full, engine_kwargs=options, **marks)
        yield storage
    except (StorageInternalError, SQLAlchemyError) as error:
        root: BaseException = error
        while isinstance(root, StorageInternalError | SQLAlchemyError) and root.__cause__:
            root = root.__cause__
        said = str(root).replace(full, HIDDEN)
        if url.password:
            said = said.replace(str(url.password), HIDDEN)
        lines = said.strip().splitlines() or [type(root).__name__]
        # The cause would show the URL in a traceback.
        raise SinkError(
            f"the trials in {redact(full)} cannot be read or written ({lines[0].rstrip('.')}). "
            "Check the address and that the database is up."
        ) from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def open_study(
    storage: RDBStorage, name: str, config: SearchConfig, started: Mapping[str, Any]
) -> optuna.Study:
    """Make a study, or go on with the one of that name.

    `started` is what must be the same when it goes on, as JSON has it; else a ConfigError.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )
    before = study.user_attrs.get(STARTED)
    if before is None:
        study.set_user_attr(STARTED, dict(started))
    elif before != started:
        keys = [key for key in {**before, **started} if before.get(key) != started.get(key)]
        raise ConfigError(
            f"the study {name} was started with another {' and another '.join(keys)}. Go on with "
            "its own, or name a new one: --study."
        )
    # Another seed for each process that joins, as two would else draw the same.
    seed = hash((config.seed, len(study.get_trials(deepcopy=False)), os.getpid())) % 2**32
    study.sampler = TPESampler(n_startup_trials=config.first_trials, seed=seed, constant_liar=True)
    if config.pruner == "median":
        study.pruner = MedianPruner(config.first_trials, n_warmup_steps=config.first_epochs)
    elif config.pruner == "hyperband":
        study.pruner = HyperbandPruner(min_resource=config.first_epochs)
    else:
        study.pruner = NopPruner()
    return study


def set_digest(prepared: FaceSet) -> str:
    """A hash of which videos a set holds, how they are split and cut, wherever it lies."""
    manifest = prepared.manifest
    rows = sorted((v.sha256, v.split, v.label, v.faces) for v in manifest.videos)
    cuts = [(s.detector_key, s.face_side, s.size, s.fps) for s in manifest.stores]
    return hashlib.sha256(json.dumps([rows, cuts]).encode()).hexdigest()
