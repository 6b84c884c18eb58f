"""New models for a board, from a repository of The Update Framework (TUF).

    {folder}/metadata/       what the repository has said so far; guards against older versions
    {folder}/models/         models by their sha256: the current one and the one before
    {folder}/state.json      which is which, what is on trial, and what was refused

A model is taken when its signatures hold, it opens here, and it gives the logits that were
published with it. It then judges on trial beside the old one, which is gone back to where it fails;
also where the program died of opening or trying it.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError
from typing_extensions import Self

from edge.config.parts import ModelsConfig
from edge.detector import Detector
from edge.differences import BOUNDS, difference
from edge.errors import ConfigError, MissingDependency, ModelError, PatchwatchError, SinkError
from edge.files import cache_folder, sha256_of, write_whole
from edge.manifest import read_manifest
from edge.regions import parse_region
from edge.schema import Strict
from edge.sources.address import redact

log = logging.getLogger(__name__)

INSTALL = "pip install 'patchwatch[fleet]'"
_REMEMBERED = 50
_LEAVE_S = 2.0


class SelfTest(Strict):
    """What a published model must say of the first frames of `edge.proof.proof_frames`."""

    side: int = Field(gt=0, le=2048, description="Height and width of the frames in pixels.")
    logits: tuple[float, ...] = Field(min_length=1, max_length=16)

    def check(self, detector: Detector) -> None:
        """Raises a ModelError where a detector's model says something else."""
        from edge.proof import proof_frames

        bound = BOUNDS["int8" if detector.backend.manifest.precision == "int8" else "fp16"]
        frames = islice(proof_frames(self.side, self.side), len(self.logits))
        for number, (frame, expected) in enumerate(zip(frames, self.logits, strict=True), 1):
            found = detector.backend.infer(frame[None])[0].logit
            if not difference(expected, found).logit_scaled <= bound:
                raise ModelError(
                    f"its self-test failed: on frame {number} it gives the logit "
                    f"{found:.4g}, where {expected:.4g} was published."
                )


class _State(Strict):
    schema_version: Literal[1] = 1
    current: str | None = None
    previous: str | None = None
    trial: str | None = None
    died: str | None = None
    refused: tuple[str, ...] = ()


class Offer(NamedTuple):
    """A model that a repository gives."""

    path: Path
    sha256: str
    test: SelfTest


class ModelStore:
    """The models of a board. Not thread-safe, but `fetch` may run beside the others.

    Raises:
        ConfigError: no root is named, or it cannot be read.
        MissingDependency: python-tuf is absent.
    """

    def __init__(self, options: ModelsConfig) -> None:
        self._options, self.url = options, options.url or ""
        if options.root is None:
            raise ConfigError(
                "models.url is set without models.root. Expected the root.json that 'patchwatch "
                "fleet init' wrote, brought here on a way that is trusted."
            )
        try:
            self._root = options.root.expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(f"models.root: {options.root}: {error.strerror}.") from error
        try:
            import tuf.ngclient  # noqa: F401  # only whether it can be imported matters
        except ImportError as error:
            raise MissingDependency("python-tuf", "fetch models", INSTALL) from error
        for name in ("tuf", "urllib3.connectionpool"):  # each failure is one sentence of ours
            logging.getLogger(name).setLevel(logging.ERROR)
        folder = options.folder or cache_folder() / "fleet"
        self._folder = folder.expanduser()
        self._models = self._folder / "models"
        self._state = _State()
        with suppress(OSError, ValueError):  # the first time, or damaged: begin again
            self._state = _State.model_validate_json((self._folder / "state.json").read_bytes())

    def current(self) -> Path | None:
        """The model to begin with; None before the first.

        One that was on trial twice when the program died is refused: once may be a power cut. One
        that is damaged is no longer the current one, and fetched again.
        """
        if (died := self._state.trial) is not None:
            if died == self._state.died:
                self.refuse(died, "the program died twice while it was on trial.")
            else:
                self._note(trial=None, died=died)
        known = (self._state.current, self._state.previous)
        sound = next((digest for digest in known if digest and self._is_sound(digest)), None)
        if sound != self._state.current:
            lost = str(self._state.current)[:12]
            log.warning("the model %s is damaged or gone; it will be fetched again", lost)
            self._note(current=sound, previous=None)
        return None if sound is None else self._path(sound)

    def fetch(self) -> Offer | None:
        """A model that is neither the current one nor refused; None where there is nothing new.

        Raises:
            ModelError: the repository cannot be reached, or what it says must not be trusted.
        """
        from tuf.api.exceptions import DownloadError, RepositoryError
        from tuf.ngclient.updater import Updater
        from urllib3.exceptions import HTTPError  # an answer cut short, which tuf lets through

        name = f"{self._options.name}.onnx"
        try:
            for folder in (self._folder / "metadata", self._models):
                folder.mkdir(parents=True, exist_ok=True)
            updater = Updater(
                str(self._folder / "metadata"),
                f"{self.url.rstrip('/')}/metadata",
                str(self._models),
                f"{self.url.rstrip('/')}/targets",
                bootstrap=self._root,
            )
            updater.refresh()
            target = updater.get_targetinfo(name)
            if target is None:
                raise ModelError(f"{redact(self.url)} has no model {self._options.name!r}.")
            digest = str(target.hashes.get("sha256"))
            if digest == self._state.current or digest in self._state.refused:
                return None
            test = SelfTest.model_validate_json((target.custom or {}).get("self_test", ""))
            path = self._path(digest)
            if updater.find_cached_target(target, str(path)) is None:
                updater.download_target(target, str(path))
        except (RepositoryError, DownloadError, HTTPError) as error:
            why = getattr(error.__cause__, "reason", None) or error  # of urllib3, why not reached
            raise ModelError(
                f"{redact(self.url)}: {type(error).__name__}: {str(why).rstrip('.')}."
            ) from error
        except OSError as error:
            raise ModelError(f"{self._folder}: {error.strerror or error}.") from error
        except ValidationError as error:
            raise ModelError(f"{redact(self.url)}: {name} comes without a self-test.") from error
        return Offer(path, digest, test)

    def begin(self, digest: str) -> None:
        """A model goes on trial; noted before it is opened, as the program may die of it.

        Raises:
            SinkError: it cannot be noted, and must not be tried.
        """
        self._write(trial=digest)

    def withdraw(self) -> None:
        """What is on trial has neither passed nor failed, and may be tried again."""
        if self._state.trial is not None:
            self._note(trial=None)

    def accept(self, digest: str) -> None:
        """A model has passed, and is the current one; the one before is kept."""
        previous = self._state.current
        self._note(trial=None, current=digest, previous=previous)
        for path in self._models.glob("*.onnx"):
            if path.stem not in (digest, previous):
                with suppress(OSError):
                    path.unlink()

    def refuse(self, digest: str, why: str) -> None:
        """A model is not taken, and not tried again."""
        log.error("the model %s of %s is refused: %s", digest[:12], redact(self.url), why)
        known = (*self._state.refused, digest)[-_REMEMBERED:]
        self._note(trial=None, refused=known)
        with suppress(OSError):
            self._path(digest).unlink()

    def _path(self, digest: str) -> Path:
        return self._models / f"{digest}.onnx"

    def _is_sound(self, digest: str) -> bool:
        try:
            return sha256_of(self._path(digest)) == digest
        except OSError:
            return False

    def _note(self, **changes: Any) -> None:
        """Where it cannot be written, it holds for this run all the same."""
        try:
            self._write(**changes)
        except SinkError as error:
            log.error("what became of a model is forgotten when this run ends: %s", error)

    def _write(self, **changes: Any) -> None:
        self._state = self._state.model_copy(update=changes)
        write_whole(self._folder / "state.json", self._state.model_dump_json(indent=2) + "\n")


