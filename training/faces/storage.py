"""Where the trials of a search are kept: SQLite for one machine, a database server for several."""

from __future__ import annotations

import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edge.errors import ConfigError, MissingDependency, SinkError, UsageError
from edge.sources.address import HIDDEN, redact
from training.faces.space import SearchConfig

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

DEFAULT = "sqlite:///search.db"
INSTALL = "pip install 'patchwatch[search]'"
BEGUN, FOLDER = "patchwatch:begun", "patchwatch:folder"
"""User attributes of a study: what it was begun with, and where its artifacts are."""

ERROR = "error"
"""User attribute of a trial that failed by itself, and is not tried again."""

_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'"),
    "postgres": ("postgresql+psycopg", "psycopg", "pip install 'psycopg[binary]'"),
    "mysql": ("mysql+pymysql", "pymysql", "pip install pymysql"),
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
_WAIT_S = 60
"""Longest wait for another process that writes to the same SQLite file."""


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The URL of a storage, which may hold a password.

    Attributes:
        url: with its driver, as SQLAlchemy takes it.
        shown: fit to be shown.
    """

    url: str
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    def hide(self, text: str) -> str:
        """A message of a library without what the URL hides."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _secrets(self) -> set[str]:
        from urllib.parse import unquote

        match = re.match(r"[a-z0-9+]+://([^/]*)@", self.url, re.IGNORECASE)
        user, _, password = match[1].partition(":") if match else ("", "", "")
        quoted = {f'"{name}"' for name in (user, unquote(user)) if name}
        return {x for x in {self.url, password, unquote(password), *quoted} if x}


def parse_address(text: str) -> Address:
    """Understand the address of a storage.

    Args:
        text: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `mysql://…`; `${NAME}`
            stands for a variable of the environment.

    Raises:
        UsageError: another scheme, or none, or a variable that is not set.
        MissingDependency: the library that talks to such a server is absent.
    """
    text = _VARIABLE.sub(_from_environment, text)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {"sqlite", *_DRIVERS} or not rest.strip("/"):
        raise UsageError(
            f"--storage: expected sqlite:///FILE, postgresql://… or mysql://…, found {redact(text)}"
        )
    if scheme == "sqlite":
        return Address(text, text)
    dialect, module, command = _DRIVERS[scheme]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(module, f"keep a search in {scheme}", command) from error
    return Address(f"{dialect}://{rest}", redact(text))


def _from_environment(match: re.Match[str]) -> str:
    if match[1] not in os.environ:
        raise UsageError(f"--storage: the environment variable {match[1]} is not set. Set it.")
    return os.environ[match[1]]


def require_optuna() -> None:
    """Check that the libraries of a search are there.

    Raises:
        MissingDependency: they are not.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency("optuna", "search", INSTALL) from error
    optuna.logging.set_verbosity(logging.ERROR)


@contextmanager
def storage_errors(address: Address) -> Iterator[None]:
    """Turn what Optuna, SQLAlchemy and the driver raise into a sentence without credentials.

    Raises:
        SinkError: the storage cannot be opened, read or written.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, RuntimeError) as error:
        root: BaseException = error
        while isinstance(root, StorageInternalError | SQLAlchemyError) and root.__cause__:
            root = root.__cause__
        lines = address.hide(str(root)).strip().splitlines() or [type(root).__name__]
        reason = lines[0].rstrip(".")
        # The cause would show the URL in a traceback.
        raise SinkError(
            f"the trials in {address.shown} cannot be read or written ({reason}). Check the "
            "address and that the database is up."
        ) from None


@contextmanager
def open_storage(address: Address, config: SearchConfig | None = None) -> Iterator[RDBStorage]:
    """Open a storage, and close its connections at the end; absent tables are made.

    Args:
        address: of it.
        config: with the marks that running trials leave; None for one who only reads.

    Raises:
        SinkError: it cannot be opened.
    """
    from optuna.storages import RDBStorage

    options: dict[str, Any] = {}
    if config is not None:
        options = {"heartbeat_interval": config.heartbeat_s, "grace_period": config.silence_s}
        options["heartbeat_stale_trial_callback"] = Again(config.retries)
    with storage_errors(address), experimental():
        storage = RDBStorage(address.url, engine_kwargs=_engine_options(address), **options)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _engine_options(address: Address) -> dict[str, Any]:
    if address.url.startswith("sqlite"):
        return {"connect_args": {"timeout": _WAIT_S}}
    if address.url.startswith("postgresql"):
        # Of a database without an encoding the driver would give bytes, which SQLAlchemy does not
        # expect.
        return {"pool_pre_ping": True, "connect_args": {"client_encoding": "utf8"}}
    return {"pool_pre_ping": True}


