"""The parts of a configuration, each a model with a line of documentation per key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge.decision.verdict import VerdictSettings
from edge.faces.base import LONGEST_SIDE
from edge.faces.finders import EVERY, LEAST_SIDE, FaceSettings
from edge.manifest import Calibration, Precision, RegionText
from edge.sources.policy import CameraMode, Limits, RetryPolicy
from edge.types import PixelFormat, State


def index_is_text(value: object) -> object:
    """The index of a camera may be written as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetryConfig(Part):
    """When a live source that failed is opened again."""

    retries: int | None = Field(
        default=None, ge=0, description="Tries after the first in a row; null for ever, 0 for none."
    )
    quick_s: float = Field(default=1.0, gt=0, description="Before each of the first five tries.")
    medium_s: float = Field(default=5.0, gt=0, description="Before each of the next five.")
    slow_s: float = Field(
        default=30.0, gt=0, description="Before every other, and after wrong credentials."
    )
    jitter: float = Field(default=0.1, ge=0, le=1, description="Share by which a wait varies.")

    def policy(self) -> RetryPolicy:
        """The same, as a live source takes it."""
        return RetryPolicy(**self.model_dump())


class CaptureConfig(Part):
    """How live sources are read."""

    open_timeout_s: float = Field(
        default=10.0, gt=0, description="Give up opening a stream after it."
    )
    frame_timeout_s: float = Field(
        default=5.0, gt=0, description="Say no_signal when no frame came for so long."
    )
    read_timeout_s: float = Field(
        default=30.0, gt=0, description="A stream that sent nothing for so long is opened anew."
    )
    max_age_s: float = Field(
        default=1.0, gt=0, description="Older frames of a stream that catches up are passed over."
    )
    loop: bool = Field(
        default=False,
        description="Play a video again and again, at its own speed, as a camera.",
    )
    decode_threads: int = Field(
        default=1, gt=0, description="Of a stream; each beyond the first adds a frame of delay."
    )
    width: int | None = Field(default=None, gt=0, description="Asked of a camera, with height.")
    height: int | None = Field(default=None, gt=0, description="Asked of a camera, with width.")
    fps: float | None = Field(default=None, gt=0, description="Asked of a camera.")
    pixel_format: PixelFormat = Field(
        default="bgr",
        description="Of a csi:// camera: nv12 leaves the conversion to whoever needs it.",
    )
    retry: RetryConfig = RetryConfig()

    def options(self) -> dict[str, Any]:
        """The same, as `open_source` takes it."""
        return {
            "limits": Limits(
                self.open_timeout_s, self.frame_timeout_s, self.read_timeout_s, self.max_age_s
            ),
            "retry": self.retry.policy(),
            "mode": CameraMode(self.width, self.height, self.fps, self.pixel_format),
            "decode_threads": self.decode_threads,
            "loop": self.loop,
        }


class BackendConfig(Part):
    """What runs the model file."""

    name: Literal["onnxruntime", "tensorrt"] = Field(
        default="onnxruntime", description="The runtime; tensorrt builds an engine at first."
    )
    device: Literal["cpu", "cuda", "tensorrt"] = Field(
        default="cpu", description="What ONNX Runtime runs on."
    )
    precision: Precision | None = Field(
        default=None, description="null for fp16 with TensorRT and fp32 elsewhere."
    )
    cuda_library: Literal["pycuda", "cuda-python"] | None = Field(
        default=None, description="What reaches the GPU; null for pycuda where it is installed."
    )
    zero_copy: bool | None = Field(
        default=None,
        description="Let the GPU read frames from the CPU's memory; null to measure it.",
    )
    threads: int | None = Field(
        default=None, gt=0, description="Threads per operator; null for all cores."
    )


