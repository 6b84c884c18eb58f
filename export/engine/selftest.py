"""`patchwatch doctor --selftest`: what a board's owner runs once, and the JSON to send back.

Every part is tried for itself, and what fails is written down with its reason: a report of a board
on which nothing works is worth as much as one of a board on which all does.
"""

from __future__ import annotations

import functools
import itertools
import json
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edge.backends.base import Backend
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.detector import Detector, Stopwatch, finish_jobs
from edge.errors import PatchwatchError
from edge.manifest import Manifest, Precision, read_manifest
from edge.pixels import to_bgr
from edge.proof import proof_frames
from edge.regions import RegionSpec, cut, parse_region
from edge.tensorrt.board import power_mode, read_board
from edge.tensorrt.record import PRECISIONS, Machine, Shape
from edge.tensorrt.store import Engine, EngineRequest, EngineStore
from edge.types import Frame, Image, PixelFormat
from edge.weights import DEFAULT, find_model
from export.engine.command import shape_of, this_machine
from export.engine.process import BuildError, build_engine

SCHEMA_VERSION = 1
FRAME_HW = (720, 1280)
WARM_UP, ROUNDS = 3, 100
FRONTS: tuple[tuple[PixelFormat, str], ...] = (
    ("bgr", "resize:224"),
    ("nv12", "center:512"),
    ("nv12", "resize:224"),
)
"""What the kernel of the front end is tried on."""

Report = dict[str, Any]
Tell = Callable[[str], None]


def selftest(path: Path, tell: Tell, longest_s: float = 3.0) -> tuple[str, ...]:
    """Build, prove and time the default model's engines, and write the JSON report.

    Each measurement ends after `longest_s`, with however many rounds it has by then. Returns why
    engines were not built and proven, a sentence each; empty if all were.
    Raises OSError: the report cannot be written; that is tried before anything else.
    """
    report: Report = {"schema_version": SCHEMA_VERSION, **_about()}
    _write(path, report)
    model = find_model(DEFAULT)
    manifest = read_manifest(model)
    tell("ONNX Runtime on the CPU")
    with _noted(report, "onnxruntime") as part, OnnxRuntimeBackend(model) as backend:
        region = parse_region(manifest.region)
        part["latency_ms"] = _latency(backend, region, "bgr", longest_s)
    with _noted(report, "machine") as part:
        machine = this_machine()
        part |= machine.model_dump(mode="json")
        report["engines"] = {}
        for precision in PRECISIONS:
            with _noted(report["engines"], precision) as engine:
                save = functools.partial(_write, path, report)
                _Trial(model, manifest, machine, longest_s, tell, save).run(engine, precision)
            _write(path, report)
    _write(path, report)
    parts = {"machine": report["machine"], **report.get("engines", {})}
    return tuple(f"{name}: {part['error']}" for name, part in parts.items() if "error" in part)


