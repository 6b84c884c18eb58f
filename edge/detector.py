"""From a frame to evidence: the region is cut, the model run, the parts put together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from edge.backends.base import MAX_BATCH, Backend, FrameBackend, Pending
from edge.errors import RegionError
from edge.faces.finder import FaceFinder
from edge.faces.tracker import FaceTracker
from edge.faces.verdicts import evidence_of_faces
from edge.memory import largest_batch, refuse_huge
from edge.pixels import to_bgr
from edge.regions import FACE_SIZE, Crop, RegionSpec, cut, has_texture, place
from edge.reuse import Reuse, Seen
from edge.types import Evidence, Frame, Image, PixelFormat, Region

NO_FACE = "no face was found"

_LARGEST_WARM_UP = 1024  # pixels a side of a region that may be larger than the frame

WARM_UP_FRAMES = 4
"""A backend that works ahead has two frames in hand, and may learn from the first of each."""


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
class Part:
    """What a model is to see of a frame: crops, or what a backend has of it already.

    `textured` says whether there is anything to see.
    """

    backend: Backend
    work: Sequence[Crop] | Pending
    stage: str = "model"
    textured: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame on its way through the models; `seen` holds its picture's evidence for frames that
    are the same, as this one is where it is `unchanged`.

    One that cannot be taken has an error and no parts. `looked` says whether faces were looked for.
    """

    frame: Frame
    watch: Stopwatch
    parts: Sequence[Part] = ()
    looked: bool = False
    error: str | None = None
    seen: Seen | None = None
    unchanged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What finds and judges faces; sources may share it.

    `size` is the side of the crops in pixels, `rate` how often to look for faces, per second.
    """

    backend: Backend
    finder: FaceFinder
    size: int = FACE_SIZE
    rate: float = math.inf


class Detector:
    """A model with the region of the frame that it sees, and what judges faces beside it.

    Where there are faces to be judged, each source needs a detector of its own, which knows them
    from frame to frame; all else may be shared.

    Args:
        backend: an open one.
        region: where it is faces, the backend judges them alone.
        faces: None to look for none, unless they are the region.
        reuse: when the evidence on the picture of an earlier frame of the source is kept; None for
            never, as for faces, which are followed from frame to frame.
    """

    def __init__(
        self,
        backend: Backend,
        region: RegionSpec,
        faces: Faces | None = None,
        reuse: Reuse | None = None,
    ) -> None:
        self.backend = backend
        self._reuse = reuse if region.kind != "faces" else None
        self._seen: Seen | None = None
        self.region = region
        if region.kind == "faces":
            faces = faces or Faces(backend, FaceFinder())
            faces = replace(faces, backend=backend, size=region.size)
        elif faces is not None and faces.backend is backend:  # another source has them as region
            faces = None
        self.faces = faces
        self._tracker: FaceTracker | None = None
        if faces is not None:
            side = faces.backend.manifest.face_side
            self._tracker = FaceTracker(faces.finder, faces.size, side, faces.rate)

    def warm_up(
        self, frame_hw: tuple[int, int] | None = None, pixel_format: PixelFormat = "bgr"
    ) -> None:
        """Run the models once where the region fixes the size that they see, or the size and
        format of the frames are known: on a black frame that takes the way of the real ones.

        The first real frame is then as fast as the next. `native` and `fit` leave the size open.

        Raises:
            RegionError: the region is smaller than one patch of the model.
        """
        sides = [(self.backend, self.region.fixed_side, self.region.kind)]
        if frame_hw and isinstance(self.backend, FrameBackend) and self.region.kind != "faces":
            height, width = frame_hw
            rows = (height, width, 3) if pixel_format == "bgr" else (height * 3 // 2, width)
            frame = Frame(np.zeros(rows, np.uint8), 0, 0.0, "", pixel_format=pixel_format)
            for _ in range(WARM_UP_FRAMES):
                self.restart()
                finish_jobs([self.start(frame, Stopwatch())])
            self.restart()
            sides = []
        if self.faces is not None and self.faces.backend is not self.backend:
            sides.append((self.faces.backend, self.faces.size, "faces"))
        for backend, side, kind in sides:
            # No region exceeds its frame, whose size is not known yet.
            if not side or (kind in ("center", "tiles") and side > _LARGEST_WARM_UP):
                continue
            _refuse_tiny(backend, side, side)
            refuse_huge(backend, side, side)
            # An engine is built for one size of batch, and tiles fill the largest.
            batches = {"tiles": (MAX_BATCH,), "faces": (1, MAX_BATCH)}
            own = batches if isinstance(backend, FrameBackend) else {}
            for batch in own.get(kind, (1,)):
                backend.warm_up(side, side, batch)

    def restart(self) -> None:
        """The next frame has nothing to do with those before."""
        self._seen = None
        if self._tracker is not None:
            self._tracker.restart()

    def detect(self, image: Image, watch: Stopwatch) -> tuple[Region, ...]:
        """The evidence of a picture on its own, uint8 [H, W, 3] BGR; it may not be finite.

        Raises:
            RegionError: the picture is smaller than one patch of the model.
            ModelError: the backend failed.
            GpuError: the GPU did.
        """
        self.restart()
        job = self.start(Frame(image, 0, 0.0, ""), watch)
        if job.error is not None:
            raise RegionError(job.error)
        return finish_jobs([job])[0]

    def start(self, frame: Frame, watch: Stopwatch) -> Job:
        """Cut out what the models see, or submit the frame to a backend that does so itself.

        Args:
            frame: in order, of one source; one that does not fit becomes a job with an error.
            watch: takes the stage `region`, and where faces are looked for, the stage `faces`.

        Raises:
            ModelError: the backend cannot take it.
        """
        seen, unchanged = None, False
        if self._reuse is not None:
            seen = Seen(self._looked_at(frame), frame.pixel_format, frame.time_s)
            unchanged = self._seen is not None and self._seen.is_still(seen, self._reuse)
        try:
            parts = []
            if self.region.kind != "faces" and not unchanged:
                parts.append(self._picture(frame, watch))
            looked = self._tracker is not None and self._tracker.is_due(frame.time_s)
            if looked:
                parts.append(self._found(frame, watch))
        except RegionError as error:
            return Job(frame, watch, error=str(error))
        if not unchanged:
            self._seen = seen
        return Job(frame, watch, parts, looked, seen=self._seen, unchanged=unchanged)

    def _looked_at(self, frame: Frame) -> Image:
        """The part of a frame that holds all that the model sees."""
        if self.region.kind != "center" or frame.pixel_format != "bgr":
            return frame.image
        left, top, right, bottom = place(*frame.size_hw, self.region)[0][0]
        return frame.image[top:bottom, left:right]

    def _picture(self, frame: Frame, watch: Stopwatch) -> Part:
        with watch.stage("region"):
            boxes, input_hw = place(*frame.size_hw, self.region)
            _refuse_tiny(self.backend, *input_hw)
            refuse_huge(self.backend, *input_hw)
            work: Sequence[Crop] | Pending
            if isinstance(self.backend, FrameBackend):
                work = self.backend.submit(frame.image, frame.pixel_format, self.region)
            else:
                work = cut(to_bgr(frame.image, frame.pixel_format), self.region)
            seen = boxes[0] if len(boxes) == 1 else None
            textured = has_texture(frame.image, frame.pixel_format, seen)
            return Part(self.backend, work, textured=textured)

    def _found(self, frame: Frame, watch: Stopwatch) -> Part:
        assert self.faces is not None and self._tracker is not None
        _refuse_tiny(self.faces.backend, self.faces.size, self.faces.size)
        with watch.stage("faces"):
            bgr = to_bgr(frame.image, frame.pixel_format)
            crops = self._tracker.look(bgr, frame.time_s)
        stage = "model" if self.region.kind == "faces" else "face model"
        return Part(self.faces.backend, crops, stage)


def _refuse_tiny(backend: Backend, height: int, width: int) -> None:
    patches = backend.manifest.patches
    least = patches.smallest_input() if patches else 1
    if min(height, width) < least:
        raise RegionError(
            f"the picture given to the model is {width}×{height} pixels; "
            f"{backend.manifest.name} needs at least {least}×{least}."
        )


def finish_jobs(jobs: Sequence[Job]) -> list[tuple[Region, ...]]:
    """The evidence of frames that detectors started; it may not be finite.

    Crops of one size and for one model share batches. The watches of all jobs take the stages that
    they share: `model`, and `face model` where faces are judged beside the picture.

    Returns:
        For each job the regions of its picture and then of its faces; none for one with an error.
        Jobs are finished in the order in which they were started, so that one that is unchanged
        finds what it takes.

    Raises:
        ModelError: a backend failed.
        GpuError: the GPU did.
    """
    shared = Stopwatch()
    parts = [part for job in jobs for part in job.parts]
    evidence: dict[Backend, Iterator[Evidence]] = {}
    for backend, stage in {part.backend: part.stage for part in parts}.items():
        with shared.stage(stage):
            crops = [
                crop
                for part in parts
                if part.backend is backend and not isinstance(part.work, Pending)
                for crop in part.work
            ]
            evidence[backend] = iter(_infer(backend, crops))
    regions = []
    for job in jobs:
        found: list[Region] = []
        for part in job.parts:
            with shared.stage(part.stage):
                found += _regions(part, evidence[part.backend])
        if job.unchanged and job.seen is not None:
            found = [*job.seen.regions, *found]
        elif job.seen is not None:
            job.seen.regions = tuple(region for region in found if region.track is None)
        regions.append(tuple(found))
    for job in jobs:
        for stage in dict.fromkeys(part.stage for part in job.parts):
            job.watch.add(stage, shared.timings_ms[stage])
    return regions


def _regions(part: Part, evidence: Iterator[Evidence]) -> Iterator[Region]:
    work, textured = part.work, part.textured
    if isinstance(work, Pending):
        for box, found in zip(work.boxes, work.evidence(), strict=True):
            yield Region(box, work.input_hw, found, textured=textured)
    else:
        for crop in work:
            size_hw = crop.image.shape[:2]
            yield Region(crop.xyxy, size_hw, next(evidence), track=crop.track, textured=textured)


def _infer(backend: Backend, crops: Sequence[Crop]) -> list[Evidence]:
    """Evidence for each crop; those of one size go to the model together, as many as
    memory allows."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, crop in enumerate(crops):
        by_size.setdefault(crop.image.shape, []).append(index)
    found: dict[int, Evidence] = {}
    for (height, width, _), indices in by_size.items():
        most = largest_batch(backend, height, width)
        for start in range(0, len(indices), most):
            part = indices[start : start + most]
            images = [crops[index].image for index in part]
            batch = np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(images)
            found.update(zip(part, backend.infer(batch), strict=True))
    return [found[index] for index in range(len(crops))]


def combine(regions: Sequence[Region]) -> Evidence:
    """The evidence of the whole picture, or where its faces alone were judged, of these.

    The mean of the regions' logits, of faces the highest; a patch map only for a single region, as
    several maps cover different parts of the frame.

    Raises:
        RegionError: there is none, as no face was found.
    """
    if not regions:
        raise RegionError(NO_FACE)
    picture = [region for region in regions if region.track is None]
    if len(picture or regions) == 1:
        return (picture or regions)[0].evidence
    if not picture:
        return Evidence(evidence_of_faces(regions).logit)
    return Evidence(math.fsum(region.evidence.logit for region in picture) / len(picture))
