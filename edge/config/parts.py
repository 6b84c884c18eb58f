"""The sections of a configuration: each key with its default, its description and its flag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from edge.backends import BackendName, Device
from edge.decision.alerts import AlertSettings
from edge.decision.verdict import VerdictSettings
from edge.faces.finder import LEAST_SIDE, LONGEST_SIDE
from edge.manifest import Precision, RegionText
from edge.regions import SYNTAX
from edge.reuse import Reuse
from edge.schema import Flag, Strict
from edge.sinks import OptionsSchema, check_options
from edge.sinks.jsonl import JsonRotation
from edge.sources.policy import CameraMode, Limits, ReconnectPolicy, RtspTransport, Selection
from edge.types import PixelFormat
from edge.weights import FACES

if TYPE_CHECKING:
    from edge.provenance import Provenance


def _index_as_text(value: object) -> object:
    return str(value) if type(value) is int else value  # and no other number


SourceText = Annotated[str, BeforeValidator(_index_as_text)]
"""The index of a camera may be written as a number."""


def _as_seconds(text: str) -> str:
    Selection.parse(1, text)
    return text


def _as_web_address(text: object) -> object:
    host, _, port = str(text).rpartition(":")
    if not (port.isdecimal() and int(port) < 65536):
        raise ValueError(f"expected [HOST:]PORT, such as 8080 or 0.0.0.0:8080, found {text!r}.")
    return f"{host or '127.0.0.1'}:{int(port)}"


WebAddress = Annotated[str, BeforeValidator(_as_web_address)]
"""HOST:PORT."""


class CaptureConfig(Strict):
    """How sources are read."""

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
    rtsp_transport: Annotated[RtspTransport, Flag("--rtsp-transport")] = Field(
        default="auto", description="Of RTSP (default: auto, TCP, and UDP where TCP is refused)."
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
    every: Annotated[int, Flag("--every", "N")] = Field(
        default=1, gt=0, description="Of a video, score every Nth frame."
    )
    seconds: Annotated[str | None, AfterValidator(_as_seconds), Flag("--seconds", "A-B")] = Field(
        default=None, description="Of a video, score this part; A- is from A to the end."
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
            "rtsp_transport": self.rtsp_transport,
            "decode_threads": self.decode_threads,
            "loop": self.loop,
            "selection": self.selection,
        }

    @property
    def selection(self) -> Selection:
        """Which frames of a recording are wanted."""
        return Selection.parse(self.every, self.seconds)


class BackendConfig(Strict):
    """What runs the model file."""

    name: Annotated[BackendName, Flag("--backend")] = Field(
        default="auto",
        description="The runtime (default: auto, which times those that are installed once); "
        "tensorrt builds an engine first.",
    )
    device: Annotated[Device, Flag("--device")] = Field(
        default="cpu",
        description="What the model runs on (default: cpu): cuda and tensorrt are ONNX Runtime's, "
        "gpu and npu Intel's, by OpenVINO.",
    )
    precision: Annotated[Precision | None, Flag("--precision")] = Field(
        default=None,
        description="Of the arithmetic (default: the fastest that changes no verdict; fp16 with "
        "TensorRT, fp32 with ONNX Runtime).",
    )
    zero_copy: bool | None = Field(
        default=None,
        description="Let the GPU read frames from CPU memory; null to measure which is faster.",
    )
    threads: Annotated[int | None, Flag("--threads", "N")] = Field(
        default=None,
        gt=0,
        description="Threads per operator (default: all CPUs that may be used).",
    )


class FaceConfig(Strict):
    """Faces, which a model of their own judges beside the picture."""

    enabled: Annotated[bool, Flag("--no-faces", help="judge the picture alone")] = Field(
        default=True, description="Judge faces, where a model for them is named."
    )
    model: Annotated[str | None, Flag("--faces-model", "M")] = Field(
        default=None,
        description=f"Judge faces too: a shipped model's name ({FACES}), or a model file.",
    )
    rate: Annotated[float, Flag("--faces-rate", "HZ")] = Field(
        default=10.0, gt=0, description="How often faces are looked for, per second (default: 10)."
    )
    longest_side: int = Field(
        default=LONGEST_SIDE,
        ge=LEAST_SIDE,
        description="Frames are reduced to this many pixels first; more finds smaller faces.",
    )


class VerdictConfig(VerdictSettings):
    """How much evidence a verdict needs, and how often there is some."""

    reuse: Annotated[
        bool, Flag("--no-reuse", help="ask the model though the picture has not changed")
    ] = Field(
        default=True,
        description="Keep the evidence while the pixels that the model sees stay the same.",
    )
    max_change: float = Field(
        default=4.0,
        ge=0,
        description="Of a live source keep it also while the mean of no 16×16 pixels changes by "
        "more grey levels than this; 0 for the same pixels only.",
    )
    min_fps: float = Field(
        default=1.0,
        gt=0,
        description="Judge this often at least what changed by no more than max_change.",
    )
    max_fps: float | None = Field(
        default=None,
        gt=0,
        description="Judge a camera this often at most; null for as often as the model can. A "
        "change in a picture that stood still is judged at once.",
    )

    def reuse_of(self) -> Reuse | None:
        """When a detector keeps evidence; None for never."""
        return Reuse(self.max_change, 1 / self.min_fps) if self.reuse else None


class ProvenanceConfig(Strict):
    """What files say of themselves; a live source says nothing."""

    enabled: Annotated[
        bool, Flag("--no-provenance", help="do not read what files say of themselves")
    ] = Field(default=True, description="Read what files say of themselves.")
    trust: Annotated[Path | None, Flag("--trust", "LIST.pem")] = Field(
        default=None,
        description="Certificates of authorities whose signers are trusted (default: none).",
    )

    def reader(self) -> Callable[[str], Provenance | None] | None:
        """A function from a file's name to what it says; None where nobody wants to know."""
        from edge.provenance import provenance_of

        return provenance_of(self.trust) if self.enabled else None