def _about() -> Report:
    return {
        "patchwatch": metadata.version("patchwatch"),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "board": asdict(read_board()),
        "power_mode": power_mode(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "frame_hw": FRAME_HW,
    }


_LIBRARIES = ("numpy", "onnxruntime", "tensorrt", "pycuda", "opencv-python", "av")


def _version(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


@contextmanager
def _noted(report: Report, name: str) -> Iterator[Report]:
    """A part of the report; what goes wrong in it is its `error`, and the rest goes on."""
    part: Report = {}
    report[name] = part
    try:
        yield part
    except Exception as error:
        known = isinstance(error, (PatchwatchError, ImportError))
        part["error"] = str(error) if known else f"{type(error).__name__}: {error}"
        for one in (error, error.__cause__):
            if isinstance(one, BuildError):
                part["builder_stderr"] = one.log
        if not known:
            part["traceback"] = traceback.format_exc()


@dataclass(frozen=True, slots=True)
class _Trial:
    """One model on one machine."""

    model: Path
    manifest: Manifest
    machine: Machine
    longest_s: float
    tell: Tell
    save: Callable[[], None]

    def run(self, part: Report, precision: Precision) -> None:
        """Build again, whatever the cache holds: seconds and proof are of this board, today."""
        shape = shape_of(self.manifest, None)
        store = EngineStore(self.model, self.manifest, precision)
        self.tell(f"{precision}: building; this takes minutes")
        request = EngineRequest(self.model, store.key(self.machine, shape), store.cache.folder)
        plan, sidecar = build_engine(request, lambda text: self.tell(f"{precision}: {text}"))
        part["build"] = sidecar.build.model_dump(mode="json")
        part["proof"] = sidecar.proof.model_dump(mode="json")
        part["engine_bytes"] = sidecar.engine_bytes
        self.save()  # what runs in this process may end it
        self.tell(f"{precision}: timing")
        self._time(part, store.cache.install(plan, sidecar), shape)

    def _time(self, part: Report, engine: Engine, shape: Shape) -> None:
        from edge.backends.tensorrt import TensorRTBackend

        region = parse_region(self.manifest.region)
        for name, mapped in (("copied", False), ("zero_copy", True)):
            with TensorRTBackend(_One(engine), self.manifest, mapped=mapped) as backend:
                part[name] = {
                    "spans_ms": asdict(backend.spans(shape, self.longest_s)),
                    "latency_ms": _latency(backend, region, "bgr", self.longest_s),
                    "latency_nv12_ms": _latency(backend, region, "nv12", self.longest_s),
                }
        with TensorRTBackend(_One(engine), self.manifest) as backend:
            for pixel_format in ("bgr", "nv12"):
                _latency(backend, region, pixel_format, self.longest_s / 10)
            part["reach_chosen"] = backend.reaches()
            part["front_max_difference"] = {
                f"{pixel_format} {text}": _front_difference(backend, pixel_format, text)
                for pixel_format, text in FRONTS
            }


@dataclass(frozen=True, slots=True)
class _One:
    """The engine that was just built, for whatever shape is asked, and no other."""

    engine: Engine

    def get(self, machine: Machine, shape: Shape) -> Engine:
        return self.engine

    def refused(self, engine: Engine) -> bool:
        return False


def _latency(
    backend: Backend, region: RegionSpec, pixel_format: PixelFormat, longest_s: float
) -> Report:
    """Percentiles of one frame after the other, from the frame to its evidence."""
    detector = Detector(backend, region)
    frame = Frame(_frame(pixel_format), 0, 0.0, "self-test", pixel_format=pixel_format)
    times: list[float] = []
    deadline = time.perf_counter() + longest_s
    while len(times) < WARM_UP + ROUNDS and (
        len(times) <= WARM_UP or time.perf_counter() < deadline
    ):
        began = time.perf_counter()
        finish_jobs([detector.start(frame, Stopwatch())])
        times.append((time.perf_counter() - began) * 1e3)
    times = times[WARM_UP:]
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "max": max(times), "rounds": len(times)}


@functools.cache
def _frame(pixel_format: PixelFormat) -> Image:
    height, width = FRAME_HW
    frame = next(itertools.islice(proof_frames(height, width), 3, None))
    if pixel_format == "bgr":
        return frame
    # Any bytes are a picture of NV12; these have the slopes and edges of one.
    luma = frame[..., 1]
    chroma = frame[::2, :, 0]
    return np.ascontiguousarray(np.concatenate([luma, chroma]))


def _front_difference(backend: Any, pixel_format: PixelFormat, region_text: str) -> int:
    """Largest difference in grey levels between the kernel's pictures and the CPU's."""
    image, region = _frame(pixel_format), parse_region(region_text)
    expected = np.stack([crop.image for crop in cut(to_bgr(image, pixel_format), region)])
    found = backend.front_pictures(image, pixel_format, region)
    return int(np.abs(found.astype(np.int16) - expected).max())


def _write(path: Path, report: Report) -> None:
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
