"""A new model on trial: the session, the store of the board and the looking for models together."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge.config import RunConfig, build_config
from edge.config.parts import ModelsConfig
from edge.detector import Detector
from edge.errors import SinkError, SourceError
from edge.files import sha256_of
from edge.fleet import ModelStore, ModelUpdates, Offer, SelfTest
from edge.live.loop import Trial
from edge.live.session import LiveSession
from edge.live.views import Controls
from edge.manifest import Manifest
from edge.regions import parse_region
from edge.types import Image, Picture, Result
from tests.edge.sources.clips import write_clip
from tests.fakes import FakeBackend, FakeView, make_manifest
from tests.onnx_files import write_model

pytest.importorskip("tuf", reason="needs python-tuf: pip install 'patchwatch[fleet]'")

OLD, NEW = -3.0, -7.0


class Shelf(ModelStore):
    """A store whose repository has one model, whatever the network says."""

    def __init__(self, folder: Path) -> None:
        root, self.file = folder / "root.json", folder / "new.onnx"
        if not root.exists():
            root.write_text("{}")
            write_model(self.file)
        super().__init__(ModelsConfig(url="http://localhost", root=root, folder=folder / "board"))
        self.digest = sha256_of(self.file)

    def fetch(self) -> Offer | None:
        known = (self._state.current, *self._state.refused)
        # Its logit on the self-test is judged by the tests of the command.
        test = SelfTest.model_construct(side=64, logits=())
        return None if self.digest in known else Offer(self.file, self.digest, test)

    @property
    def noted(self) -> dict[str, Any]:
        """What the disk says."""
        found: dict[str, Any] = json.loads((self._folder / "state.json").read_text())
        return found


class Watcher(FakeView):
    """Ends the run when what it waits for has come."""

    def __init__(self, until: Callable[[], object]) -> None:
        super().__init__()
        self.until, self.controls = until, Controls()
        self.longest_s = time.monotonic() + 30
        self.models: list[Manifest] = []
        self.files: list[Path] = []

    def switched(self, model: Manifest, path: Path) -> None:
        self.models.append(model)
        self.files.append(path)

    def result(self, name: str, result: Result, picture: Picture) -> None:
        super().result(name, result, picture)
        assert result.model is not None
        if result.evidence is not None:
            assert result.evidence.logit == (NEW if result.model.name == "new" else OLD)

    def tick(self) -> None:
        assert time.monotonic() < self.longest_s
        self.controls.stop = bool(self.until())

    def logits(self, camera: str = "door") -> list[float]:
        """Of a camera so far."""
        return [r.evidence.logit for name, r in self.results if name == camera and r.evidence]


@dataclass
class Bench:
    """A run of one camera with a store that offers one model, and what became of both models."""

    folder: Path
    frames: int = 5
    logit: Callable[[Image], float] = lambda image: NEW
    opened: list[dict[str, Any]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    until: Callable[[], object] = lambda: False
    reread: Callable[[], RunConfig] | None = None

    def __post_init__(self) -> None:
        self.clip = write_clip(self.folder / "clip.mp4", 60, (96, 64))
        self.store = Shelf(self.folder)
        self.view = Watcher(lambda: self.until())
        self.session: LiveSession | None = None

    def config(self, *cameras: str) -> RunConfig:
        return build_config(
            {
                "cameras": [{"name": name, "source": str(self.clip)} for name in cameras],
                "capture": {"loop": True},
                "output": {"window": False},
                "verdict": {"reuse": False},
                "batch": {"frames": 1},
            }
        )

    @contextmanager
    def open_model(self, path: Path) -> Iterator[Detector]:
        self.opened.append(self.store.noted)
        yield detector(self.logit, "new")
        self.closed.append("new")

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def views(config: RunConfig, controls: Controls, *_: object) -> list[Watcher]:
            self.view.controls = controls
            return [self.view]

        monkeypatch.setattr("edge.live.session.make_views", views)
        monkeypatch.setattr("edge.live.session.Trial", partial(Trial, left=self.frames))
        with ModelUpdates(self.store, self.open_model, every_s=0.05) as updates:
            self.session = LiveSession(
                self.config("door"),
                detector(lambda image: OLD, "old"),
                reread=self.reread,
                updates=updates,
                close_model=lambda: self.closed.append("old"),
            )
            self.session.run()


def detector(logit: Callable[[Image], float], name: str) -> Detector:
    return Detector(FakeBackend(logit, make_manifest(name=name)), parse_region("native"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def full_disk(path: Path, data: object) -> None:
    raise SinkError(f"{path}: the disk is full.")


def test_a_model_that_passes_is_the_current_one_and_the_old_one_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.until = lambda: bench.view.models and bench.view.logits()[-3:] == [NEW] * 3
    bench.run(monkeypatch)
    assert [model.name for model in bench.view.models] == ["new"]
    assert bench.closed == ["old", "new"] and bench.view.files == [bench.store.file]
    # It was on trial before it was opened.
    assert [noted["trial"] for noted in bench.opened] == [bench.store.digest]
    noted = bench.store.noted
    assert (noted["current"], noted["trial"], noted["refused"]) == (bench.store.digest, None, [])


def throw(image: Image) -> float:
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize("logit", [lambda image: math.nan, throw], ids=["not finite", "raises"])
def test_a_model_that_fails_is_refused_and_closed_and_the_old_one_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, logit: Callable[[Image], float]
) -> None:
    bench.logit = logit
    bench.until = lambda: bench.store._state.refused and len(bench.view.results) > 20
    bench.run(monkeypatch)
    assert set(bench.view.logits()) == {OLD} and bench.view.models == []
    assert bench.closed == ["new", "old"] and len(bench.opened) == 1
    noted = bench.store.noted
    assert (noted["current"], noted["trial"]) == (None, None)
    assert noted["refused"] == [bench.store.digest]


def test_a_run_that_ends_during_a_trial_holds_nothing_against_the_model(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.frames = 10**6
    bench.until = lambda: NEW in bench.view.logits()
    bench.run(monkeypatch)
    assert bench.store.noted["trial"] is None and bench.store.noted["refused"] == []
    assert sorted(bench.closed) == ["new", "old"]


@pytest.mark.parametrize(
    ("error", "noted"),
    [(SourceError("the cable is out"), False), (RuntimeError("nobody foresaw this"), True)],
)
def test_only_a_crash_during_a_trial_is_held_against_the_model(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, noted: bool
) -> None:
    def until() -> object:
        if NEW in bench.view.logits():
            raise error
        return False

    bench.frames, bench.until = 10**6, until
    with pytest.raises(type(error), match=str(error)):
        bench.run(monkeypatch)
    assert bench.store.noted["trial"] == (bench.store.digest if noted else None)
    assert sorted(bench.closed) == ["new", "old"]


def test_a_model_whose_trial_cannot_be_noted_is_not_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.fleet.write_whole", full_disk)
    bench.until = lambda: caplog.records and len(bench.view.results) > 20
    bench.run(monkeypatch)
    assert bench.opened == [] and set(bench.view.logits()) == {OLD}
    said = [record for record in caplog.records if record.name == "edge.fleet"]
    looked = [r.getMessage() for r in said if r.getMessage().startswith("no new model is taken")]
    assert len(looked) == 1 and "the disk is full" in looked[0]
    assert not any(record.exc_info for record in said if record.levelno >= logging.INFO)


@pytest.mark.parametrize("logit", [NEW, math.nan], ids=["passes", "fails"])
def test_a_disk_that_is_full_when_a_trial_ends_does_not_end_the_run(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    logit: float,
) -> None:
    def judge(image: Image) -> float:
        monkeypatch.setattr("edge.fleet.write_whole", full_disk)
        return logit

    expected = NEW if math.isfinite(logit) else OLD
    bench.logit = judge
    bench.until = lambda: (
        "is forgotten" in caplog.text and bench.view.logits()[-9:] == [expected] * 9
    )
    bench.run(monkeypatch)
    assert sorted(bench.closed) == ["new", "old"] and len(bench.opened) == 1
    assert caplog.text.count("the disk is full") == 1


def test_a_new_configuration_withdraws_a_trial_and_the_model_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = []

    def reread() -> RunConfig:
        states.append(bench.store.noted)
        assert bench.closed == ["new"]
        return bench.config("door", "yard")

    def until() -> object:
        if NEW in bench.view.logits() and not states and bench.session is not None:
            bench.session.reread_soon()
        return NEW in bench.view.logits("yard")

    bench.frames, bench.until, bench.reread = 10**6, until, reread
    bench.run(monkeypatch)
    assert states[0]["trial"] is None and states[0]["refused"] == []
    assert len(states) == 1 and len(bench.opened) == 2
    assert sorted(bench.closed) == ["new", "new", "old"] and bench.view.models == []