class FacesConfig(Part):
    """How faces are found, where the region is faces."""

    every: int = Field(
        default=EVERY, gt=0, description="Look in every Nth frame, and follow faces in between."
    )
    longest_side: int = Field(
        default=LONGEST_SIDE,
        ge=LEAST_SIDE,
        description="Frames are shrunk to so many pixels before; more finds smaller faces.",
    )
    model: Path | None = Field(
        default=None, description="A YuNet (.onnx) that finds them; null for dlib."
    )

    def settings(self) -> FaceSettings:
        """The same, as whoever finds them takes it."""
        return FaceSettings(self.model, self.longest_side, self.every)


class VerdictConfig(Part):
    """How much evidence a verdict needs."""

    window_s: float = Field(
        default=2.0, gt=0, description="Logits are averaged over so many seconds."
    )
    min_evidence_s: float = Field(
        default=0.5, ge=0, description="Evidence must span so long before a state is said."
    )
    min_frames: int = Field(default=3, gt=0, description="Least number of scored frames, likewise.")
    margin: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="Hysteresis: how far past its line a state begins.",
    )
    threshold: float | None = Field(
        default=None, gt=0, lt=1, description="Scores above it are called fake; null: the model's."
    )

    def settings(self) -> VerdictSettings:
        """How much evidence is needed, as the verdict takes it."""
        return VerdictSettings(self.window_s, self.min_evidence_s, self.min_frames, self.margin)

    def calibration(self, model: Calibration) -> Calibration:
        """A model's calibration, with this threshold where one is given."""
        if self.threshold is None:
            return model
        return model.model_copy(update={"threshold": self.threshold})


class OutputConfig(Part):
    """Where results go."""

    window: bool = Field(default=True, description="Open a window where there is a display.")
    save: Path | None = Field(
        default=None, description="Annotated video, H.264 (.mp4); {camera} becomes the name."
    )
    rotate_s: float | None = Field(
        default=None, gt=0, description="Begin a new video after so many seconds; null for one."
    )
    rotate_mb: float | None = Field(
        default=None, gt=0, description="Begin a new video after so many megabytes (10^6 bytes)."
    )
    keep_files: int | None = Field(
        default=None, gt=0, description="Of a video that rotates, keep the newest; null for all."
    )
    json_lines: Path | None = Field(
        default=None, description="One JSON object per frame; - for stdout."
    )
    images: Path | None = Field(default=None, description="Folder for annotated pictures.")
    snapshots: Path = Field(default=Path("."), description="Folder for the window's snapshots.")
    heat_map: bool = Field(default=True, description="Draw the heat map.")


class AlertConfig(Part):
    """When a verdict becomes an event."""

    folder: Path | None = Field(
        default=None, description="Where events are written, one file for each; null for no events."
    )
    states: tuple[State, ...] = Field(
        default=("fake",),
        description="Verdicts that are incidents: fake, no_signal, uncertain, real.",
    )
    debounce_s: float = Field(
        default=1.0, ge=0, description="A verdict must last so long to become an event."
    )
    cooldown_s: float = Field(
        default=10.0, ge=0, description="An incident is over once the verdict was away so long."
    )
    snapshot: bool = Field(default=True, description="Write the annotated picture beside it.")


class BatchConfig(Part):
    """How frames of several cameras are put together for the model."""

    frames: int | None = Field(
        default=None, gt=0, le=8, description="At most; null: measured at the start."
    )
    wait_ms: float = Field(
        default=5.0, ge=0, description="How long a frame may wait for those of other cameras."
    )


class CameraConfig(Part):
    """One of several cameras; what it leaves out is as for all of them."""

    name: str = Field(
        min_length=1, max_length=200, description="In files, names of files and on the picture."
    )
    source: str = Field(description="Camera, stream or file; a file is played as a camera would.")
    region: RegionText | None = Field(default=None, description="As for all cameras.")
    capture: CaptureConfig = CaptureConfig()
    verdict: VerdictConfig = VerdictConfig()
    output: OutputConfig = OutputConfig()
    alerts: AlertConfig = AlertConfig()

    _text = field_validator("source", mode="before")(index_is_text)
