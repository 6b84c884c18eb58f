"""From a frame to evidence: the region is cut, the model run, the parts put together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edge.backends.base import MAX_BATCH, Backend, FrameBackend, Pending
from edge.errors import RegionError
from edge.faces.finders import Faces
from edge.faces.tracks import FaceWatch
from edge.faces.verdicts import evidence_of_faces
from edge.pixels import to_bgr
from edge.regions import Crop, RegionSpec, cut, place
from edge.types import Evidence, Frame, Image, PixelFormat, Region

NO_FACE = "no face was found"


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


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame on its way through the model; one that cannot be taken has an error and no work."""

    frame: Frame
    watch: Stopwatch
    work: Crops | Pending | None
    error: str | None = None


class Detector:
    """A backend and the region of the frame that it sees.

    For faces each source needs a detector of its own, which follows them from frame to frame; the
    backend and the finder of faces may be shared.

    Args:
        backend: an open one.
        faces: how faces are found, where they are the region; the defaults if None.

    Raises:
        MissingDependency: faces are to be found, and dlib is not installed.
        ModelError: the model that finds them cannot be used.
    """

    def __init__(self, backend: Backend, region: RegionSpec, faces: Faces | None = None) -> None:
        self.backend = backend
        self.region = region
        self.faces = faces or Faces()
        self._watch = FaceWatch(self.faces, region.size) if region.kind == "faces" else None

    def warm_up(self) -> None:
        """Run the model once where the region fixes the size that it will see.

        The first real frame is then as fast as the next. `native` and `fit` leave the size open.

        Raises:
            RegionError: the region is smaller than one patch of the model.
        """
        if side := self.region.fixed_side:
            self._refuse_tiny(side, side)
            # An engine is built for one size of batch, and tiles fill the largest.
            batches = {"tiles": (MAX_BATCH,), "faces": (1, MAX_BATCH)}
            own = batches if isinstance(self.backend, FrameBackend) else {}
            for batch in own.get(self.region.kind, (1,)):
                self.backend.warm_up(side, side, batch)

    @property
    def works_ahead(self) -> bool:
        """Whether `begin` returns before the work is done, so that the next can be fetched."""
        return isinstance(self.backend, FrameBackend) and self._watch is None

    def restart(self) -> None:
        """The next frame has nothing to do with those before."""
        if self._watch is not None:
            self._watch.restart()

    def detect(self, image: Image, watch: Stopwatch) -> tuple[Region, ...]:
        """`begin` and `finish` in one for a picture on its own, uint8 [H, W, 3] BGR."""
        self.restart()
        return self.finish(self.begin(image, watch), watch)

    def start(self, frame: Frame, watch: Stopwatch) -> Job:
        """`begin` for a frame of a source; one that does not fit is a job with an error.

        Raises:
            ModelError: the backend cannot take it.
        """
        try:
            work = self.begin(frame.image, watch, frame.pixel_format, frame.source)
        except RegionError as error:
            return Job(frame, watch, None, str(error))
        return Job(frame, watch, work)

    def begin(
        self,
        image: Image,
        watch: Stopwatch,
        pixel_format: PixelFormat = "bgr",
        source: str | None = None,
    ) -> Crops | Pending:
        """Cut the region out of a frame, or submit the frame to a backend that does so itself.

        Args:
            image: uint8, [H, W, 3] BGR or [H·3/2, W] NV12; may be used again once this returns
                only if the detector works ahead.
            watch: takes the stage `region`, and where it is faces, the stage `faces` before.
            pixel_format: which of both.
            source: name of the source that it comes from, for the backend.

        Raises:
            RegionError: the frame is smaller than one patch of the model.
            ModelError: the backend cannot take it.
        """
        if self._watch is not None:
            bgr = to_bgr(image, pixel_format)
            self._refuse_tiny(self.region.size, self.region.size)
            with watch.stage("faces"):
                self._watch.follow(bgr)
            with watch.stage("region"):
                return Crops(self._watch.crops(bgr), source)
        with watch.stage("region"):
            rows, width = image.shape[:2]
            height = rows * 2 // 3 if pixel_format == "nv12" else rows
            self._refuse_tiny(*place(height, width, self.region)[1])
            if isinstance(self.backend, FrameBackend):
                return self.backend.submit(image, pixel_format, self.region, source)
            return Crops(cut(to_bgr(image, pixel_format), self.region), source)

    def finish(self, work: Crops | Pending, watch: Stopwatch) -> tuple[Region, ...]:
        """The evidence of a frame that `begin` took.

        Returns:
            One region or more, or as many as there are faces; evidence may not be finite.

        Raises:
            ModelError: the backend failed.
            GpuError: the GPU did.
        """
        return finish_together(self.backend, [work], [watch])[0]

    def _refuse_tiny(self, height: int, width: int) -> None:
        patches = self.backend.manifest.patches
        least = patches.smallest_input() if patches else 1
        if min(height, width) < least:
            raise RegionError(
                f"the picture given to the model is {width}×{height} pixels; "
                f"{self.backend.manifest.name} needs at least {least}×{least}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The crops of a frame, waiting for the model, and the name of its source."""

    crops: list[Crop]
    source: str | None = None


def finish_together(
    backend: Backend, work: Sequence[Crops | Pending], watches: Sequence[Stopwatch]
) -> list[tuple[Region, ...]]:
    """`Detector.finish` for frames of several sources, which share a backend and its batches.

    Every watch takes the stage `model`, which all share.
    """
    start = time.perf_counter()
    crops = [crop for item in work if isinstance(item, Crops) for crop in item.crops]
    sources = {item.source for item in work if isinstance(item, Crops)}
    evidence = iter(_infer(backend, crops, sources.pop() if len(sources) == 1 else None))
    regions = [
        tuple(
            Region(box, item.input_hw, found)
            for box, found in zip(item.boxes, item.evidence(), strict=True)
        )
        if isinstance(item, Pending)
        else tuple(
            Region(crop.xyxy, crop.image.shape[:2], next(evidence), track=crop.track)
            for crop in item.crops
        )
        for item in work
    ]
    for watch in watches:
        watch.add("model", (time.perf_counter() - start) * 1e3)
    return regions


def finish_jobs(backend: Backend, jobs: Sequence[Job]) -> list[tuple[Region, ...]]:
    """As `finish_together`; a job with an error gives no region."""
    works = [job.work for job in jobs if job.work is not None]
    watches = [job.watch for job in jobs if job.work is not None]
    found = iter(finish_together(backend, works, watches))
    return [() if job.work is None else next(found) for job in jobs]


def _infer(backend: Backend, crops: Sequence[Crop], source: str | None) -> list[Evidence]:
    """Evidence for each crop; those of one size go to the model together, up to `MAX_BATCH`."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, crop in enumerate(crops):
        by_size.setdefault(crop.image.shape, []).append(index)
    found: dict[int, Evidence] = {}
    for indices in by_size.values():
        for start in range(0, len(indices), MAX_BATCH):
            part = indices[start : start + MAX_BATCH]
            images = [crops[index].image for index in part]
            batch = np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(images)
            found.update(zip(part, backend.infer(batch, source), strict=True))
    return [found[index] for index in range(len(crops))]


def combine(regions: tuple[Region, ...]) -> Evidence:
    """The evidence of the whole frame.

    The mean of the regions' logits, of faces the highest; a patch map only for a single region, as
    several maps cover different parts of the frame.

    Raises:
        RegionError: there is none, as no face was found.
    """
    if not regions:
        raise RegionError(NO_FACE)
    if len(regions) == 1:
        return regions[0].evidence
    if regions[0].track is not None:
        return Evidence(evidence_of_faces(regions).logit)
    return Evidence(math.fsum(region.evidence.logit for region in regions) / len(regions))
