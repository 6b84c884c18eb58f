"""The sections of a configuration: each key with its default, its description and its flag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from edge.backends import BackendName, Device
from edge.decision.alerts import AlertSettings
from edge.decision.verdict import VerdictSettings
from edge.manifest import Calibration, Precision, RegionText
from edge.regions import SYNTAX
from edge.schema import Flag, Strict
from edge.sinks import check_options
from edge.sources.policy import CameraMode, Limits, ReconnectPolicy
from edge.types import PixelFormat


def _index_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


SourceText = Annotated[str, BeforeValidator(_index_as_text)]
"""The index of a camera may be written as a number."""


class CaptureConfig(Strict):
    """How live sources are read."""

    open_timeout_s: float = Field(default=10.0, gt=0, description="Timeout for opening a stream.")
    frame_timeout_s: float = Field(
        default=5.0, gt=0, description="The verdict is no_signal after this long without a frame."
    )
    read_timeout_s: float = Field(
        default=30.0, gt=0, description="A stream is reopened after this long without data."
    )
    max_age_s: float = Field(
        default=1.0, gt=0, description="Older frames are skipped while a stream catches up."
    )
    loop: Annotated[bool, Flag("--loop")] = Field(
        default=False, description="Play a video in a loop at its own speed, as a camera would."
    )
    decode_threads: int = Field(
        default=1, gt=0, description="For a stream; each beyond the first adds a frame of delay."
    )
    width: int | None = Field(
        default=None, gt=0, description="Requested from a camera, together with height."
    )
    height: int | None = Field(
        default=None, gt=0, description="Requested from a camera, together with width."
    )
    fps: float | None = Field(default=None, gt=0, description="Requested from a camera.")
    pixel_format: PixelFormat = Field(
        default="bgr",
        description="For a csi:// camera: nv12 leaves the conversion to the GPU.",
    )
    retry: ReconnectPolicy = ReconnectPolicy()

    def options(self) -> dict[str, Any]:
        """The same, as `open_source` takes it."""
        return {
            "limits": Limits(
                self.open_timeout_s, self.frame_timeout_s, self.read_timeout_s, self.max_age_s
            ),
            "retry": self.retry,
            "mode": CameraMode(self.width, self.height, self.fps, self.pixel_format),
            "decode_threads": self.decode_threads,
            "loop": self.loop,
        }


class BackendConfig(Strict):
    """What runs the model file."""

    name: Annotated[BackendName, Flag("--backend")] = Field(
        default="onnxruntime",
        description="The runtime (default: onnxruntime); tensorrt builds an engine first.",
    )
    device: Annotated[Device, Flag("--device")] = Field(
        default="cpu", description="What ONNX Runtime runs on (default: cpu)."
    )
    precision: Annotated[Precision | None, Flag("--precision")] = Field(
        default=None, description="Of the arithmetic (default: fp16 with TensorRT, fp32 elsewhere)."
    )
    zero_copy: bool | None = Field(
        default=None,
        description="Let the GPU read frames from CPU memory; null to measure which is faster.",
    )
    threads: Annotated[int | None, Flag("--threads", "N")] = Field(
        default=None, gt=0, description="Threads per operator (default: all cores)."
    )


class VerdictConfig(VerdictSettings):
    """How much evidence a verdict needs, and its threshold."""

    threshold: Annotated[float | None, Flag("--threshold", "T")] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Scores above it are called fake, 0..1 (default: the model's).",
    )

    def calibration(self, model: Calibration) -> Calibration:
        """A model's calibration, with this threshold where there is one."""
        if self.threshold is None:
            return model
        return model.model_copy(update={"threshold": self.threshold})


class OutputConfig(Strict):
    """Where results go."""

    window: Annotated[bool, Flag("--headless", help="open no window")] = Field(
        default=True, description="Open a window where there is a display."
    )
    save: Annotated[Path | None, Flag("--save", "OUT.mp4")] = Field(
        default=None,
        description="Annotated video, H.264 (.mp4); {camera} becomes the name of the camera.",
    )
    rotate_s: float | None = Field(
        default=None, gt=0, description="Begin a new video after this time; null for one video."
    )
    rotate_mb: float | None = Field(
        default=None, gt=0, description="Begin a new video after this size in MB (10^6 bytes)."
    )
    keep_files: int | None = Field(
        default=None, gt=0, description="Of a video that rotates, keep the newest; null for all."
    )
    json_lines: Annotated[Path | None, Flag("--json", "OUT.jsonl")] = Field(
        default=None, description="One JSON object per frame; - for stdout."
    )
    images: Annotated[Path | None, Flag("--images", "DIR")] = Field(
        default=None, description="Folder for annotated pictures."
    )
    snapshots: Annotated[Path, Flag("--snapshots", "DIR")] = Field(
        default=Path("."), description="Folder for the window's snapshots."
    )
    heat_map: Annotated[bool, Flag("--no-heat-map", help="start with the heat map off")] = Field(
        default=True, description="Draw the heat map."
    )


class AlertConfig(AlertSettings):
    """When a verdict becomes an event, and where it is written."""

    folder: Annotated[Path | None, Flag("--alerts", "DIR")] = Field(
        default=None, description="Folder for events, one file and one picture per incident."
    )
    snapshot: bool = Field(default=True, description="Write the annotated picture beside it.")


SinksConfig = Annotated[dict[str, Any], BeforeValidator(check_options)]
"""Further sinks: options by the name of a sink."""


class BatchConfig(Strict):
    """How frames of several cameras are batched for the model."""

    frames: int | None = Field(
        default=None, gt=0, le=8, description="Largest batch; null: measured at the start."
    )
    wait_ms: float = Field(
        default=5.0, ge=0, description="How long a frame may wait for those of other cameras."
    )


class SourceConfig(Strict):
    """What may be set for all sources, and for each camera by itself."""

    region: Annotated[RegionText | None, Flag("--region", "R")] = Field(
        default=None, description=f"{SYNTAX} (default: the model's own)."
    )
    capture: CaptureConfig = CaptureConfig()
    verdict: VerdictConfig = VerdictConfig()
    output: OutputConfig = OutputConfig()
    alerts: AlertConfig = AlertConfig()
    sinks: SinksConfig = Field(default={}, description="Further sinks, by name, with options.")


class CameraConfig(SourceConfig):
    """One of several cameras; what it leaves out is as for all of them."""

    name: str = Field(
        min_length=1, max_length=200, description="In files, names of files and on the picture."
    )
    source: SourceText = Field(
        description="Camera, stream or file; a file is played as a camera would."
    )