def judges_faces(region: str) -> bool:
    """Whether a model of an input region judges faces, not pictures."""
    return parse_region(region).kind == "faces"


class Candidate(NamedTuple):
    """A model that is open and proven, beside the one that judges; closing gives it back."""

    offer: Offer
    detector: Detector
    close: Callable[[], None]


class ModelUpdates:
    """Looks for new models on a thread of its own; a context manager.

    Args:
        store: of the board.
        open_model: opens a detector on a model file.
        every_s: how often to look.
        region: of the model that judges; one for pictures never gives way to one for
            faces, nor the other way.
    """

    def __init__(
        self,
        store: ModelStore,
        open_model: Callable[[Path], AbstractContextManager[Detector]],
        every_s: float = 3600.0,
        region: str = "native",
    ) -> None:
        self.store = store
        self._open_model, self._every_s = open_model, every_s
        self._faces = judges_faces(region)
        self._candidate: Candidate | None = None
        self._leaving, self._free = threading.Event(), threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="patchwatch-models", daemon=True)

    def __enter__(self) -> Self:
        """Look at once, and then every so often."""
        self._free.set()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Stop looking, and close what has not passed; only a crash is held against it."""
        self._leaving.set()
        self._free.set()
        self._thread.join(_LEAVE_S)
        if self._candidate is not None:
            self._candidate.close()
        if isinstance(error, PatchwatchError) or not isinstance(error, Exception):
            self.store.withdraw()

    def take(self) -> Candidate | None:
        """The newest that is proven; None where there is none. Then call `settle`."""
        return self._candidate

    def settle(self, passed: bool, error: PatchwatchError | None = None) -> Candidate:
        """What came of the trial of what was taken: it passed, failed with an error, or neither.

        It is closed unless it passed. The next is looked for only then.
        """
        candidate, self._candidate = self._candidate, None
        assert candidate is not None
        if passed:
            self.store.accept(candidate.offer.sha256)
        else:
            candidate.close()
            if error is not None:
                self.store.refuse(candidate.offer.sha256, str(error))
            else:
                self.store.withdraw()
        self._free.set()
        return candidate

    def _run(self) -> None:
        while not self._leaving.is_set():
            try:
                self._look()
            except Exception as error:
                ours = isinstance(error, PatchwatchError)
                said = str(error) if ours else f"{type(error).__name__}: {error}"
                if said != self._said:  # once, not every hour
                    log.error("no new model is taken, keeping the current one: %s", said)
                self._said = said
                log.debug("the model was looked for here", exc_info=error)
            self._free.wait()
            # A thousand boards that start together must not ask together ever after.
            self._leaving.wait(self._every_s * random.uniform(0.9, 1.1))

    def _look(self) -> None:
        offer = self.store.fetch()
        if offer is not None:
            self.store.begin(offer.sha256)
            self._open(offer)
        self._said = ""

    def _open(self, offer: Offer) -> None:
        """Make a candidate of a model, or refuse it; raises what is no fault of the model."""
        with ExitStack() as stack:
            try:
                if judges_faces(read_manifest(offer.path).region) != self._faces:
                    raise ModelError(
                        "it and the model that judges are not both for faces or both for pictures."
                    )
                detector = stack.enter_context(self._open_model(offer.path))
                offer.test.check(detector)
            except Exception as error:
                if isinstance(error, PatchwatchError) and not isinstance(error, SinkError):
                    self.store.refuse(offer.sha256, str(error))
                    return
                self.store.withdraw()
                raise
            self._free.clear()
            self._candidate = Candidate(offer, detector, stack.pop_all().close)
