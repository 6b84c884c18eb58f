"""Stand-ins for what tests need to steer; everything else in the tests is real."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from typing_extensions import Self

from edge.manifest import Manifest, PatchGrid, Training
from edge.sources.base import SourceKind
from edge.types import Batch, Evidence, Frame, Image, Result


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
    """Yields the given pictures (None: nothing came) at a steady rate."""

    def __init__(
        self,
        images: Sequence[Image | None],
        kind: SourceKind = "file",
        fps: float = 10.0,
        name: str = "fake source",
    ) -> None:
        self.name = name
        self.kind: SourceKind = kind
        self.fps: float | None = fps
        self.length: int | None = len(images)
        self.failures: list[str] = []
        self._images = images

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame | None]:
        for index, image in enumerate(self._images):
            if image is None:
                yield None
            else:
                pts = None if self.kind == "stills" else index / (self.fps or 1)
                yield Frame(image, index, 1_000.0 + index, self.name, pts)


class FakeSink:
    """Keeps what it is given."""

    name = "keep"

    def __init__(self, wants_picture: bool = False) -> None:
        self.wants_picture = wants_picture
        self.results: list[Result] = []
        self.pictures: list[Image | None] = []
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def write(self, result: Result, picture: Image | None) -> None:
        """Keep it."""
        self.results.append(result)
        self.pictures.append(picture)


def grey(value: int, height: int = 32, width: int = 48) -> Image:
    """A flat picture."""
    return np.full((height, width, 3), value, np.uint8)