class OutputConfig(Strict):
    """Where results go."""

    window: Annotated[bool, Flag("--headless", help="open no window")] = Field(
        default=True, description="Open a window where there is a display."
    )
    all_frames: Annotated[
        bool, Flag("--all-frames", help="show every frame of a video, however slow that is")
    ] = Field(
        default=False,
        description="Show every frame of a video in the window. Else those that come too late are "
        "skipped, where nothing is written.",
    )
    save: Annotated[Path | None, Flag("--save", "OUT.mp4")] = Field(
        default=None,
        description="Annotated video, H.264 (.mp4); {camera} becomes the name of the camera.",
    )
    overwrite: Annotated[bool, Flag("--overwrite")] = Field(
        default=False, description="Replace outputs that exist, which are refused otherwise."
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
    json_rotate: JsonRotation = JsonRotation()
    images: Annotated[Path | None, Flag("--images", "DIR")] = Field(
        default=None, description="Folder for annotated pictures."
    )
    report: Annotated[Path | None, Flag("--report", "OUT.html")] = Field(
        default=None, description="Report with pictures and timeline, one HTML file."
    )
    snapshots: Annotated[Path, Flag("--snapshots", "DIR")] = Field(
        default=Path("."), description="Folder for the window's snapshots."
    )
    snapshots_keep_days: float | None = Field(
        default=None, gt=0, description="Delete snapshots after it; null for never."
    )
    snapshots_keep_mb: float | None = Field(
        default=None, gt=0, description="Delete the oldest beyond this size, in 10^6 bytes."
    )
    heat_map: Annotated[bool, Flag("--no-heat-map", help="start with the heat map off")] = Field(
        default=True, description="Draw the heat map."
    )


class AlertConfig(AlertSettings):
    """When a verdict becomes an event, and where it is written."""

    folder: Annotated[Path | None, Flag("--alerts", "DIR")] = Field(
        default=None, description="Folder for events, one file and one picture per incident."
    )
    database: Annotated[Path | None, Flag("--incidents", "FILE.db")] = Field(
        default=None, description="SQLite file for the same, which the page of --web lists."
    )
    snapshot: bool = Field(default=True, description="Write the annotated picture beside it.")
    keep_days: float | None = Field(
        default=None, gt=0, description="Delete events and their pictures after it; null for never."
    )
    keep_mb: float | None = Field(
        default=None, gt=0, description="Delete the oldest beyond this size, in 10^6 bytes."
    )


class KeepConfig(Strict):
    """Which raw frames are kept, to be labelled and learned from."""

    folder: Annotated[Path | None, Flag("--keep", "DIR")] = Field(
        default=None, description="Folder for raw frames of doubtful moments, with their verdicts."
    )
    every_s: float = Field(default=10.0, gt=0, description="Of a source at most one in this time.")
    most: int = Field(default=500, gt=0, description="Delete the oldest beyond this number.")
    days: float = Field(default=30.0, gt=0, description="Delete them after it.")


class WebConfig(Strict):
    """The page of a run, for browsers, with an API and figures for Prometheus."""

    address: Annotated[WebAddress | None, Flag("--web", "[HOST:]PORT")] = Field(
        default=None, description="Serve a live page there; without a host on this machine alone."
    )
    token_file: Annotated[Path | None, Flag("--web-token", "FILE")] = Field(
        default=None,
        description="A file with the token that browsers must give; PATCHWATCH_WEB_TOKEN in the "
        "environment serves too.",
    )
    insecure: Annotated[bool, Flag("--insecure")] = Field(
        default=False, description="Serve other machines without a token."
    )
    certificate: Path | None = Field(default=None, description="TLS: the certificates, PEM.")
    key: Path | None = Field(default=None, description="TLS: the private key, PEM.")
    max_fps: float = Field(
        default=12.0, gt=0, le=60, description="Pictures per second of the live picture, at most."
    )
    width: int = Field(default=1280, ge=160, description="Of the live picture in pixels, at most.")
    upload_mb: float = Field(
        default=64.0, gt=0, le=1024, description="Largest picture or clip that may be uploaded."
    )


class ModelsConfig(Strict):
    """Where a live run gets new models: a repository of 'patchwatch fleet'."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Of the repository's folder; null for no new models.",
    )
    root: Path | None = Field(
        default=None, description="The root.json of 'fleet init', which this machine trusts."
    )
    name: str = Field(
        default="default", pattern=r"^[\w.-]+$", description="Of the model there, as published."
    )
    every_s: float = Field(default=3600.0, gt=0, description="How often to look, about.")
    folder: Path | None = Field(
        default=None, description="Keeps what was fetched (default: in the cache folder)."
    )


SinksConfig = Annotated[dict[str, Any], BeforeValidator(check_options), OptionsSchema()]
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
    keep: KeepConfig = KeepConfig()
    sinks: SinksConfig = Field(default={}, description="Further sinks, by name, with options.")


class CameraConfig(SourceConfig):
    """One of several cameras; what it leaves out is as for all of them."""

    name: str = Field(
        min_length=1, max_length=200, description="In files, names of files and on the picture."
    )
    source: SourceText = Field(
        description="Camera, stream or file; a file is played as a camera would."
    )
