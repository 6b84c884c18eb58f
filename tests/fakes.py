"""Stand-ins for what tests need to steer; everything else in the tests is real."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from typing_extensions import Self

from edge.errors import NetworkError, SourceEnded
from edge.live.views import View
from edge.manifest import Manifest, PatchGrid, Training
from edge.sinks.worker import WorkerHealth
from edge.sources.base import Shot, SourceKind
from edge.sources.live import Health
from edge.types import Batch, Evidence, Frame, Image, Picture, Result


def make_manifest(**changes: object) -> Manifest:
    """A valid manifest with some fields changed."""
    fields: dict[str, object] = {
        "name": "fake",
        "architecture": "tiny_ladeda",
        "preprocessing": "raw",
        "patches": PatchGrid(receptive_field=5, stride=2),
        "training": Training(data="nothing"),
        "licence": "none",
    }
    return Manifest.model_validate(fields | changes)


def as_nv12(bgr: Image) -> Image:
    """A picture in NV12, uint8 [H·3/2, W], as OpenCV converts it; both sides even."""
    height, width = bgr.shape[:2]
    planes = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    u, v = planes[height:].reshape(2, height // 2, width // 2)
    chroma = np.stack([u, v], axis=-1).reshape(height // 2, width)
    return np.ascontiguousarray(np.concatenate([planes[:height], chroma])).astype(np.uint8)


def mean_minus_grey(image: Image) -> float:
    """A logit that a test can choose: bright pictures are fake."""
    return float(image.mean()) - 128.0


class FakeBackend:
    """Gives each picture the logit that a function says, and a flat patch map of it."""

    name = "fake"

    def __init__(
        self,
        logit: Callable[[Image], float] = mean_minus_grey,
        manifest: Manifest | None = None,
    ) -> None:
        self.manifest = manifest or make_manifest()
        self.batches: list[int] = []
        self._logit = logit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Nothing to warm."""

    def infer(self, frames: Batch) -> list[Evidence]:
        """One evidence per picture."""
        self.batches.append(len(frames))
        return [self._evidence(image) for image in frames]

    def _evidence(self, image: Image) -> Evidence:
        logit = self._logit(image)
        h, w = ((side - 5) // 2 + 1 for side in image.shape[:2])
        return Evidence(logit, np.full((h, w), logit if math.isfinite(logit) else 0, np.float32))


class FakeSource:
    """Yields the given pictures at a steady rate."""

    def __init__(
        self,
        images: Sequence[Image],
        kind: SourceKind = "file",
        fps: float = 10.0,
        name: str = "fake source",
    ) -> None:
        self.name = name
        self.kind: SourceKind = kind
        self.fps: float | None = fps
        self.length: int | None = len(images)
        self.failures: list[str] = []
        self.damaged = 0
        self._images = images

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            pts = None if self.kind == "stills" else index / (self.fps or 1)
            yield Frame(image, index, 1_000.0 + index, self.name, pts)


class FakeSink:
    """Keeps what it is given, once `before` has returned."""

    name = "keep"

    def __init__(
        self, wants_picture: bool = False, before: Callable[[], object] = lambda: None
    ) -> None:
        self.wants_picture = wants_picture
        self.before = before
        self.results: list[Result] = []
        self.pictures: list[Image | None] = []
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def write(self, result: Result, picture: Picture) -> None:
        """Keep it."""
        self.before()
        self.results.append(result)
        self.pictures.append(picture() if self.wants_picture else None)


def grey(value: int, height: int = 32, width: int = 48) -> Image:
    """A flat picture."""
    return np.full((height, width, 3), value, np.uint8)


def barred(value: int, height: int = 32, width: int = 48) -> Image:
    """A picture of that mean with four upright bars, so that there is something to see."""
    image, bar = np.full((height, width, 3), value, np.int16), width // 4
    depth = max(3, min(6, value, 255 - value))
    for index in range(4):
        image[:, index * bar : (index + 1) * bar] += depth if index % 2 else -depth
    return image.clip(0, 255).astype(np.uint8)


class FakeClock:
    """A clock for live sources that moves only when it is told to."""

    def __init__(self, now_s: float = 100.0, unix_s: float = 1_000.0) -> None:
        self._now_s = now_s
        self._unix_s = unix_s

    def now(self) -> float:
        """Seconds on a clock that never falls."""
        return self._now_s

    def unix(self) -> float:
        """Unix time in seconds."""
        return self._unix_s

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds
        self._unix_s += seconds


Step = Image | Callable[[], Image] | Exception | threading.Event | float | None
"""What a read of a `FakeCapture` comes to: a picture, what makes it when it is converted, an error,
the end of a recording (None); or what it waits for before the next step: an event, some seconds."""


@dataclass(frozen=True)
class Turn:
    """One opening of a `FakeCamera`.

    Attributes:
        steps: what its capture gives, and then its end is an error.
        error: raised by opening.
        wait: opening waits for it first.
        close_wait: and closing for that.
        fps: announced.
    """

    steps: Iterable[Step] = ()
    error: Exception | None = None
    wait: threading.Event | None = None
    close_wait: threading.Event | None = None
    fps: float | None = None


class FakeCamera:
    """Opens captures that do what they are told, one after another; then there are none.

    Attributes:
        opened: captures that were open.
        closed: of them, those that were closed again.
        most_open: how many were open at once.
        converted: pictures that were converted.
        threads: names of the threads that opened.
    """

    def __init__(self, *turns: Turn, clock: Callable[[], float] = time.monotonic) -> None:
        self.opened = 0
        self.closed = 0
        self.most_open = 0
        self.converted = 0
        self.threads: list[str] = []
        self.clock = clock
        self._turns = iter(turns)
        self._lock = threading.Lock()

    def __call__(self) -> FakeCapture:
        """Open the next one; an `OpenCapture`."""
        self.threads.append(threading.current_thread().name)
        turn = next(self._turns, Turn(error=NetworkError("door: the connection was refused.")))
        if turn.wait is not None:
            turn.wait.wait()
        if turn.error is not None:
            raise turn.error
        with self._lock:
            self.opened += 1
            self.most_open = max(self.most_open, self.opened - self.closed)
        return FakeCapture(self, turn)

    def close_one(self) -> None:
        """Count a capture that is closed."""
        with self._lock:
            self.closed += 1


class FakeCapture:
    """A capture of a `FakeCamera`."""

    def __init__(self, camera: FakeCamera, turn: Turn) -> None:
        self.fps = turn.fps
        self._camera = camera
        self._turn = turn
        self._steps = iter(turn.steps)
        self._read = 0

    def read(self) -> Shot | None:
        """Take steps until one of them comes to something."""
        for step in self._steps:
            if isinstance(step, threading.Event):
                step.wait()
            elif isinstance(step, float):
                time.sleep(step)
            elif step is None:
                return None
            elif isinstance(step, Exception):
                raise step
            else:
                return self._shot(step)
        raise SourceEnded("door: the stream ended.")

    def close(self) -> None:
        """Be counted."""
        if self._turn.close_wait is not None:
            self._turn.close_wait.wait()
        self._camera.close_one()

    def _shot(self, picture: Image | Callable[[], Image]) -> Shot:
        def convert() -> Image:
            self._camera.converted += 1
            return picture() if callable(picture) else picture

        self._read += 1
        now_s = self._camera.clock()
        return Shot(now_s, now_s, convert)


class FakeView(View):
    """Keeps what it is told, and in which threads it was."""

    name = "watch"
    period_s = 0.01

    def __init__(self) -> None:
        self.names: list[list[str]] = []
        self.results: list[tuple[str, Result]] = []
        self.states: list[tuple[str, str, int]] = []
        self.threads: set[threading.Thread] = set()

    def sources(self, names: Sequence[str]) -> None:
        self.names.append(list(names))

    def result(self, name: str, result: Result, picture: Picture) -> None:
        assert picture().shape == result.frame.image.shape
        self.results.append((name, result))

    def health(self, name: str, health: Health, sinks: Sequence[WorkerHealth]) -> None:
        self.states.append((name, health.state, len(sinks)))
        self.threads.add(threading.current_thread())

    def tick(self) -> None:
        self.threads.add(threading.current_thread())


def wait_for(condition: Callable[[], object], within_s: float = 30) -> None:
    """Wait until something is true; fail where it takes too long."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
