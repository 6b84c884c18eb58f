"""The central types: what flows from a source to a sink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge.errors import SourceFault

Image = npt.NDArray[np.uint8]
"""One picture: uint8, [H, W, 3], BGR (OpenCV's order), 0..255."""

Batch = npt.NDArray[np.uint8]
"""Pictures of one size: uint8, [N, H, W, 3], BGR."""

FloatArray = npt.NDArray[np.float32]

Box = tuple[int, int, int, int]
"""xyxy: left, top, right, bottom in pixels of the frame; right and bottom exclusive."""

PixelFormat = Literal["bgr", "nv12"]
"""Of a frame's pixels: `bgr` is uint8 [H, W, 3]; `nv12` is uint8 [H·3/2, W], a plane of brightness
(16..235) above one of interleaved U and V at half the height and width, as video decoders give."""

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
    """

    image: Image
    index: int
    captured_at: float
    source: str
    pts: float | None = None
    pixel_format: PixelFormat = "bgr"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the picture in pixels, whatever its format."""
        height, width = self.image.shape[:2]
        return (height * 2 // 3 if self.pixel_format == "nv12" else height), width

    @property
    def time_s(self) -> float:
        """The clock that verdicts run on: presentation time, else capture time, in seconds."""
        return self.captured_at if self.pts is None else self.pts


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a model says of one picture.

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
    """

    state: State
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the frame that was given to the model.

    Attributes:
        xyxy: the part, in pixels of the frame.
        input_hw: height and width at which the model saw it (differs from the box when resized).
        evidence: what the model said of it.
        verdict: its own verdict, where regions are judged apart (faces).
        track: identity across frames, where regions are tracked.
    """

    xyxy: Box
    input_hw: tuple[int, int]
    evidence: Evidence
    verdict: Verdict | None = None
    track: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One frame with all that is known about it.

    Attributes:
        frame: the frame; a placeholder when the verdict is `no_signal`.
        evidence: of the whole frame; None when nothing was scored.
        verdict: of the source, up to this frame.
        timings_ms: milliseconds per stage, in the order they ran.
        regions: the parts that the model saw.
        error: why this frame gave no evidence, or why none comes.
        fault: without signal, what kind of failure that is.
        age_ms: of a live frame, from its capture to its verdict.
    """

    frame: Frame
    evidence: Evidence | None
    verdict: Verdict
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    error: str | None = None
    fault: SourceFault | None = None
    age_ms: float | None = None