@contextmanager
def experimental() -> Iterator[None]:
    """Heartbeats have been called experimental since 2021; nobody here needs to hear it."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


class Again:
    """Puts a trial whose worker is gone into the queue, with its values and what it reported.

    Args:
        retries: so many times at most.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Called by Optuna once, by whoever found the trial silent."""
        history = [*trial.system_attrs.get("retry_history", []), trial.number]
        if len(history) <= self._retries:
            queue_again(study, trial, history)


def queue_again(study: Study, trial: FrozenTrial, history: list[int]) -> None:
    """Queue a trial that did not end, to be taken up by any worker.

    Args:
        study: of it.
        trial: whose values and reports are taken over.
        history: of the trials before it that were killed, under the name that Optuna gives it.
    """
    from optuna.trial import TrialState, create_trial

    first = trial.system_attrs.get("failed_trial", trial.number)
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
            system_attrs={"failed_trial": first, "retry_history": history},
        )
    )


def fail_silent(study: Study) -> None:
    """Queue again what was running on a worker that is gone."""
    from optuna.storages import fail_stale_trials

    with experimental():
        fail_stale_trials(study)


def fail_one(study: Study, storage: RDBStorage, trial: FrozenTrial, retries: int) -> None:
    """Queue one running trial again that Optuna does not miss; nothing if another did so."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
    except UpdateFinishedTrialError:
        return
    Again(retries)(study, trial)


def first_number(trial: FrozenTrial) -> int:
    """The number of a trial, or of the one that it continues."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def make_pruner(config: SearchConfig) -> BasePruner:
    """What ends a trial that falls behind."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if config.pruner == "median":
        return MedianPruner(config.first_trials, n_warmup_steps=config.first_epochs)
    if config.pruner == "hyperband":
        return HyperbandPruner(min_resource=config.first_epochs)
    return NopPruner()


def begin_study(storage: RDBStorage, name: str, begun: Mapping[str, Any], folder: Path) -> Study:
    """Make a study, or go on with the one of that name.

    Args:
        storage: of it.
        name: of it.
        begun: what must be the same when it goes on; as JSON has it.
        folder: where its artifacts are.

    Raises:
        ConfigError: it was begun with something else.
    """
    import optuna

    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )
    before = study.user_attrs.get(BEGUN)
    if before is None:
        study.set_user_attr(BEGUN, dict(begun))
        study.set_user_attr(FOLDER, str(folder.absolute()))
    elif before != begun:
        raise ConfigError(_other_study(name, before, begun))
    return study


def _other_study(name: str, before: Mapping[str, Any], begun: Mapping[str, Any]) -> str:
    keys = [key for key in {**before, **begun} if before.get(key) != begun.get(key)]
    return (
        f"the study {name} was begun with another {' and another '.join(keys)}. Go on with what it "
        "was begun with, or name a new one: --study."
    )


def find_study(storage: RDBStorage, name: str | None) -> Study:
    """The study of a name, or the only one.

    Raises:
        UsageError: there is none of that name, or there are several to choose from.
    """
    import optuna

    names = sorted(optuna.get_all_study_names(storage))
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        there = ", ".join(names) or "none"
        raise UsageError(f"--study: expected one that is in the storage ({there}), found {name}.")
    return optuna.load_study(study_name=name, storage=storage)


class Artifacts:
    """Artifacts of several studies, each in a folder of its own, as Optuna's stores give them.

    Args:
        folders: where to look, at least one; a new artifact goes to the first.
    """

    def __init__(self, folders: list[Path]) -> None:
        from optuna.artifacts import FileSystemArtifactStore

        self._first = folders[0]
        self._stores = [FileSystemArtifactStore(folder) for folder in folders]

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open one; raises Optuna's ArtifactNotFound."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        for store in self._stores:
            try:
                return store.open_reader(artifact_id)
            except ArtifactNotFound:
                continue
        raise ArtifactNotFound(f"no artifact {artifact_id}")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep one."""
        self._first.mkdir(parents=True, exist_ok=True)
        self._stores[0].write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete one; none is no error."""
        from contextlib import suppress

        from optuna.artifacts.exceptions import ArtifactNotFound

        for store in self._stores:
            with suppress(ArtifactNotFound):
                store.remove(artifact_id)
