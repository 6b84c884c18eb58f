"""From a frame to evidence: the region is cut, the model run, the parts put together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edge.backends.base import Backend
from edge.errors import RegionError
from edge.regions import Crop, RegionSpec, cut
from edge.types import Evidence, Image, Region

MAX_BATCH = 8
"""Crops given to the model at once; bounds the memory of `tiles` on large frames."""


class Stopwatch:
    """Milliseconds for each named stage, in the order they ran."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; a name used twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - start) * 1e3)

    def add(self, name: str, elapsed_ms: float) -> None:
        """Add milliseconds that were measured elsewhere."""
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + elapsed_ms


class Detector:
    """A backend and the region of the frame that it is shown.

    Args:
        backend: an open backend.
        region: which pixels it sees.
    """

    def __init__(self, backend: Backend, region: RegionSpec) -> None:
        self.backend = backend
        self.region = region

    def warm_up(self) -> None:
        """Run the model once where the region fixes the size that it will see.

        The first real frame is then as quick as the next; at `native` nobody knows its size yet.

        Raises:
            RegionError: the region is smaller than one patch of the model.
        """
        if self.region.size:
            self._refuse_tiny(self.region.size, self.region.size)
            self.backend.warm_up(self.region.size, self.region.size)

    def detect(self, image: Image, watch: Stopwatch) -> tuple[Region, ...]:
        """Score a frame.

        Args:
            image: uint8 [H, W, 3] BGR.
            watch: takes the stages `region` and `model`.

        Returns:
            One region or more, each with finite or non-finite evidence as the model gave it.

        Raises:
            RegionError: the frame is smaller than one patch of the model.
            ModelError: the backend failed.
        """
        with watch.stage("region"):
            crops = cut(image, self.region)
            self._refuse_tiny(*crops[0].image.shape[:2])
        with watch.stage("model"):
            evidence = self._infer(crops)
        return tuple(
            Region(crop.xyxy, (crop.image.shape[0], crop.image.shape[1]), item)
            for crop, item in zip(crops, evidence, strict=True)
        )

    def _infer(self, crops: list[Crop]) -> list[Evidence]:
        evidence: list[Evidence] = []
        for start in range(0, len(crops), MAX_BATCH):
            images = [crop.image for crop in crops[start : start + MAX_BATCH]]
            batch = np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(images)
            evidence += self.backend.infer(batch)
        return evidence

    def _refuse_tiny(self, height: int, width: int) -> None:
        patches = self.backend.manifest.patches
        least = patches.smallest_input() if patches else 1
        if min(height, width) < least:
            raise RegionError(
                f"the picture given to the model is {width}×{height} pixels; "
                f"{self.backend.manifest.name} needs at least {least}×{least}."
            )


def combine(regions: tuple[Region, ...]) -> Evidence:
    """The evidence of the whole frame.

    The mean of the regions' logits; their patch map only where one region is all there is, since
    several maps cover different parts of the frame.
    """
    if len(regions) == 1:
        return regions[0].evidence
    return Evidence(math.fsum(region.evidence.logit for region in regions) / len(regions))
