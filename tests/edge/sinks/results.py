"""Results to write, made on the spot."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edge.sinks.base import Sink
from edge.types import Evidence, Frame, Image, Picture, Result, State, Verdict
from tests.fakes import make_manifest


def make_result(
    image: Image | None = None,
    index: int = 0,
    source: str = "camera 0",
    captured_at: float = 1_700_000_000.0,
    pts: float | None = None,
    state: State = "real",
    model: str = "fake",
    threshold: float = 0.5,
) -> Result:
    """A result with evidence, a timing and a model."""
    shown = plain(64, 96, (40, 80, 120)) if image is None else image
    frame = Frame(shown, index, captured_at, source, pts)
    judge = make_manifest(name=model, calibration={"threshold": threshold})
    return Result(frame, Evidence(-1.5), Verdict(state, 0.25), {"infer": 1.23456}, model=judge)


def plain(height: int, width: int, bgr: tuple[int, int, int]) -> Image:
    """A picture of one colour."""
    return np.full((height, width, 3), bgr, np.uint8)


def names(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def stamp(unix_s: float) -> str:
    """A time as in the names of files."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(unix_s))


def moving(height: int, width: int, count: int) -> Iterator[Image]:
    """Pictures of coarse noise that drifts, hard enough to encode that files grow."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    for index in range(count):
        yield np.ascontiguousarray(np.roll(image, 3 * index, axis=1))


def give(sink: Sink, result: Result, image: Image | None = None) -> None:
    """Write a result with a picture; the bare frame if None."""
    sink.write(result, Picture.of(result.frame.image if image is None else image))


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may become larger than this many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
