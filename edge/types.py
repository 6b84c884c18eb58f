"""The central types: what flows from a source to a sink."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from edge.errors import SourceFault

if TYPE_CHECKING:
    from edge.manifest import Manifest
    from edge.overlay.style import Hud
    from edge.provenance import Provenance

Image = npt.NDArray[np.uint8]
"""One picture: uint8, [H, W, 3], BGR (OpenCV's order), 0..255."""

Batch = npt.NDArray[np.uint8]
"""Pictures of one size: uint8, [N, H, W, 3], BGR."""

FloatArray = npt.NDArray[np.float32]

Box = tuple[int, int, int, int]
"""xyxy: left, top, right, bottom in pixels of the frame; right and bottom exclusive."""

PixelFormat = Literal["bgr", "nv12", "nv12_709"]
"""Of a frame's pixels: `bgr` is uint8 [H, W, 3]; `nv12` is uint8 [H·3/2, W], a plane of brightness
(16..235) above one of interleaved U and V at half the height and width, as video decoders give, by
BT.601; `nv12_709` is the same by BT.709."""

State = Literal["real", "fake", "uncertain", "no_signal"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture as it was captured.

    Attributes:
        image: uint8, [H, W, 3] BGR, or as `pixel_format` says.
        index: position in its source, from 0; a live source counts the frames it skipped too.
        captured_at: when it was captured or decoded, Unix time in seconds.
        source: what it came from, fit to be shown (never with credentials).
        pts: presentation time in seconds from the source's start; None where there is none.
        pixel_format: how `image` is laid out.
        pixel_aspect: width of a pixel by its height. The model sees pixels as they are stored;
            whatever is shown or written has the true proportions.
    """

    image: Image
    index: int
    captured_at: float
    source: str
    pts: float | None = None
    pixel_format: PixelFormat = "bgr"
    pixel_aspect: float = 1.0

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture in pixels, whatever its format."""
        height, width = self.image.shape[:2]
        return (height if self.pixel_format == "bgr" else height * 2 // 3), width

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width at which it has its true proportions; no side is smaller."""
        height, width = self.size_hw
        if self.pixel_aspect >= 1:
            return height, round(width * self.pixel_aspect)
        return round(height / self.pixel_aspect), width

    @property
    def time_s(self) -> float:
        """The clock that verdicts run on: presentation time, else capture time, in seconds."""
        return self.captured_at if self.pts is None else self.pts


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The output of a model for one picture.

    Attributes:
        logit: evidence that it is fake; above 0 leans fake, before calibration.
        patch_logits: the same per patch, float32 [h, w]; None for a model without patches.
    """

    logit: float
    patch_logits: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The smoothed decision for a source.

    Attributes:
        state: `real`, `fake`, `uncertain` or `no_signal`.
        score: calibrated P(fake) in 0..1; None where there is no evidence.
        reason: what looks fake, or leaves it open, in a few words; None where there is nothing to
            say.
    """

    state: State
    score: float | None = None
    reason: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the frame that was given to the model.

    Attributes:
        xyxy: the part, in pixels of the frame.
        input_hw: height and width at which the model saw it (differs from the box when resized).
        evidence: the model's output for it.
        verdict: its own verdict, where regions are judged apart (faces).
        track: identity across frames, where regions are tracked.
        textured: whether there is anything to see in it; evidence on nothing is none.
    """

    xyxy: Box
    input_hw: tuple[int, int]
    evidence: Evidence
    verdict: Verdict | None = None
    track: int | None = None
    textured: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One frame with all that is known about it.

    Attributes:
        frame: the frame; a placeholder when the verdict is `no_signal`.
        evidence: of the whole frame, or of the face that leads where the model sees faces alone;
            None when nothing was scored.
        verdict: of the source, up to this frame.
        timings_ms: milliseconds per stage, in the order they ran.
        regions: the parts that the model saw.
        error: why this frame gave no evidence, or why none comes.
        fault: without signal, what kind of failure that is.
        age_ms: of a live frame, from its capture to its verdict.
        faces: how many faces are in the frame, which are regions with a track; None where none
            were looked for, or where they could not be.
        picture: the verdict on the picture apart from its faces, where both are judged.
        provenance: what the file says of itself; with its first frame only, None where it was not
            read, or there is no file.
        unchanged: whether the evidence is that of an earlier frame, as the picture has not changed.
        model: what judges, with the calibration and threshold that hold; another may take over
            between two frames. None where a verdict is not of one.
    """

    frame: Frame
    evidence: Evidence | None
    verdict: Verdict
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    error: str | None = None
    fault: SourceFault | None = None
    age_ms: float | None = None
    faces: int | None = None
    unchanged: bool = False
    picture: Verdict | None = None
    provenance: Provenance | None = None
    model: Manifest | None = None


class Picture:
    """The annotated picture of a result, drawn when it is first asked for, once for all who ask.

    Args:
        draw: draws it; called once, in the thread that asks first.
        hud: as below.

    Attributes:
        hud: what it shows besides the result, for a view that draws at a size of its own; None
            where the picture was not drawn by the overlay.
    """

    __slots__ = ("_draw", "_image", "_lock", "hud")

    def __init__(self, draw: Callable[[], Image], hud: Hud | None = None) -> None:
        self.hud = hud
        self._draw = draw
        self._lock = threading.Lock()
        self._image: Image | None = None

    @classmethod
    def of(cls, image: Image) -> Picture:
        """One that needs no drawing: uint8 [H, W, 3] BGR."""
        return cls(lambda: image)

    def __call__(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR; not to be changed. From any thread."""
        with self._lock:
            if self._image is None:
                self._image = self._draw()
            return self._image
