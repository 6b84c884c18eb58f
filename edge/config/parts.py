"""The sections of a configuration: each key with its default, its description and its flag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from edge.backends import BackendName, Device
from edge.decision.verdict import VerdictSettings
from edge.faces.finders import EVERY, LEAST_SIDE, LONGEST_SIDE, FaceSettings
from edge.manifest import Calibration, Precision, RegionText
from edge.schema import Strict
from edge.sinks import check_options
from edge.sources.policy import CameraMode, Limits, ReconnectPolicy
from edge.types import PixelFormat, State


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag that sets a key on the command line; stands beside the key's type.

    Attributes:
        name: with its dashes. A flag of a yes-or-no key takes no value and reverses the default.
        metavar: stands for the value in the help text; choices need none.
        help: where the description of the key does not fit the flag.
    """

    name: str
    metavar: str | None = None
    help: str | None = None


def _index_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


SourceText = Annotated[str, BeforeValidator(_index_as_text)]
"""The index of a camera may be written as a number."""


class RetryConfig(Strict):
    """When a live source that failed is opened again."""

    retries: Annotated[int | None, Flag("--retries", "N")] = Field(
        default=None,
        ge=0,
        description="Reconnect attempts in a row until a source is given up (default: unlimited).",
    )
    quick_s: float = Field(default=1.0, gt=0, description="Wait before attempts 1 to 5.")
    medium_s: float = Field(default=5.0, gt=0, description="Wait before attempts 6 to 10.")
    slow_s: float = Field(
        default=30.0, gt=0, description="Wait before later attempts, and after wrong credentials."
    )
    jitter: float = Field(default=0.1, ge=0, le=1, description="Share by which a wait varies.")

    def policy(self) -> ReconnectPolicy:
        """The same, as a live source takes it."""
        return ReconnectPolicy(**self.model_dump())


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


class FacesConfig(Strict):
    """How faces are found, where the region is faces."""

    every: int = Field(
        default=EVERY, gt=0, description="Detect in every Nth frame and track in between."
    )
    longest_side: int = Field(
        default=LONGEST_SIDE,
        ge=LEAST_SIDE,
        description="Frames are reduced to this many pixels first; more finds smaller faces.",
    )
    model: Path | None = Field(
        default=None, description="A YuNet face detector (.onnx); null for dlib."
    )

    def settings(self) -> FaceSettings:
        """The same, as the face finder takes it."""
        return FaceSettings(self.model, self.longest_side, self.every)


class VerdictConfig(Strict):
    """How much evidence a verdict needs."""

    window_s: float = Field(default=2.0, gt=0, description="Logits are averaged over this time.")
    min_evidence_s: float = Field(
        default=0.5, ge=0, description="Evidence must span this time before there is a verdict."
    )
    min_frames: int = Field(default=3, gt=0, description="Least number of scored frames, likewise.")
    margin: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="Hysteresis: how far past its line a state begins.",
    )
    threshold: Annotated[float | None, Flag("--threshold", "T")] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Scores above it are called fake, 0..1 (default: the model's).",
    )

    def settings(self) -> VerdictSettings:
        """How much evidence is needed, as the verdict takes it."""
        return VerdictSettings(self.window_s, self.min_evidence_s, self.min_frames, self.margin)

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


class AlertConfig(Strict):
    """When a verdict becomes an event."""

    folder: Annotated[Path | None, Flag("--alerts", "DIR")] = Field(
        default=None, description="Folder for events, one file and one picture per incident."
    )
    states: tuple[State, ...] = Field(
        default=("fake",),
        description="Verdicts that are incidents: fake, no_signal, uncertain, real.",
    )
    debounce_s: float = Field(
        default=1.0, ge=0, description="A verdict must last this long to become an event."
    )
    cooldown_s: float = Field(
        default=10.0, ge=0, description="An incident ends this long after its verdict did."
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


class CameraConfig(Strict):
    """One of several cameras; what it leaves out is as for all of them."""

    name: str = Field(
        min_length=1, max_length=200, description="In files, names of files and on the picture."
    )
    source: SourceText = Field(
        description="Camera, stream or file; a file is played as a camera would."
    )
    region: RegionText | None = Field(default=None, description="As for all cameras.")
    capture: CaptureConfig = CaptureConfig()
    verdict: VerdictConfig = VerdictConfig()
    output: OutputConfig = OutputConfig()
    alerts: AlertConfig = AlertConfig()
    sinks: SinksConfig = Field(default={}, description="As for all cameras.")
